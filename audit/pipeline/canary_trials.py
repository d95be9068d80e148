"""What adversaries see of gradient canaries and outliers in one audit cell.

Its hospitals hold canaries and a few records of the population that every adversary knows: no
patient's record is spent on it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.model import Weights
from audit.core.parcel import Parcel
from audit.core.views import Observation
from audit.pipeline.audit_federation import AuditFederation
from audit.store.run import CellDirectory
from training.canaries import along_canaries, canary_sign, canary_step

FIRST = 16
"""Coordinates of an update that are kept without the known records' gradients.

Of a tensor of at least 32 they are the first that torch's generator makes of a seed; the last 16 of
any tensor it makes anew.
"""


@dataclass(frozen=True, kw_only=True)
class CanaryTrial:
    """One audit cell with gradient canaries and outliers.

    Args:
        federation: How to run it.
        dealt: The hospital that each gradient canary would be in, public, shape (columns,).
    """

    federation: AuditFederation
    dealt: NDArray[np.int64]


def run_trials(trials: Sequence[CanaryTrial]) -> Iterator[Parcel]:
    """Run audit cells one after the other (``audit.executor.Work``)."""
    for trial in trials:
        with trial.federation.recorded() as directory:
            yield _seen(trial, directory)


def _seen(trial: CanaryTrial, directory: CellDirectory) -> Parcel:
    """Return what updates and sums hold along every canary that could have been in.

    Arrays: ``updates`` of shape (hospitals, rounds, columns), ``sums`` of shape (rounds, columns),
    ``likeness`` of shape (hospitals, rounds), ``leftover`` of shape (hospitals, rounds, 16), and
    ``dealt`` of shape (columns,).
    """
    federation = trial.federation
    recording, built = federation.recording(directory), federation.architecture
    rounds, clients = recording.rounds, federation.config.clients
    single = [recording.updates(rounds, (client,)) for client in clients]
    steps = np.array([_step(federation, n) for n in range(1, len(rounds) + 1)])[:, None]
    weights = federation.config.aggregation.weights or {}
    total = sum(weights.get(client, 1) for client in clients)
    along = [along_canaries(built, [o.update for o in one]) for one in single]
    mean = along_canaries(built, [o.update for o in recording.sums(rounds)])
    known = [_against_known(federation, i, one) for i, one in enumerate(single)]
    return Parcel(
        arrays={
            "dealt": trial.dealt,
            "updates": np.stack([one / steps for one in along]),
            "sums": mean * total / steps,
            "likeness": np.stack([likeness for likeness, _ in known]),
            "leftover": np.stack([leftover for _, leftover in known]),
        }
    )


def _step(federation: AuditFederation, number: int) -> float:
    """Return what one clipped canary in every batch moves in a round, with its sign."""
    schedule, privacy = federation.cell.schedule, federation.config.privacy
    return canary_sign(number) * canary_step(
        local_steps=schedule.local_steps,
        learning_rate=schedule.rate(number),
        momentum=schedule.momentum,
        expected_batch_size=float(schedule.batch_size),
        private_norm=privacy.max_grad_norm if federation.cell.private else None,
    )


def _against_known(
    federation: AuditFederation, hospital: int, updates: Sequence[Observation]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hold updates against what the known records alone would have sent; DP only.

    Returns:
        How much of that is in each update, shape (rounds,); and what is left without it in the
        first coordinates, in deviations of a single step's noise, shape (rounds, 16).
    """
    likeness = np.full(len(updates), np.nan)
    leftover = np.full((len(updates), FIRST), np.nan)
    noise, norm = federation.noise_multiplier, federation.config.privacy.max_grad_norm
    if noise is None:
        return likeness, leftover
    schedule = federation.cell.schedule
    rate = min(1.0, schedule.batch_size / federation.config.privacy.nominal_records)
    for i, seen in enumerate(updates):
        gradient = _known_gradient(federation, hospital, seen.weights)
        scale = abs(_step(federation, seen.round)) / norm
        inner = -sum(float((seen.update[k] * g).sum()) for k, g in gradient.items())
        square = sum(float((g**2).sum()) for g in gradient.values())
        likeness[i] = inner / (scale * rate * square) if square else 0.0
        name = next(iter(seen.update))
        first, own = (np.ravel(part[name])[:FIRST] for part in (seen.update, gradient))
        if schedule.local_steps == 1 and seen.update[name].size >= 2 * FIRST:
            leftover[i] = (-first.astype(np.float64) / scale - rate * own) / (noise * norm)
    return likeness, leftover


def _known_gradient(federation: AuditFederation, hospital: int, weights: Weights) -> Weights:
    """Return the sum of a hospital's known records' clipped gradients."""
    dataset, records = federation.dataset, federation.parts[hospital]
    inputs, labels = dataset.inputs(records), dataset.y[records]
    built, priors = federation.architecture, federation.cell.schedule.class_priors
    lengths = built.gradient_products(weights, inputs, labels, [weights], class_priors=priors).norms
    scale, norm = federation.cell.schedule.loss_scale, federation.config.privacy.max_grad_norm
    clipped = scale * np.minimum(1.0, norm / (scale * lengths + 1e-6))
    (gradient,) = built.gradient_sums(
        weights, inputs, labels, clipped[:, None], class_priors=priors
    )
    return gradient
