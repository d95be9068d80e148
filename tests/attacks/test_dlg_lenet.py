"""DLG on the network of its paper: exact; on ReLU and max pooling a failure, and visible."""

import dataclasses

import inversion_probes as probes
import numpy as np
import pytest

from attacks.attack import Budget
from attacks.inversion.dlg import build
from audit.core.config import ModelConfig
from audit.core.randomness import named_generator
from audit.core.views import ServerView
from audit.stats import psnr
from training.models import architecture

LENET = architecture(ModelConfig(name="inversion_probes:lenet"), (1, 8, 8), 10)


def with_weights(view: ServerView, victims: list[np.ndarray], spread: float | None) -> ServerView:
    """Return exact gradients at weights from U(-spread, spread); None: torch's own."""
    rng = named_generator(3, "lenet")
    start = LENET.initial(1)
    weights = {
        n: w if spread is None else rng.uniform(-spread, spread, w.shape).astype(np.float32)
        for n, w in start.items()
    }
    made = []
    for one, (victim,) in zip(view.probes, victims, strict=True):
        inputs, labels = probes.INPUTS[[victim]], probes.LABELS[[victim]]
        (gradient,) = LENET.gradient_sums(weights, inputs, labels, np.ones((1, 1)))
        update = {n: -g for n, g in gradient.items()}
        made.append(dataclasses.replace(one, weights=weights, update=update, learning_rate=1.0))
    return dataclasses.replace(view, probes=tuple(made))


def decibels(view: ServerView, victims: list[np.ndarray]) -> tuple[list[float], list[float]]:
    """Return the PSNR of each reconstruction, and the attack's own final loss."""
    found = build(Budget.STANDARD).guess(view, named_generator(1, "dlg")).reconstructions
    return [
        psnr(one.records[0], probes.INPUTS[v[0]], 1.0)
        for one, v in zip(found, victims, strict=True)
    ], [one.objective for one in found]


@pytest.mark.parametrize("spread", [0.5, None], ids=["paper's weights", "torch's weights"])
def test_on_the_papers_network_dlg_is_exact(spread: float | None) -> None:
    view, victims = probes.made(updates=3, built=LENET)
    close, losses = decibels(with_weights(view, victims, spread), victims)
    assert np.median(close) > 60 and max(losses) < 1e-6


def test_on_relu_and_max_pooling_its_failure_shows_in_its_own_loss() -> None:
    options = {"pooling": "max", "activation": "relu"}
    rough = architecture(ModelConfig(name="simple-cnn", options=options), (1, 8, 8), 10)
    view, victims = probes.made(updates=3, built=rough)
    close, losses = decibels(view, victims)
    assert np.median(close) < 40 and np.median(losses) > 1e-6
