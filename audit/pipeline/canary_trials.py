"""What adversaries see of gradient canaries and outliers in one audit cell.

Its hospitals hold canaries and a few records of the population that every adversary knows: no
patient's record is spent on it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.parcel import Parcel
from audit.core.views import Observation
from audit.pipeline.audit_federation import AuditFederation
from audit.store.run import CellDirectory
from training.canaries import along_canaries, canary_sign, canary_step


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
    ``likeness`` of shape (hospitals, rounds), and ``dealt`` of shape (columns,).
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
    return Parcel(
        arrays={
            "dealt": trial.dealt,
            "updates": np.stack([one / steps for one in along]),
            "sums": mean * total / steps,
            "likeness": np.stack([_likeness(federation, i, one) for i, one in enumerate(single)]),
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


def _likeness(
    federation: AuditFederation, hospital: int, updates: Sequence[Observation]
) -> NDArray[np.float64]:
    """Return how much of what the known records would have sent is in each update; DP only."""
    if not federation.cell.private:
        return np.full(len(updates), np.nan)
    dataset, records = federation.dataset, federation.parts[hospital]
    inputs, labels = dataset.inputs(records), dataset.y[records]
    schedule = federation.cell.schedule
    rate = min(1.0, schedule.batch_size / federation.config.privacy.nominal_records)
    norm = federation.config.privacy.max_grad_norm
    found = []
    for observation in updates:
        lengths = federation.architecture.gradient_products(
            observation.weights,
            inputs,
            labels,
            [observation.update],
            class_priors=schedule.class_priors,
        ).norms
        scale = schedule.loss_scale
        clipped = scale * np.minimum(1.0, norm / (scale * lengths + 1e-6))
        (gradient,) = federation.architecture.gradient_sums(
            observation.weights,
            inputs,
            labels,
            clipped[:, None],
            class_priors=schedule.class_priors,
        )
        inner = -sum(float((observation.update[k] * g).sum()) for k, g in gradient.items())
        square = sum(float((g**2).sum()) for g in gradient.values())
        expected = abs(_step(federation, observation.round)) / norm * rate * square
        found.append(inner / expected if expected else 0.0)
    return np.array(found)
