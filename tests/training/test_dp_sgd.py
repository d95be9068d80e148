"""DP-SGD agrees with a slow version that clips one record at a time."""

import numpy as np
import pytest
import torch
from torch import nn

from audit.core.errors import AuditError
from training import dp_sgd
from training.dp_sgd import LocalPlan, train_locally
from training.models import flatten, simple_cnn, to_weights
from training.randomness import NoiseStream

SAMPLING, NOISE = b"s" * 32, b"n" * 32
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(40, 1, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 3, 40).astype(np.int64)


def module() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return simple_cnn((1, 8, 8), 3)


def plan(**changed) -> LocalPlan:
    options = {
        "steps": 4,
        "sample_rate": 0.4,
        "expected_batch_size": 16.0,
        "learning_rate": 0.5,
        "momentum": 0.5,
        "noise_multiplier": 0.7,
        "max_grad_norm": 0.3,
    }
    return LocalPlan(**{**options, **changed})


def train(local: LocalPlan, inputs=INPUTS, labels=LABELS):
    return train_locally(
        module(),
        inputs,
        labels,
        local,
        sampling=NoiseStream(SAMPLING),
        noise=NoiseStream(NOISE),
    )


def slow_update(local: LocalPlan) -> np.ndarray:
    """One record at a time, by the definition, in the same order of the two streams."""
    model = module()
    parameters = list(model.parameters())
    before = flatten(to_weights(model))
    sampling, noise = NoiseStream(SAMPLING), NoiseStream(NOISE)
    velocity = [torch.zeros_like(p) for p in parameters]
    for _ in range(local.steps):
        total = [torch.zeros_like(p) for p in parameters]
        for i in sampling.poisson_sample(len(LABELS), local.sample_rate):
            x, y = torch.from_numpy(INPUTS[i : i + 1]), torch.from_numpy(LABELS[i : i + 1])
            grads = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), parameters)
            norm = torch.sqrt(sum((g**2).sum() for g in grads))
            factor = 1.0
            if local.max_grad_norm is not None:
                factor = min(1.0, local.max_grad_norm / float(norm + 1e-6))
            total = [t + factor * g for t, g in zip(total, grads, strict=True)]
        for j, p in enumerate(parameters):
            if local.noise_multiplier is not None:
                drawn = noise.gaussian(p.numel()) * local.noise_multiplier * local.max_grad_norm
                total[j] = total[j] + torch.from_numpy(drawn).view_as(p).float()
            mean = total[j] / local.expected_batch_size
            velocity[j] = local.momentum * velocity[j] + mean
            p.data -= local.learning_rate * velocity[j]
    return flatten(to_weights(model)) - before


@pytest.mark.parametrize("changed", [{}, {"noise_multiplier": None, "max_grad_norm": None}])
def test_update_is_that_of_clipping_one_record_at_a_time(changed):
    local = plan(**changed)
    np.testing.assert_allclose(train(local).update, slow_update(local), atol=1e-5)


def test_a_batch_in_chunks_gives_the_same_update(monkeypatch):
    whole = train(plan()).update
    for chunk in (1, 5, 16):
        monkeypatch.setattr(dp_sgd, "CHUNK", chunk)
        np.testing.assert_allclose(train(plan()).update, whole, atol=1e-6)


@pytest.mark.parametrize("records", [512, 513, 1024])
def test_noise_is_added_once_at_the_real_chunk_boundary(records):
    # Records without gradient: with inputs of zero and a clip of nearly zero only noise is left.
    local = plan(steps=1, sample_rate=1.0, max_grad_norm=1e-6, noise_multiplier=1e6)
    result = train(local, np.zeros((records, 1, 8, 8), np.float32), np.zeros(records, np.int64))
    first = module()[0].weight.numel()
    drawn = NoiseStream(NOISE).gaussian(first)
    expected = -local.learning_rate / local.expected_batch_size * drawn
    assert result.records_used == records
    np.testing.assert_allclose(result.update[:first], expected, atol=1e-4)


def test_an_empty_batch_adds_noise_and_nothing_else():
    local = plan(steps=1, sample_rate=1e-12, momentum=0.0)
    result = train(local)
    assert result.records_used == 0 and result.mean_loss is None
    stream, expected = NoiseStream(NOISE), []
    for p in module().parameters():
        expected.append(stream.gaussian(p.numel()) * 0.7 * 0.3)
    np.testing.assert_allclose(
        result.update, -0.5 / 16.0 * np.concatenate(expected), rtol=1e-4, atol=1e-7
    )


def test_an_empty_batch_between_full_ones_agrees_with_the_slow_version():
    local = plan(steps=12, sample_rate=0.02)
    stream = NoiseStream(SAMPLING)
    sizes = [len(stream.poisson_sample(40, 0.02)) for _ in range(12)]
    assert 0 in sizes and max(sizes) > 0
    np.testing.assert_allclose(train(local).update, slow_update(local), atol=1e-5)


def test_normaliser_is_the_public_size_and_not_the_size_of_the_batch():
    small, large = (
        plan(steps=1, momentum=0.0),
        plan(steps=1, momentum=0.0, expected_batch_size=32.0),
    )
    np.testing.assert_allclose(train(small).update, 2 * train(large).update, atol=1e-6)


def test_one_more_record_moves_the_summed_gradient_by_at_most_the_clipping_norm():
    local = plan(steps=1, sample_rate=1.0, momentum=0.0, learning_rate=1.0)
    moved = train(local).update - train(local, INPUTS[:-1], LABELS[:-1]).update
    assert np.linalg.norm(moved) * local.expected_batch_size <= local.max_grad_norm * (1 + 1e-4)


def test_momentum_starts_at_zero_in_every_round():
    np.testing.assert_array_equal(train(plan()).update, train(plan()).update)


@pytest.mark.parametrize("private", [True, False])
def test_diverging_training_is_an_error(private):
    changed = {"max_grad_norm": 1e3 if private else None}
    if not private:
        changed["noise_multiplier"] = None
    with pytest.raises(AuditError, match="diverged"):
        train(plan(learning_rate=1e38, **changed))
