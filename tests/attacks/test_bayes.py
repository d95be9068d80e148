"""What the posterior of records makes of linear measurements, where its first part is known."""

from dataclasses import dataclass

import inversion_probes as probes
import numpy as np
import pytest
import torch
from torch import Tensor

from attacks.inversion.batch_order import layout_of
from attacks.inversion.bayes import FLOOR, Posterior
from attacks.inversion.problem import Problem
from audit.core.randomness import named_generator

VALUES, VICTIMS = 64, probes.POOL[:12]
TRUTH, LABELS = probes.INPUTS[VICTIMS].reshape(-1, VALUES), probes.LABELS[VICTIMS]
MATRIX = named_generator(1, "matrix").normal(size=(VALUES, VALUES)) / VALUES**0.5


@dataclass(frozen=True)
class Linear:
    """What is sent is a fixed linear map of the record."""

    matrix: Tensor
    parameters: int = VALUES
    dtype: torch.dtype = torch.float32

    def target(self, gradient):
        raise NotImplementedError

    def __call__(self, records: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
        return records.flatten(1) @ self.matrix


def problem(matrix: np.ndarray, noise: float) -> Problem:
    rng = named_generator(3, "linear")
    view, _ = probes.made(updates=1)
    seen = TRUTH @ matrix + noise * rng.normal(size=(len(TRUTH), matrix.shape[1]))
    return Problem(
        background=view.background,
        sent=Linear(torch.from_numpy(matrix).float()),
        targets=torch.from_numpy(seen).float(),
        labels=torch.eye(10)[torch.from_numpy(LABELS)][:, None],
        shares=torch.ones((len(TRUTH), 1)),
        noise=noise,
        start=torch.from_numpy(rng.random((len(TRUTH), 1, 1, 8, 8))).float(),
        layout=layout_of(view.probes, restarts=1, in_steps=False),
    )


def found(matrix: np.ndarray, noise: float) -> np.ndarray:
    found = Posterior(iterations=1000).solve(problem(matrix, noise))
    records, losses = found.records, found.losses
    assert losses.isfinite().all()
    return records.flatten(1).numpy()


def class_means() -> np.ndarray:
    inputs, labels = probes.INPUTS[probes.PEOPLE], probes.LABELS[probes.PEOPLE]
    return np.stack([inputs[labels == c].mean(axis=0).ravel() for c in range(10)])


def gaussian(matrix: np.ndarray, noise: float) -> np.ndarray:
    """The closed form under the Gaussian prior alone."""
    inputs, labels = probes.INPUTS[probes.PEOPLE].reshape(-1, VALUES), probes.LABELS[probes.PEOPLE]
    means = class_means()
    apart = inputs - means[labels]
    covariance = apart.T @ apart / len(inputs) + FLOOR * np.eye(VALUES)
    gain = (
        covariance
        @ matrix
        @ np.linalg.inv(matrix.T @ covariance @ matrix + noise**2 * np.eye(matrix.shape[1]))
    )
    prior = means[LABELS]
    seen = problem(matrix, noise).targets.numpy()
    return (prior + (seen - prior @ matrix) @ gain.T).clip(0, 1)


def test_values_at_an_end_of_their_range_come_back_there():
    records, smooth = found(MATRIX, 0.005), gaussian(MATRIX, 0.005)
    black = TRUTH == 0
    assert (records[black] < 0.01).mean() > 0.9 > (smooth[black] < 0.01).mean() + 0.1
    assert ((records - TRUTH) ** 2).mean() < ((smooth - TRUTH) ** 2).mean() / 2


def test_where_ends_explain_nothing_better_the_answer_is_the_closed_form():
    records, smooth = found(MATRIX, 0.1), gaussian(MATRIX, 0.1)
    assert ((records - smooth) ** 2).mean() < 1e-4


@pytest.mark.parametrize("noise", [1.0, 10.0])
def test_where_noise_drowns_what_is_seen_the_answer_is_about_the_class_mean(noise):
    records, prior = found(MATRIX, noise), class_means()[LABELS]
    assert ((records - TRUTH) ** 2).mean() < 1.1 * ((prior - TRUTH) ** 2).mean()
    assert ((records - gaussian(MATRIX, noise)) ** 2).mean() < 0.01
