"""Shifted copies: where they come from, and that a record still counts once."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from audit.core.errors import ConfigError
from audit.core.loading import load_config
from audit.pipeline.train import TrainOptions, train
from training.augmentation import Augmentation, check_augmentation
from training.dp_sgd import LocalPlan, train_locally
from training.models import flatten, mlp, simple_cnn, to_weights
from training.randomness import NoiseStream

RNG = np.random.default_rng(3)
INPUTS = RNG.normal(size=(12, 1, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 3, 12).astype(np.int64)
PLAN = LocalPlan(
    steps=1,
    sample_rate=1.0,
    expected_batch_size=12.0,
    learning_rate=1.0,
    momentum=0.0,
    noise_multiplier=1e-9,
    max_grad_norm=0.5,
    augmentation=Augmentation(copies=3, shift=2),
)


def stream(key: bytes = b"a") -> NoiseStream:
    return NoiseStream(key * 32)


def module(kind=simple_cnn) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return kind((1, 8, 8), 3)


def test_each_copy_is_the_image_moved_by_at_most_the_shift():
    image = torch.zeros(1, 2, 9, 9)
    image[0, :, 4, 4] = torch.tensor([1.0, 2.0])
    moved = Augmentation(copies=200, shift=2).apply(image, stream())
    assert moved.shape == (200, 2, 9, 9)
    places = {tuple(int(i) for i in torch.nonzero(one[0])[0]) for one in moved}
    assert places == {(r, c) for r in range(2, 7) for c in range(2, 7)}
    assert all(torch.equal(one[1], 2 * one[0]) and one[0].sum() == 1 for one in moved)


def test_what_moves_in_at_the_edge_is_the_edge():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    for one in Augmentation(copies=50, shift=1).apply(image, stream()):
        assert set(one.unique().tolist()) <= set(range(16))


def test_no_shift_and_one_copy_change_nothing_and_draw_nothing():
    drawn = stream()
    same = Augmentation().apply(torch.from_numpy(INPUTS), drawn)
    assert np.array_equal(same.numpy(), INPUTS)
    assert np.array_equal(drawn.uniform(3), stream().uniform(3))


@pytest.mark.parametrize("kind", [simple_cnn, mlp])
@pytest.mark.parametrize("private", [True, False])
def test_a_record_s_gradient_is_the_mean_over_its_copies_clipped_once(kind, private):
    plan = PLAN
    if not private:
        plan = dataclasses.replace(plan, noise_multiplier=None, max_grad_norm=None)
    model = module(kind)
    parameters = list(model.parameters())
    copies = PLAN.augmentation.apply(torch.from_numpy(INPUTS), stream()).view(12, 3, 1, 8, 8)
    total = np.zeros(sum(p.numel() for p in parameters))
    for variants, label in zip(copies, torch.from_numpy(LABELS), strict=True):
        loss = nn.functional.cross_entropy(model(variants), label.repeat(3))
        gradient = flatten(
            {str(i): g.numpy() for i, g in enumerate(torch.autograd.grad(loss, parameters))}
        )
        norm = np.linalg.norm(gradient)
        total += gradient * (min(1.0, 0.5 / (norm + 1e-6)) if private else 1.0)
    start = flatten(to_weights(model))
    found = train_locally(model, INPUTS, LABELS, plan, sampling=stream(), noise=stream(b"n"))
    assert np.linalg.norm(total / 12) > 1e-3
    np.testing.assert_allclose(found.update, -total / 12, atol=1e-6)
    np.testing.assert_allclose(flatten(to_weights(model)) - start, found.update)


def test_one_more_record_moves_the_sum_by_at_most_the_clipping_norm_whatever_its_copies():
    def summed(records: int) -> np.ndarray:
        return train_locally(
            module(), INPUTS[:records], LABELS[:records], PLAN, sampling=stream(), noise=stream()
        ).update

    # The shifts of all records are drawn in one go, so compare with a record without gradient.
    assert 12 * np.linalg.norm(summed(1)) <= 0.5 * (1 + 1e-4)


@pytest.mark.parametrize(
    ("copies", "shift", "shape", "said"),
    [(1, 1, (30,), "images"), (2, 0, (1, 8, 8), "alike"), (4, 2, (1, 8, 8), None)],
)
def test_what_cannot_be_varied_is_said(copies, shift, shape, said):
    wrong = check_augmentation(copies, shift, shape)
    assert wrong is None if said is None else said in wrong


def test_a_table_cannot_be_shifted(tmp_path):
    config = load_config("breast_cancer", ["schedule.augment_shift=1"])
    with pytest.raises(ConfigError, match=r"augment_shift 1 of eps-0.5.*images"):
        train(config, tmp_path / "run", TrainOptions())
    assert not (tmp_path / "run").exists()
