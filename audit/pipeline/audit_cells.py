"""The audit cells of a run: which canaries, which jobs, what they cost."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.config import CellConfig, Config
from audit.core.randomness import named_generator
from audit.disclosure.canaries import canary_store
from audit.executor import Job, Store
from audit.pipeline.audit_jobs import (
    coins,
    cost_sentence,
    federation_seconds,
    known_records,
    run_jobs,
)
from audit.pipeline.canary_dealer import CanaryDealer
from audit.pipeline.canary_trials import CanaryTrial, run_trials
from audit.pipeline.cells import cell_model
from audit.store.run import RunDirectory
from training.canaries import Canaries, canary_columns
from training.dp_sgd import Laboratory
from training.faults import Fault
from training.models import TorchArchitecture

OUTLIER = 100.0
"""Every value of an outlier canary, in the model's input space: far outside of any record's."""


@dataclass(frozen=True, kw_only=True)
class AuditEffort:
    """How many audit cells a budget buys for each cell of the sweep.

    Args:
        canaries: So many gradient canaries are wanted.
        least: Fewest federations, whatever their number of canaries: each has one outlier a
            hospital.
    """

    canaries: int
    least: int

    def federations(self, columns: int) -> int:
        """Return how many federations with so many canaries each are run."""
        return max(self.least, math.ceil(self.canaries / columns))


EFFORT = {
    "quick": AuditEffort(canaries=256, least=2),
    "standard": AuditEffort(canaries=2048, least=16),
    "thorough": AuditEffort(canaries=16384, least=64),
}
"""By attack budget."""


class AuditCells:
    """The audit cells with gradient and outlier canaries of a run.

    Args:
        run: The run.
        config: Its configuration.
        effort: How many.
        fault: What is broken in every hospital; self-tests only.
    """

    def __init__(
        self, run: RunDirectory, config: Config, effort: AuditEffort, fault: Fault | None = None
    ) -> None:
        self._run, self._config, self._fault, self._effort = run, config, fault, effort
        self._dealer = CanaryDealer(run, config)
        self._jobs: dict[str, list[Job[CanaryTrial]]] = {}
        self._seconds: dict[str, float] = {}

    def store(self, cell: CellConfig) -> Store:
        """Return where what was seen of a cell's audit cells is kept."""
        return canary_store(self._run.path, cell.id)

    def cost(self, cells: Sequence[CellConfig]) -> str | None:
        """Say what is about to be run and how long it takes; None: all is there already."""
        missing, seconds = 0, 0.0
        for cell in cells:
            todo = self.store(cell).missing(self.jobs(cell))
            missing += len(todo)
            seconds += len(todo) * self._seconds_each(todo[0].payload) if todo else 0.0
        return cost_sentence("audit cells", missing, seconds)

    def train(self, cell: CellConfig, done: Callable[[int, int], None]) -> tuple[str, ...]:
        """Run what is missing for a cell.

        Args:
            cell: Which cell.
            done: Told how many federations came in, and how many are run in this call.

        Returns:
            The keys of all its federations, in order.
        """
        jobs, store = self.jobs(cell), self.store(cell)
        each = self._seconds_each(jobs[0].payload) if store.missing(jobs) else 0.0
        return run_jobs(jobs, run_trials, store, seconds_each=each, done=done)

    def jobs(self, cell: CellConfig) -> list[Job[CanaryTrial]]:
        """Return the jobs of a cell; the first few are the same at every budget.

        Raises:
            ViewError: The model has no room for gradient canaries.
            MissingEvidenceError: The secrets are gone: canaries cannot be dealt.
        """
        if cell.id not in self._jobs:
            built = cell_model(self._config, cell, self._dealer.prepared)
            columns = canary_columns(built.build())
            count = self._effort.federations(columns)
            if not cell.private:  # a positive control: seen at once or never
                count = min(count, EFFORT["quick"].least)
            self._jobs[cell.id] = [self._job(cell, built, columns, n) for n in range(count)]
        return self._jobs[cell.id]

    def _job(
        self, cell: CellConfig, built: TorchArchitecture, columns: int, number: int
    ) -> Job[CanaryTrial]:
        config, prepared = self._config, self._dealer.prepared
        broken = f"{self._fault.name}-" if self._fault else ""
        name = f"canaries-{cell.id}-{broken}{number:03d}"
        dealt = self._dealt(name, columns)
        present = coins(self._dealer.secret, name, columns + len(config.clients))
        hospitals = range(len(config.clients))
        outliers = present[columns:] & cell.private
        federation = self._dealer.federation(
            cell,
            built,
            folder=self.store(cell).folder,
            name=name,
            parts=known_records(prepared.game.population, len(config.clients)),
            canaries=tuple(
                Canaries(
                    columns=np.flatnonzero((dealt == i) & present[:columns]),
                    inputs=np.full(
                        (int(outliers[i]), *prepared.dataset.shape), OUTLIER, dtype=np.float32
                    ),
                    labels=np.zeros(int(outliers[i]), dtype=np.int64),
                )
                for i in hospitals
            ),
            fault=self._fault,
        )
        trial = CanaryTrial(federation=federation, dealt=dealt)
        key = self._dealer.note(federation, self._fault.truth(present) if self._fault else present)
        return Job(key=key, payload=trial)

    def _dealt(self, name: str, columns: int) -> NDArray[np.int64]:
        """Return the hospital that each gradient canary would be in, shape (columns,); public."""
        rng = named_generator(self._config.seed, "canary-hospitals", name)
        return rng.permutation(columns) % len(self._config.clients)

    def _seconds_each(self, trial: CanaryTrial) -> float:
        """Estimate the seconds of one federation."""
        federation = trial.federation
        if federation.cell.id not in self._seconds:
            laboratory = Laboratory(columns=federation.canaries[0].columns)
            self._seconds[federation.cell.id] = federation_seconds(federation, laboratory)
        return self._seconds[federation.cell.id]
