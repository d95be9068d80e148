"""Audit cells whose hospitals push in unison: what the released recipe hides of a whole hospital.

Nothing is claimed for a whole hospital; this shows why. Every hospital of such a federation (of
the heaviest, where they weigh unequally) holds as many gradient canaries as a hospital has records
by the public nominal size, all in one direction of its own, in every round the same: the most that
clipping lets a hospital of that size move the model. A few records of the population train beside
them, so no patient's record is spent.

The directions are a random orthonormal set, so each is isotropic as in Andrew et al., and none
holds anything of another. They lie in the space of the last layer's columns (``training.canaries``)
in which real records have nothing, so along a direction that no hospital pushes there is the noise
of all hospitals and nothing else. Such directions give the null law, measured rather than assumed;
which are pushed is secret. The paper adds canary clients to a running federation of many clients.
Here that would add their noise to that of three hospitals; an audit cell releases nothing, so its
own hospitals are the canaries, and weights, mean and noise are those of the released federation.
What is compared is therefore a hospital with its records and the same hospital without any: its
noise is there both times.

Source: Andrew et al. 2024, arXiv:2302.03098: canary clients with isotropic directions of the norm
to which clients are clipped, held against the final model. Here nothing clips a client; its records
are clipped, and sampled, one by one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.config import CellConfig, Config
from audit.core.errors import ViewError
from audit.core.parcel import Parcel
from audit.core.randomness import named_generator
from audit.disclosure.canaries import hospital_store
from audit.executor import Job, Store
from audit.pipeline.audit_federation import AuditFederation
from audit.pipeline.audit_jobs import (
    cost_sentence,
    federation_seconds,
    known_records,
    run_jobs,
)
from audit.pipeline.canary_dealer import CanaryDealer
from audit.pipeline.cells import cell_model
from audit.store.run import CellDirectory, RunDirectory
from training.canaries import Canaries, Push, along_canaries, canary_columns, canary_step
from training.dp_sgd import Laboratory
from training.features.fixed import trained_part
from training.models import TorchArchitecture
from training.randomness import NoiseStream, derived_key

FEDERATIONS = {"quick": 2, "standard": 8, "thorough": 32}
"""By attack budget, for each private cell of the sweep."""

UNPUSHED = 256
"""Most directions of a federation along which nobody pushes: they show the noise."""

LEAST_UNPUSHED = 10
"""With fewer of them a federation's noise would hardly be known."""


@dataclass(frozen=True, kw_only=True)
class HospitalTrial:
    """One audit cell with canary hospitals.

    Args:
        federation: How to run it.
        directions: Orthonormal, pushed or not, public, shape (directions, columns).
    """

    federation: AuditFederation
    directions: NDArray[np.float64]


def run_hospital_trials(trials: Sequence[HospitalTrial]) -> Iterator[Parcel]:
    """Run audit cells one after the other (``audit.executor.Work``)."""
    for trial in trials:
        with trial.federation.recorded() as directory:
            yield _seen(trial, directory)


def _seen(trial: HospitalTrial, directory: CellDirectory) -> Parcel:
    """Return what the final model less the initial one holds along each direction.

    Array ``released`` of shape (directions,): 1 is what a canary hospital adds if all its batches
    have their expected size.
    """
    federation = trial.federation
    first, *_, last = federation.recording(directory).models()
    moved = {name: last[name] - first[name] for name in last}
    (along,) = along_canaries(federation.architecture, [moved])
    weights = _weights(federation.config)
    share = weights.max() / weights.sum()
    schedule = federation.cell.schedule
    step = sum(
        canary_step(
            local_steps=schedule.local_steps,
            learning_rate=schedule.rate(number),
            momentum=schedule.momentum,
            expected_batch_size=float(schedule.batch_size),
            private_norm=federation.config.privacy.max_grad_norm,
        )
        for number in range(1, schedule.rounds + 1)
    )
    push = schedule.batch_size * step * schedule.server_learning_rate * share
    return Parcel(arrays={"released": trial.directions @ along / push})


def orthonormal(columns: int, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return unit vectors, each uniform on the sphere, all at right angles.

    Args:
        columns: Their dimension, at least ``count``.
        count: How many.
        rng: Source of randomness.

    Returns:
        Shape (count, columns).

    Source:
        Mezzadri 2007, arXiv:math-ph/0609050, section 5: QR with the signs of R taken out.
    """
    q, r = np.linalg.qr(rng.normal(size=(columns, count)))
    turned: NDArray[np.float64] = (q * np.sign(np.diag(r))).T
    return turned


class HospitalCells:
    """The audit cells with canary hospitals of a run.

    Args:
        run: The run.
        config: Its configuration.
        federations: For each private cell of the sweep.
    """

    def __init__(self, run: RunDirectory, config: Config, federations: int) -> None:
        self._run, self._config, self._federations = run, config, federations
        self._dealer = CanaryDealer(run, config)
        self._jobs: dict[str, list[Job[HospitalTrial]]] = {}
        self._seconds: dict[str, float] = {}

    def cost(self, cells: Sequence[CellConfig]) -> str | None:
        """Say what is about to be run and how long it takes; None: all is there already."""
        missing, seconds = 0, 0.0
        for cell in cells:
            todo = self._store(cell).missing(self.jobs(cell))
            missing += len(todo)
            seconds += len(todo) * self._seconds_each(todo[0].payload) if todo else 0.0
        return cost_sentence("audit cells with canary hospitals", missing, seconds)

    def train(self, cell: CellConfig, done: Callable[[int, int], None]) -> tuple[str, ...]:
        """Run what is missing for a cell; return the keys of all its federations, in order."""
        jobs, store = self.jobs(cell), self._store(cell)
        each = self._seconds_each(jobs[0].payload) if store.missing(jobs) else 0.0
        return run_jobs(jobs, run_hospital_trials, store, seconds_each=each, done=done)

    def jobs(self, cell: CellConfig) -> list[Job[HospitalTrial]]:
        """Return the jobs of a cell; the first few are the same at every budget.

        Without DP there are none: no noise, no estimate.

        Raises:
            ViewError: The model has no room for canary hospitals.
            MissingEvidenceError: The secrets are gone: canaries cannot be dealt.
        """
        if cell.id not in self._jobs:
            built = cell_model(self._config, cell, self._dealer.prepared)
            count = self._federations if cell.private else 0
            self._jobs[cell.id] = [self._job(cell, built, number) for number in range(count)]
        return self._jobs[cell.id]

    def _store(self, cell: CellConfig) -> Store:
        return hospital_store(self._run.path, cell.id)

    def _job(self, cell: CellConfig, built: TorchArchitecture, number: int) -> Job[HospitalTrial]:
        config, prepared = self._config, self._dealer.prepared
        name = f"hospitals-{cell.id}-{number:03d}"
        weights = _weights(config)
        heaviest = np.flatnonzero(weights == weights.max())
        columns = self._columns(built)
        count = min(len(heaviest) + UNPUSHED, columns)
        if count < len(heaviest) + LEAST_UNPUSHED:
            raise ViewError(
                f"the last layer of this model has {columns} columns: {len(heaviest)} canary "
                f"hospitals need at least {len(heaviest) + LEAST_UNPUSHED}"
            )
        rng = named_generator(config.seed, "canary-directions", name)
        directions = orthonormal(columns, count, rng)
        pushed = np.argsort(NoiseStream(derived_key(self._dealer.secret, name)).uniform(count))
        pushes = {
            int(hospital): Push(
                direction=directions[pushed[i]].astype(np.float32),
                copies=config.privacy.nominal_records,
            )
            for i, hospital in enumerate(heaviest)
        }
        federation = self._dealer.federation(
            cell,
            built,
            folder=self._store(cell).folder,
            name=name,
            parts=known_records(prepared.game.population, len(config.clients)),
            canaries=tuple(
                Canaries(
                    columns=np.zeros(0, dtype=np.int64),
                    inputs=np.zeros((0, *prepared.dataset.shape), dtype=np.float32),
                    labels=np.zeros(0, dtype=np.int64),
                    push=pushes.get(i),
                )
                for i in range(len(config.clients))
            ),
        )
        present = np.zeros(count, dtype=np.bool_)
        present[pushed[: len(heaviest)]] = True
        key = self._dealer.note(federation, present)
        return Job(key=key, payload=HospitalTrial(federation=federation, directions=directions))

    def _columns(self, built: TorchArchitecture) -> int:
        inputs = self._dealer.prepared.dataset.inputs(np.zeros(1, np.int64))
        return canary_columns(trained_part(built.build(), inputs)[0])

    def _seconds_each(self, trial: HospitalTrial) -> float:
        """Estimate the seconds of one federation."""
        federation = trial.federation
        if federation.cell.id not in self._seconds:
            push = next(c.push for c in federation.canaries if c.push is not None)
            laboratory = Laboratory(columns=np.zeros(0, dtype=np.int64), push=push)
            self._seconds[federation.cell.id] = federation_seconds(federation, laboratory)
        return self._seconds[federation.cell.id]


def _weights(config: Config) -> NDArray[np.float64]:
    """Return each hospital's public weight in the mean."""
    public = config.aggregation.weights or {}
    return np.array([public.get(client, 1) for client in config.clients], dtype=np.float64)
