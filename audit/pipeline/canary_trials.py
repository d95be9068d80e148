"""One audit cell: a federation of the released one's recipe and code, with canaries in it.

Its hospitals hold canaries and a few records of the population that every adversary knows: no
patient's record is spent on it. It runs as any cell does, messages, masks and all; what is kept is
what each adversary sees along the canaries, and the rest is deleted.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.core.config import CellConfig, Config, ProbesConfig
from audit.core.errors import AuditError
from audit.core.parcel import Parcel
from audit.core.views import Observation
from audit.disclosure.observations import Recording
from audit.pipeline.cells import cell_plan
from audit.store.run import CellDirectory
from training.canaries import Canaries, along_canaries, canary_sign, canary_step
from training.data.configured import cached_dataset
from training.data.spec import DataSpec
from training.faults import Fault
from training.federation import Backend, new_identities, run_cell, set_up_hospitals
from training.models import TorchArchitecture

OUTLIER = 100.0
"""Every value of an outlier canary, in the model's input space: far outside of any record's."""


@dataclass(frozen=True, kw_only=True)
class CanaryTrial:
    """All that a worker needs for one audit cell.

    Args:
        config: The run's configuration.
        cell: The audited cell's part of it.
        architecture: Its model.
        noise_multiplier: Of the audited cell; None without DP.
        spec, root: Where the population's records lie.
        folder: Where the federation is recorded while it runs.
        name: Unique in the run.
        known: Each hospital's records, indices into the dataset.
        columns: Each hospital's gradient canaries, those that are in.
        dealt: The hospital that each gradient canary would be in, public, shape (columns,).
        outliers: Whether each hospital has an outlier.
        noise_master: Fixed noise key of a reproduction; None: fresh noise, as in the released cell.
        fault: What is broken in every hospital; None: nothing.
    """

    config: Config
    cell: CellConfig
    architecture: TorchArchitecture
    noise_multiplier: float | None
    spec: DataSpec
    root: Path
    folder: Path
    name: str
    known: tuple[NDArray[np.int64], ...]
    columns: tuple[NDArray[np.int64], ...]
    dealt: NDArray[np.int64]
    outliers: tuple[bool, ...]
    noise_master: bytes | None
    fault: Fault | None


def run_trials(trials: Sequence[CanaryTrial]) -> Iterator[Parcel]:
    """Run audit cells one after the other (``audit.executor.Work``)."""
    for trial in trials:
        directory = CellDirectory(trial.folder / "running" / trial.name / trial.cell.id)
        shutil.rmtree(directory.path, ignore_errors=True)
        try:
            _run(trial, directory)
            yield _seen(trial, directory)
        finally:
            shutil.rmtree(directory.path.parent, ignore_errors=True)


def _run(trial: CanaryTrial, directory: CellDirectory) -> None:
    config = trial.config.model_copy(update={"probes": ProbesConfig(repeats=0)})
    dataset = cached_dataset(trial.spec, trial.root)
    identities = new_identities(config.clients)
    plan = cell_plan(
        config,
        trial.cell,
        directory,
        run_id=trial.name,
        roster={client: identity.public_key for client, identity in identities.items()},
        architecture=trial.architecture,
        noise_multiplier=trial.noise_multiplier,
        data=trial.spec,
        ledgers=directory.path.parent / "ledger",
        noise_master=trial.noise_master,
    )
    set_up_hospitals(
        plan,
        dataset=dataset,
        parts=dict(zip(config.clients, trial.known, strict=True)),
        probes={},
        identities=identities,
        canaries={
            client: _canaries(columns, outlier, dataset.shape)
            for client, columns, outlier in zip(
                config.clients, trial.columns, trial.outliers, strict=True
            )
        },
    )
    run_cell(
        plan,
        backend=Backend.INPROCESS,
        evaluate=lambda _: {},
        progress=lambda _number, _metrics: None,
        fault=trial.fault,
    )


def _canaries(columns: NDArray[np.int64], outlier: bool, shape: tuple[int, ...]) -> Canaries:
    made = np.full((int(outlier), *shape), OUTLIER, dtype=np.float32)
    return Canaries(columns=columns, inputs=made, labels=np.zeros(len(made), dtype=np.int64))


def _seen(trial: CanaryTrial, directory: CellDirectory) -> Parcel:
    """Return what updates and sums hold along every canary that could have been in.

    Arrays: ``updates`` of shape (hospitals, rounds, columns), ``sums`` of shape (rounds, columns),
    ``likeness`` of shape (hospitals, rounds), and ``dealt`` of shape (columns,).
    """
    recording = Recording(trial.config, trial.cell, directory, trial.architecture)
    rounds, clients = recording.rounds, trial.config.clients
    single = [recording.updates(rounds, (client,)) for client in clients]
    means = recording.sums(rounds)
    if any(len(one) < len(rounds) for one in (*single, means)):
        raise AuditError(f"audit cell {trial.name} of {trial.cell.id}: a round failed")
    steps = np.array([_step(trial, number) for number in range(1, len(rounds) + 1)])[:, None]
    weights = trial.config.aggregation.weights or {}
    total = sum(weights.get(client, 1) for client in clients)
    along = [along_canaries(trial.architecture, [o.update for o in one]) for one in single]
    mean = along_canaries(trial.architecture, [o.update for o in means])
    return Parcel(
        arrays={
            "dealt": trial.dealt,
            "updates": np.stack([one / steps for one in along]),
            "sums": mean * total / steps,
            "likeness": np.stack([_likeness(trial, i, one) for i, one in enumerate(single)]),
        }
    )


def _step(trial: CanaryTrial, number: int) -> float:
    """Return what one clipped canary in every batch moves in a round, with its sign."""
    schedule, privacy = trial.cell.schedule, trial.config.privacy
    return canary_sign(number) * canary_step(
        local_steps=schedule.local_steps,
        learning_rate=schedule.rate(number),
        momentum=schedule.momentum,
        expected_batch_size=float(schedule.batch_size),
        private_norm=privacy.max_grad_norm if trial.cell.private else None,
    )


def _likeness(
    trial: CanaryTrial, hospital: int, updates: Sequence[Observation]
) -> NDArray[np.float64]:
    """Return how much of what the known records would have sent is in each update; DP only."""
    if not trial.cell.private:
        return np.full(len(updates), np.nan)
    dataset, records = cached_dataset(trial.spec, trial.root), trial.known[hospital]
    inputs, labels = dataset.inputs(records), dataset.y[records]
    schedule = trial.cell.schedule
    rate = min(1.0, schedule.batch_size / trial.config.privacy.nominal_records)
    norm = trial.config.privacy.max_grad_norm
    found = []
    for observation in updates:
        lengths = trial.architecture.gradient_products(
            observation.weights,
            inputs,
            labels,
            [observation.update],
            class_priors=schedule.class_priors,
        ).norms
        scale = schedule.loss_scale
        clipped = scale * np.minimum(1.0, norm / (scale * lengths + 1e-6))
        (gradient,) = trial.architecture.gradient_sums(
            observation.weights,
            inputs,
            labels,
            clipped[:, None],
            class_priors=schedule.class_priors,
        )
        inner = -sum(float((observation.update[k] * g).sum()) for k, g in gradient.items())
        square = sum(float((g**2).sum()) for g in gradient.values())
        expected = abs(_step(trial, observation.round)) / norm * rate * square
        found.append(inner / expected if expected else 0.0)
    return np.array(found)
