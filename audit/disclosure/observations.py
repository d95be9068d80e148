"""Reading a recording: broadcasts, single updates, sums, and the wire."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.config import CellConfig, Config
from audit.core.errors import IntegrityError
from audit.core.model import Weights
from audit.core.parcel import Parcel
from audit.core.views import Observation, WireMessage
from audit.disclosure.background import cell_architecture
from audit.formats.parcels import read_parcel, read_weights
from audit.store.run import CellDirectory
from training.batch_order import public_order
from training.journal import read_update, session_folder, stored_state
from training.models import TorchArchitecture
from training.plan import probe_sessions
from training.recording import RECEIVED, SENT, read_session
from training.wire import own_part


@dataclass(frozen=True)
class Session:
    """One round or one probe of a cell.

    Args:
        name: ``round-003``, or ``round-001/probe-b4-r0``.
        round: Its round, or the round before which the probe was made.
        records: Records of each client in a probe; None for a round.
        steps: Local steps of each client.
        batch: Records of each step of a probe; None for all, and for a round.
        public_order: Whether the public seed says which record is in which batch.
    """

    name: str
    round: int
    records: int | None
    steps: int
    batch: int | None = None
    public_order: bool = False


class Recording:
    """The recording of one finished cell, as views need it.

    Args:
        config: The run's configuration.
        cell: The cell's part of it.
        directory: Where the recording lies.
        architecture: The public architecture; None: what the released cell's candidates say.
    """

    def __init__(
        self,
        config: Config,
        cell: CellConfig,
        directory: CellDirectory,
        architecture: TorchArchitecture | None = None,
    ) -> None:
        self._config, self._cell, self._directory = config, cell, directory
        self._architecture = architecture

    @cached_property
    def architecture(self) -> TorchArchitecture:
        """The public architecture."""
        return self._architecture or cell_architecture(self._cell, self._directory)

    @property
    def rounds(self) -> list[Session]:
        """All rounds."""
        numbers = range(1, self._cell.schedule.rounds + 1)
        steps = self._cell.schedule.local_steps
        return [Session(f"round-{n:03d}", n, None, steps) for n in numbers]

    @property
    def probes(self) -> list[Session]:
        """All probes."""
        return [
            Session(
                probe.name,
                probe.round,
                probe.records,
                probe.steps,
                probe.batch if probe.batch < probe.records else None,
                probe.public_order,
            )
            for probe in probe_sessions(self._config.probes)
        ]

    def models(self) -> tuple[Weights, ...]:
        """Return the model that was broadcast in each round, and the released one."""
        sent = (self.broadcast(session) for session in self.rounds)
        released = read_weights(self._directory.model)
        return (*(model for model in sent if model is not None), released)

    def broadcast(self, session: Session) -> Weights | None:
        """Return the model that the server sent in a session; None if it never got to that."""
        for path in self._wire_paths(session, "train", SENT):
            arrays = own_part(read_parcel(path)).arrays
            return {k: np.asarray(v, dtype=np.float32) for k, v in arrays.items()}
        return None

    def updates(self, sessions: list[Session], clients: tuple[str, ...]) -> list[Observation]:
        """Return single updates: from the wire under plain aggregation, else as before masking."""
        found = []
        for session in sessions:
            model = self.broadcast(session)
            for client in clients:
                update = self._update(session, client)
                if model is not None and update is not None:
                    name = f"{session.name}|{client}"
                    found.append(self._observation(name, session, (client,), model, update))
        return found

    def sums(self, sessions: list[Session]) -> list[Observation]:
        """Return the means that came out of the aggregation; a failed session has none."""
        found = []
        for session in sessions:
            folder, prefix = session_folder(session.name)
            path = self._directory.path / "transcript" / folder / f"{prefix}.aggregate.safetensors"
            model = self.broadcast(session)
            if model is None or not path.exists():
                continue
            mean = read_parcel(path).arrays.get("mean")
            if mean is not None:
                senders = self._senders(session)
                found.append(self._observation(session.name, session, senders, model, mean))
        return found

    def wire(self) -> Iterator[WireMessage]:
        """Yield every message of every session."""
        for session in (*self.rounds, *self.probes):
            for stage, client, way, parcel in read_session(self._directory, session.name):
                yield WireMessage(
                    session=session.name,
                    stage=stage,
                    client=client,
                    sent=way == SENT,
                    parcel=parcel,
                )

    def private_states(self, session: Session, clients: tuple[str, ...]) -> dict[str, Parcel]:
        """Return the hospitals' private protocol state at the end of a session."""
        folder, prefix = session_folder(session.name)
        paths = {
            client: self._directory.client(client) / folder / f"{prefix}.unmask.safetensors"
            for client in clients
        }
        return {client: stored_state(path) for client, path in paths.items() if path.exists()}

    def _observation(
        self,
        name: str,
        session: Session,
        clients: tuple[str, ...],
        model: Weights,
        update: NDArray[Any],
    ) -> Observation:
        if not np.isfinite(update).all():
            raise IntegrityError(f"{self._directory.path}: the update of {name} is not finite")
        schedule = self._cell.schedule
        return Observation(
            name=name,
            round=session.round,
            clients=clients,
            shares=self._shares(clients),
            records=session.records,
            weights=model,
            update=self.architecture.unflatten(update),
            learning_rate=schedule.rate(session.round)
            if session.records is None
            else self._config.probes.rate(schedule, session.round),
            steps=session.steps,
            batch=session.batch,
            order=self._order(session, clients),
        )

    def _order(self, session: Session, clients: tuple[str, ...]) -> NDArray[np.int64] | None:
        """Return what the public seed says of a probe's batches; None: nothing."""
        if not session.public_order or session.records is None or session.batch is None:
            return None
        epochs = session.steps * session.batch // session.records
        return np.stack(
            [
                public_order(
                    self._config.seed,
                    session.name,
                    client,
                    records=session.records,
                    size=session.batch,
                    epochs=epochs,
                )
                for client in clients
            ]
        )

    def _shares(self, clients: tuple[str, ...]) -> tuple[float, ...]:
        """Return the clients' parts in a mean over them, by the public weights."""
        public = self._config.aggregation.weights or {}
        weights = [public.get(client, 1) for client in clients]
        return tuple(weight / sum(weights) for weight in weights)

    def _update(self, session: Session, client: str) -> NDArray[np.float32] | None:
        folder, prefix = session_folder(session.name)
        if self._config.aggregation.protocol == "plain":
            base = self._directory.path / "transcript" / folder
            path = base / f"{prefix}.train.{client}.{RECEIVED}.safetensors"
            sent = read_parcel(path).arrays.get("update") if path.exists() else None
            return None if sent is None else sent.astype(np.float32)
        path = self._directory.client(client) / folder / f"{prefix}.update.safetensors"
        return read_update(path) if path.exists() else None

    def _senders(self, session: Session) -> tuple[str, ...]:
        """Return the hospitals whose update the server received."""
        paths = self._wire_paths(session, "train", RECEIVED)
        return tuple(
            path.name.split(".")[2] for path in paths if "error" not in read_parcel(path).fields
        )

    def _wire_paths(self, session: Session, stage: str, way: str) -> list[Path]:
        folder, prefix = session_folder(session.name)
        base = self._directory.path / "transcript" / folder
        return sorted(base.glob(f"{prefix}.{stage}.*.{way}.safetensors"))
