"""From the recording to the view of each adversary: the only builder of views.

It reads the transcript, and of the hospitals' folders only what the adversary in question would
have seen: every update for a server without secure aggregation, the colluders' own for a colluding
one. It never reads the secrets.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from audit.core.adversaries import Adversary
from audit.core.config import CellConfig, Config
from audit.core.errors import MissingEvidenceError
from audit.core.model import Weights
from audit.core.views import (
    Background,
    CanaryView,
    ColludingServerView,
    ParticipantView,
    QueryView,
    RecipientView,
    Records,
    SecaggServerView,
    ServerView,
    View,
)
from audit.disclosure.attribute import hide_attribute
from audit.disclosure.background import cell_background, read_references, without_records
from audit.disclosure.canaries import (
    canary_view,
    hospital_store,
    hospital_view,
    read_audit_cells,
    record_store,
    record_view,
)
from audit.disclosure.observations import Recording
from audit.executor import Store
from audit.formats.parcels import read_weights
from audit.store.run import RunDirectory
from training.data.configured import cached_dataset, data_root, data_spec
from training.models import TorchArchitecture
from training.plan import HospitalSetup


class CountedOracle:
    """The released model behind a counter (``core.model.Oracle``).

    Args:
        built: The architecture.
        weights: The released weights; the adversary is not given them.
    """

    def __init__(self, built: TorchArchitecture, weights: Weights) -> None:
        self._built, self._weights = built, weights
        self.queries = 0

    def probabilities(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return class probabilities, shape (records, classes)."""
        self.queries += len(inputs)
        chances: NDArray[np.float64] = softmax(self._built.logits(self._weights, inputs), axis=1)
        return chances

    def labels(self, inputs: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the most probable class, shape (records,)."""
        best: NDArray[np.int64] = self.probabilities(inputs).argmax(axis=1)
        return best


class Disclosure:
    """The views of one finished cell.

    Args:
        run: The run.
        config: Its configuration.
        cell: The cell's part of it.
    """

    def __init__(self, run: RunDirectory, config: Config, cell: CellConfig) -> None:
        self._config, self._cell = config, cell
        self._directory = run.cell(cell.id)
        self._recording = Recording(config, cell, self._directory)
        self._background = cell_background(config, cell, self._directory)
        self._references = Store(folder=run.path / "references")
        self._run_path = run.path

    def view(self, adversary: Adversary, references: tuple[str, ...] = ()) -> View:
        """Build the view of an adversary.

        Args:
            adversary: Which one.
            references: Keys of the reference federations that it trained; none: it has none.

        Raises:
            MissingEvidenceError: The run cannot show what this adversary sees; says why.
            IntegrityError: The recording is damaged.
        """
        builders: dict[Adversary, Callable[[Background], View]] = {
            Adversary.QUERY: self._query,
            Adversary.RECIPIENT: self._recipient,
            Adversary.PARTICIPANT: self._participant,
            Adversary.SERVER: self._server,
            Adversary.SECAGG_SERVER: self._secagg_server,
            Adversary.COLLUDING_SERVER: self._colluding_server,
        }
        if adversary not in builders:
            raise MissingEvidenceError(f"{adversary}: a recording alone gives no view of it")
        background = self._background
        if references:
            found = read_references(self._references, references)
            background = replace(background, references=found)
        return builders[adversary](background)

    def attribute_view(self, adversary: Adversary) -> View:
        """Build the view of an adversary that guesses a sensitive attribute of the candidates.

        Raises:
            MissingEvidenceError: The run names no sensitive attribute, or this adversary has no
                such view.
            IntegrityError: The recording is damaged.
        """
        if adversary is not Adversary.QUERY:
            raise MissingEvidenceError(f"{adversary}: no view of it hides an attribute")
        background, hidden = hide_attribute(
            self._background, self._directory, self._oracle().probabilities
        )
        return QueryView(background=background, oracle=self._oracle(), hidden=hidden)

    def canary_view(
        self, adversary: Adversary, keys: tuple[str, ...], *, outliers: bool
    ) -> CanaryView:
        """Build what an adversary saw of the canaries of this cell's audit cells.

        Args:
            adversary: Which one.
            keys: Of the audit cells.
            outliers: Whether it looks at outlier canaries; else at gradient canaries.

        Raises:
            MissingEvidenceError: It sees nothing of them.
            IntegrityError: What was kept is damaged.
        """
        if adversary is Adversary.SECAGG_SERVER and self._config.aggregation.protocol == "plain":
            raise MissingEvidenceError("this run aggregated in plain: there is no masked sum")
        clients, cells = self._config.clients, read_audit_cells(self._run_path, self._cell.id, keys)
        public = self._config.aggregation.weights or {}
        return canary_view(
            self._background,
            adversary,
            cells,
            weights=np.array([public.get(client, 1) for client in clients], dtype=np.float64),
            outliers=outliers,
        )

    def record_view(self, adversary: Adversary, keys: tuple[str, ...]) -> CanaryView:
        """Build what an adversary saw of canary records.

        Args:
            adversary: Which one.
            keys: Of the audit cells.

        Raises:
            MissingEvidenceError: It sees nothing of them.
            IntegrityError: What was kept is damaged.
        """
        store = record_store(self._run_path, self._cell.id)
        return record_view(self._background, adversary, {key: store.read(key) for key in keys})

    def hospital_view(self, adversary: Adversary, keys: tuple[str, ...]) -> CanaryView:
        """Build what an adversary saw of canary hospitals.

        Args:
            adversary: Which one.
            keys: Of the audit cells.

        Raises:
            MissingEvidenceError: It sees nothing of them, or the cell trained without DP.
            IntegrityError: What was kept is damaged.
        """
        store = hospital_store(self._run_path, self._cell.id)
        return hospital_view(self._background, adversary, {key: store.read(key) for key in keys})

    def _oracle(self) -> CountedOracle:
        return CountedOracle(self._recording.architecture, read_weights(self._directory.model))

    def _query(self, background: Background) -> QueryView:
        return QueryView(background=background, oracle=self._oracle())

    def _recipient(self, background: Background) -> RecipientView:
        weights = read_weights(self._directory.model)
        return RecipientView(background=background, weights=weights)

    def _participant(self, background: Background) -> ParticipantView:
        """The first hospital is the curious one; it is not asked about its own records."""
        client = self._config.clients[0]
        own = self._recording.updates(self._recording.rounds, (client,))
        records = self._own_records(client)
        return ParticipantView(
            background=without_records(background, records),
            client=client,
            models=self._recording.models(),
            updates={observation.round: observation.update for observation in own},
            own=records,
        )

    def _server(self, background: Background) -> ServerView:
        recording, everyone = self._recording, self._config.clients
        return ServerView(
            background=background,
            models=recording.models(),
            rounds=tuple(recording.updates(recording.rounds, everyone)),
            probes=tuple(recording.updates(recording.probes, everyone)),
        )

    def _secagg_server(self, background: Background) -> SecaggServerView:
        if self._config.aggregation.protocol == "plain":
            raise MissingEvidenceError(
                "this run aggregated in plain, so no server saw only masked updates"
            )
        recording = self._recording
        return SecaggServerView(
            background=background,
            models=recording.models(),
            rounds=tuple(recording.sums(recording.rounds)),
            probes=tuple(recording.sums(recording.probes)),
            wire=tuple(recording.wire()),
        )

    def _colluding_server(self, background: Background) -> ColludingServerView:
        """All hospitals but the first side with the server: only DP protects that one."""
        server, colluders = self._secagg_server(background), self._config.clients[1:]
        sessions = [*self._recording.rounds, *self._recording.probes]
        return ColludingServerView(
            background=background,
            server=server,
            colluders=colluders,
            updates=tuple(self._recording.updates(sessions, colluders)),
            keys={s.name: self._recording.private_states(s, colluders) for s in sessions},
        )

    def _own_records(self, client: str) -> Records:
        """Follow a hospital's reference to its own data."""
        setup = HospitalSetup.load(self._directory.client(client))
        dataset = cached_dataset(data_spec(self._config.data), data_root().absolute())
        indices = np.array(setup.indices, dtype=np.int64)
        return Records(
            ids=tuple(f"own-{i:06d}" for i in range(len(indices))),
            inputs=dataset.inputs(indices),
            labels=dataset.y[indices],
        )
