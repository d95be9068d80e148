"""Audit cells with canary records: the released recipe on the hospitals' own records, and canaries.

They train on patients' records as the released cell does, so they are charged to the hospitals'
ledgers; what is kept is what the final model says of the canaries.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from audit.core.config import CellConfig, Config
from audit.core.parcel import Parcel
from audit.core.randomness import named_generator
from audit.disclosure.canaries import record_store
from audit.executor import Job, Store
from audit.formats.files import read_json
from audit.formats.parcels import read_weights
from audit.pipeline.audit_federation import AuditFederation
from audit.pipeline.audit_jobs import coins, cost_sentence, run_jobs
from audit.pipeline.canary_dealer import CanaryDealer
from audit.pipeline.cells import cell_model
from audit.pipeline.prepare import ledger_root
from audit.store.run import RunDirectory
from training.canaries import Canaries
from training.models import TorchArchitecture

WHAT = "audit cells with canary records, charged to the hospitals' ledgers"
"""What is run, as it is said beforehand: it trains on patients' records."""

PART = 20
"""Canaries are at most one to so many training records: more would be another recipe."""


@dataclass(frozen=True, kw_only=True)
class RecordTrial:
    """One audit cell with canary records.

    Args:
        federation: How to run it.
        inputs, labels: All canaries, those that are out too, shape (canaries, ...), (canaries,).
        holdout: Records on which its accuracy is measured, indices into the dataset.
    """

    federation: AuditFederation
    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    holdout: NDArray[np.int64]


def run_record_trials(trials: Sequence[RecordTrial]) -> Iterator[Parcel]:
    """Run audit cells one after the other (``audit.executor.Work``)."""
    for trial in trials:
        federation = trial.federation
        with federation.recorded() as directory:
            weights = read_weights(directory.model)
        built, dataset = federation.architecture, federation.dataset
        said = built.logits(weights, dataset.inputs(trial.holdout)).argmax(axis=1)
        answers = log_softmax(built.logits(weights, trial.inputs), axis=1)
        yield Parcel(
            arrays={
                "answers": answers,
                "labels": trial.labels,
                "correct": said == dataset.y[trial.holdout],
            }
        )


class RecordCells:
    """The audit cells with canary records of a run.

    Args:
        run: The run.
        config: Its configuration.
    """

    def __init__(self, run: RunDirectory, config: Config) -> None:
        self._run, self._config = run, config
        self._dealer = CanaryDealer(run, config)
        self._jobs: dict[str, list[Job[RecordTrial]]] = {}

    def cost(self, cells: Sequence[CellConfig]) -> str | None:
        """Say what is about to be run, on whose account, how long; None: all is there already."""
        missing, seconds = 0, 0.0
        for cell in cells:
            todo = len(self._store(cell).missing(self.jobs(cell)))
            missing += todo
            seconds += todo * self._seconds_each(cell)
        return cost_sentence(WHAT, missing, seconds)

    def train(self, cell: CellConfig, done: Callable[[int, int], None]) -> tuple[str, ...]:
        """Run what is missing for a cell; return the keys of all its federations, in order."""
        each = self._seconds_each(cell)
        return run_jobs(
            self.jobs(cell), run_record_trials, self._store(cell), seconds_each=each, done=done
        )

    def jobs(self, cell: CellConfig) -> list[Job[RecordTrial]]:
        """Return the jobs of a cell.

        Raises:
            MissingEvidenceError: The secrets are gone: canaries cannot be dealt.
        """
        if cell.id not in self._jobs:
            built = cell_model(self._config, cell, self._dealer.prepared)
            runs = range(self._config.audit.runs)
            self._jobs[cell.id] = [self._job(cell, built, number) for number in runs]
        return self._jobs[cell.id]

    def _store(self, cell: CellConfig) -> Store:
        return record_store(self._run.path, cell.id)

    def _seconds_each(self, cell: CellConfig) -> float:
        """Return what training the released cell took: an audit cell is trained as it was."""
        return float(read_json(self._run.cell(cell.id).summary)["seconds"])

    def _job(self, cell: CellConfig, built: TorchArchitecture, number: int) -> Job[RecordTrial]:
        config, prepared = self._config, self._dealer.prepared
        name = f"records-{cell.id}-{number:03d}"
        inputs, labels = self._canaries(built)
        rng = named_generator(config.seed, "canary-hospitals", name)
        dealt = rng.permutation(len(labels)) % len(config.clients)
        present = coins(self._dealer.secret, name, len(labels))
        federation = self._dealer.federation(
            cell,
            built,
            folder=self._store(cell).folder,
            name=name,
            parts=tuple(prepared.parts[client] for client in config.clients),
            canaries=tuple(
                Canaries(
                    columns=np.zeros(0, dtype=np.int64),
                    inputs=inputs[(dealt == i) & present],
                    labels=labels[(dealt == i) & present],
                )
                for i in range(len(config.clients))
            ),
            ledgers=ledger_root().absolute(),
        )
        key = self._dealer.note(federation, present)
        return Job(
            key=key,
            payload=RecordTrial(
                federation=federation,
                inputs=inputs,
                labels=labels,
                holdout=prepared.split.holdout,
            ),
        )

    def _canaries(self, built: TorchArchitecture) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the canaries of every audit cell of a cell, in or out: public knowledge."""
        config, dataset = self._config, self._dealer.prepared.dataset
        if config.audit.canary == "blank":
            blank = dataset.scale.apply(np.zeros((1, *dataset.shape), dtype=dataset.x.dtype))
            least = built.logits(built.initial(config.seed), blank).argmin(axis=1)
            return blank, least.astype(np.int64)
        trained = sum(len(part) for part in self._dealer.prepared.parts.values())
        population = self._dealer.prepared.game.population
        count = max(1, min(config.audit.canaries, len(population), trained // PART))
        rng = named_generator(config.seed, "canary-records")
        chosen = rng.permutation(population)[:count]
        moved = rng.integers(1, dataset.classes, size=count)
        return dataset.inputs(chosen), (dataset.y[chosen] + moved) % dataset.classes
