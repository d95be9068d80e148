"""One audit cell: a federation of the released one's recipe and code, with canaries in it.

It runs as any cell does, messages, masks and all. What is kept of it is up to the audit; the
recording is deleted, and its model is never released.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.core.config import CellConfig, Config, ProbesConfig
from audit.core.errors import AuditError
from audit.disclosure.observations import Recording
from audit.executor import Store
from audit.formats.files import read_json_lines
from audit.pipeline.cells import cell_plan
from audit.store.run import CellDirectory
from training.canaries import Canaries
from training.data.configured import cached_dataset
from training.data.dataset import Dataset
from training.data.spec import DataSpec
from training.faults import Fault
from training.federation import Backend, new_identities, run_cell, set_up_hospitals
from training.models import TorchArchitecture

RUNNING = "running"
"""Folder of the recordings of federations that are not through yet."""


@dataclass(frozen=True, kw_only=True)
class AuditFederation:
    """All that a worker needs to run one audit cell.

    Args:
        config: The run's configuration.
        cell: The audited cell's part of it.
        architecture: Its model.
        noise_multiplier: Of the audited cell; None without DP.
        spec, root: Where records lie.
        folder: Where the federation is recorded while it runs.
        name: Unique in the run.
        parts: Each hospital's records, indices into the dataset.
        canaries: What each holds besides.
        ledgers: Where hospitals keep their ledgers; None: nowhere, no patient's record is used.
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
    parts: tuple[NDArray[np.int64], ...]
    canaries: tuple[Canaries, ...]
    ledgers: Path | None
    noise_master: bytes | None
    fault: Fault | None

    @property
    def dataset(self) -> Dataset:
        """The records, loaded once a process."""
        return cached_dataset(self.spec, self.root)

    @contextmanager
    def recorded(self) -> Iterator[CellDirectory]:
        """Run the federation; its recording is there until the end of the block.

        Raises:
            AuditError: A round failed.
        """
        directory = CellDirectory(self.folder / RUNNING / self.name / self.cell.id)
        shutil.rmtree(directory.path.parent, ignore_errors=True)
        try:
            self._run(directory)
            yield directory
        finally:
            shutil.rmtree(directory.path.parent, ignore_errors=True)

    def recording(self, directory: CellDirectory) -> Recording:
        """Return a reader of the recording."""
        return Recording(self.config, self.cell, directory, self.architecture)

    def _run(self, directory: CellDirectory) -> None:
        config = self.config.model_copy(update={"probes": ProbesConfig(repeats=0)})
        clients = config.clients
        identities = new_identities(clients)
        plan = cell_plan(
            config,
            self.cell,
            directory,
            run_id=f"{self.name}/{uuid.uuid4()}",  # done again, it is another release
            roster={client: identity.public_key for client, identity in identities.items()},
            architecture=self.architecture,
            noise_multiplier=self.noise_multiplier,
            data=self.spec,
            ledgers=self.ledgers or directory.path.parent / "ledger",
            noise_master=self.noise_master,
        )
        set_up_hospitals(
            plan,
            dataset=self.dataset,
            parts=dict(zip(clients, self.parts, strict=True)),
            probes={},
            identities=identities,
            canaries=dict(zip(clients, self.canaries, strict=True)),
        )
        run_cell(
            plan,
            backend=Backend.INPROCESS,
            evaluate=lambda _: {},
            progress=lambda _number, _metrics: None,
            fault=self.fault,
        )
        failed = [line["failure"] for line in read_json_lines(directory.metrics) if line["failure"]]
        if failed:
            raise AuditError(f"audit cell {self.name}: {len(failed)} rounds failed: {failed[0]}")


def clear_interrupted(store: Store) -> None:
    """Delete what an interrupted call left of federations; the run is locked.

    Args:
        store: Where what is kept of audit cells lies.
    """
    shutil.rmtree(store.folder / RUNNING, ignore_errors=True)
