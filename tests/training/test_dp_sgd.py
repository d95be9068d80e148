"""DP-SGD agrees with a slow version that clips one record at a time."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from audit.core.errors import AuditError
from training import steps
from training.dp_sgd import train_locally
from training.features.fixed import FixedFeatures
from training.local_plan import LocalPlan
from training.models import flatten, mlp, simple_cnn, to_weights
from training.randomness import NoiseStream

SAMPLING, NOISE = b"s" * 32, b"n" * 32
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(40, 1, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 3, 40).astype(np.int64)


def fixed_features() -> nn.Module:
    head = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    return FixedFeatures(nn.AvgPool2d(2), head, key="pooled")


MODELS = {
    "every gradient": lambda: simple_cnn((1, 8, 8), 3),
    "standardised filters": lambda: simple_cnn((1, 8, 8), 3, filter_gains=(0.7, 1.5)),
    "only the norms": lambda: mlp((1, 8, 8), 3, hidden=6),
    "fixed features": fixed_features,
}


@pytest.fixture(params=MODELS)
def module(request) -> Callable[[], nn.Module]:
    """A model that is clipped in one of the ways there are, the same at each call."""

    def build() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return MODELS[request.param]()

    return build


def plan(**changed) -> LocalPlan:
    options = {
        "steps": 4,
        "sample_rate": 0.4,
        "expected_batch_size": 16.0,
        "learning_rate": 0.5,
        "momentum": 0.5,
        "noise_multiplier": 0.7,
        "max_grad_norm": 0.3,
        "loss_scale": 1.0,
    }
    return LocalPlan(**{**options, **changed})


def train(module, local: LocalPlan, inputs=INPUTS, labels=LABELS):
    return train_locally(
        module(),
        inputs,
        labels,
        local,
        sampling=NoiseStream(SAMPLING),
        noise=NoiseStream(NOISE),
    )


def slow_update(module, local: LocalPlan) -> np.ndarray:
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
            scale = 1.0 if local.max_grad_norm is None else local.loss_scale
            offset = torch.log(torch.tensor(local.class_priors or [1.0, 1.0, 1.0]))
            loss = scale * nn.functional.cross_entropy(model(x) + offset, y)
            grads = torch.autograd.grad(loss, parameters)
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


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"loss_scale": 7.0},
        {"class_priors": (0.7, 0.2, 0.1)},
        {"noise_multiplier": None, "max_grad_norm": None},
    ],
)
def test_update_is_that_of_clipping_one_record_at_a_time(module, changed):
    local = plan(**changed)
    np.testing.assert_allclose(train(module, local).update, slow_update(module, local), atol=1e-5)


def test_a_large_loss_scale_leaves_only_the_direction_of_each_gradient(module):
    local = plan(steps=1, sample_rate=1.0, momentum=0.0, loss_scale=1e6)
    moved = train(module, local).update - train(module, local, INPUTS[:-1], LABELS[:-1]).update
    length = local.max_grad_norm * local.learning_rate / local.expected_batch_size
    assert np.linalg.norm(moved) == pytest.approx(length, rel=1e-3)


def test_the_order_of_pixels_in_memory_changes_nothing():
    def build() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return simple_cnn((2, 8, 8), 3)

    images = np.random.default_rng(1).normal(size=(40, 2, 8, 8)).astype(np.float32)
    channels_last = np.moveaxis(np.ascontiguousarray(np.moveaxis(images, 1, 3)), 3, 1)
    np.testing.assert_allclose(
        train(build, plan(), channels_last).update, train(build, plan(), images).update, atol=1e-6
    )


def test_a_batch_in_chunks_gives_the_same_update(module, monkeypatch):
    whole = train(module, plan()).update
    for chunk in (1, 5, 16):
        monkeypatch.setattr(steps, "CHUNK", chunk)
        monkeypatch.setattr(steps, "GHOST_CHUNK", chunk)
        np.testing.assert_allclose(train(module, plan()).update, whole, atol=1e-6)


def test_noise_is_added_once_at_the_real_chunk_boundary(module):
    # Records without gradient: with inputs of zero and a clip of nearly zero only noise is left.
    local = plan(steps=1, sample_rate=1.0, max_grad_norm=1e-6, noise_multiplier=1e6)
    first = next(module().parameters()).numel()
    drawn = NoiseStream(NOISE).gaussian(first)
    expected = -local.learning_rate / local.expected_batch_size * drawn
    for records in (steps.CHUNK, steps.CHUNK + 1, 2 * steps.CHUNK, steps.GHOST_CHUNK + 1):
        labels = np.zeros(records, np.int64)
        result = train(module, local, np.zeros((records, 1, 8, 8), np.float32), labels)
        assert result.records_used == records
        np.testing.assert_allclose(result.update[:first], expected, atol=1e-3)


def test_an_empty_batch_adds_noise_and_nothing_else(module):
    local = plan(steps=1, sample_rate=1e-12, momentum=0.0)
    result = train(module, local)
    assert result.records_used == 0 and result.mean_loss is None
    stream, expected = NoiseStream(NOISE), []
    for p in module().parameters():
        expected.append(stream.gaussian(p.numel()) * 0.7 * 0.3)
    np.testing.assert_allclose(
        result.update, -0.5 / 16.0 * np.concatenate(expected), rtol=1e-4, atol=1e-7
    )


def test_an_empty_batch_between_full_ones_agrees_with_the_slow_version(module):
    local = plan(steps=12, sample_rate=0.02)
    stream = NoiseStream(SAMPLING)
    sizes = [len(stream.poisson_sample(40, 0.02)) for _ in range(12)]
    assert 0 in sizes and max(sizes) > 0
    np.testing.assert_allclose(train(module, local).update, slow_update(module, local), atol=1e-5)


def test_normaliser_is_the_public_size_and_not_the_size_of_the_batch(module):
    small, large = (
        plan(steps=1, momentum=0.0),
        plan(steps=1, momentum=0.0, expected_batch_size=32.0),
    )
    np.testing.assert_allclose(
        train(module, small).update, 2 * train(module, large).update, atol=1e-6
    )


def test_one_more_record_moves_the_summed_gradient_by_at_most_the_clipping_norm(module):
    local = plan(steps=1, sample_rate=1.0, momentum=0.0, learning_rate=1.0)
    moved = train(module, local).update - train(module, local, INPUTS[:-1], LABELS[:-1]).update
    assert np.linalg.norm(moved) * local.expected_batch_size <= local.max_grad_norm * (1 + 1e-4)


def test_momentum_starts_at_zero_in_every_round(module):
    np.testing.assert_array_equal(train(module, plan()).update, train(module, plan()).update)


@pytest.mark.parametrize("private", [True, False])
def test_diverging_training_is_an_error(private):
    changed = {"max_grad_norm": 1e3 if private else None}
    if not private:
        changed["noise_multiplier"] = None
    with pytest.raises(AuditError, match="diverged"):
        train(MODELS["every gradient"], plan(learning_rate=1e38, **changed))
