"""Shifted images: where they go, and that the gradient is that of what was seen."""

import numpy as np
import pytest
import torch
from torch import nn

from audit.core.errors import ConfigError
from audit.core.loading import load_config
from audit.pipeline.train import TrainOptions, train
from training.augmentation import shifted
from training.dp_sgd import train_locally
from training.local_plan import LocalPlan
from training.models import flatten, simple_cnn
from training.randomness import NoiseStream

RNG = np.random.default_rng(3)
INPUTS = RNG.normal(size=(12, 1, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 3, 12).astype(np.int64)


def stream(key: bytes = b"a") -> NoiseStream:
    return NoiseStream(key * 32)


def test_each_image_is_moved_by_at_most_the_shift():
    images = torch.zeros(200, 2, 9, 9)
    images[:, :, 4, 4] = torch.tensor([1.0, 2.0])
    moved = shifted(images, 2, stream())
    assert moved.shape == images.shape
    places = {tuple(int(i) for i in torch.nonzero(one[0])[0]) for one in moved}
    assert places == {(r, c) for r in range(2, 7) for c in range(2, 7)}
    assert all(torch.equal(one[1], 2 * one[0]) and one[0].sum() == 1 for one in moved)


def test_what_moves_in_at_the_edge_is_the_edge():
    images = torch.arange(16.0).view(1, 1, 4, 4).repeat(50, 1, 1, 1)
    for one in shifted(images, 1, stream()):
        assert set(one.unique().tolist()) <= set(range(16))


def test_no_shift_changes_nothing_and_draws_nothing():
    drawn = stream()
    assert np.array_equal(shifted(torch.from_numpy(INPUTS), 0, drawn).numpy(), INPUTS)
    assert np.array_equal(drawn.uniform(3), stream().uniform(3))


@pytest.mark.parametrize("private", [True, False])
def test_a_record_s_gradient_is_that_of_the_image_as_moved_clipped_once(private):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = simple_cnn((1, 8, 8), 3)
    plan = LocalPlan(
        steps=1,
        sample_rate=1.0,
        expected_batch_size=12.0,
        learning_rate=1.0,
        momentum=0.0,
        noise_multiplier=1e-9 if private else None,
        max_grad_norm=0.5 if private else None,
        augment_shift=2,
    )
    parameters = list(model.parameters())
    moved = shifted(torch.from_numpy(INPUTS), 2, stream())
    total = np.zeros(sum(p.numel() for p in parameters))
    for image, label in zip(moved, torch.from_numpy(LABELS), strict=True):
        loss = nn.functional.cross_entropy(model(image[None]), label[None])
        parts = torch.autograd.grad(loss, parameters)
        gradient = flatten({str(i): g.numpy() for i, g in enumerate(parts)})
        norm = np.linalg.norm(gradient)
        total += gradient * (min(1.0, 0.5 / (norm + 1e-6)) if private else 1.0)
    found = train_locally(model, INPUTS, LABELS, plan, sampling=stream(), noise=stream(b"n"))
    assert np.linalg.norm(total / 12) > 1e-3
    np.testing.assert_allclose(found.update, -total / 12, atol=1e-6)


def test_a_table_cannot_be_shifted(tmp_path):
    config = load_config("breast_cancer", ["schedule.augment_shift=1"])
    with pytest.raises(ConfigError, match=r"augment_shift 1 of eps-0.5.*images"):
        train(config, tmp_path / "run", TrainOptions())
    assert not (tmp_path / "run").exists()
