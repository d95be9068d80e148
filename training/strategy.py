"""Secure aggregation as a Flower strategy: FedAvg whose mean comes out of a protocol."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from audit.core.errors import ProtocolError
from audit.core.model import Weights
from audit.core.parcel import Parcel, Scalar
from training.secagg.protocol import Aggregate, ServerProtocol, Session
from training.wire import METRIC, PROTOCOL, message_parcel, protocol_part, to_record, with_protocol


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """What the server knows after a round.

    Args:
        round: Counted from 1.
        survivors: Hospitals whose updates are in the sum.
        metrics: Hospital to the privacy metrics that it reported.
        failure: Why the round failed and the model stayed, or None.
        refusals: Hospital to the reason that it gave for not answering.
    """

    round: int
    survivors: tuple[str, ...]
    metrics: Mapping[str, Mapping[str, float]]
    failure: str | None
    refusals: Mapping[str, str]


class SecureAggregationStrategy(FedAvg):
    """FedAvg over client deltas, with an exchangeable aggregation protocol.

    The server learns what the protocol shows it: with ``masked`` the mean and no single update.

    Args:
        protocol: The server's half of the protocol.
        label: Session name to its globally unique label.
        request: Round number to the fields of a training request.
        server_learning_rate: Multiplies the mean update.
        first_round: Number of the first round of ``start``: above 1 after a resume.
        probes: Round number to the probes made before it: (session, request fields).
        on_probe: Called with a probe's session and mean update; None: the mean is not kept.
        on_model: Called with a round number, the new global model and the mean update.
    """

    def __init__(
        self,
        *,
        protocol: ServerProtocol,
        label: Callable[[str], str],
        request: Callable[[int], Mapping[str, Scalar]],
        server_learning_rate: float,
        first_round: int = 1,
        probes: Mapping[int, list[tuple[str, Mapping[str, Scalar]]]] | None = None,
        on_probe: Callable[[str, NDArray[np.float64] | None, str | None], None] | None = None,
        on_model: Callable[[int, Weights, NDArray[np.float64]], None] | None = None,
    ) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
        self.protocol = protocol
        self.reports: dict[int, RoundReport] = {}
        self._label = label
        self._request = request
        self._server_learning_rate = server_learning_rate
        self._offset = first_round - 1
        self._probes = probes or {}
        self._on_probe = on_probe
        self._on_model = on_model
        self._grid: Grid | None = None
        self._nodes: dict[str, int] = {}
        self._arrays: dict[str, NDArray[np.float32]] = {}
        self._refusals: dict[str, str] = {}

    def set_nodes(self, nodes: Mapping[str, int]) -> None:
        """Set which node each hospital is."""
        self._nodes = dict(nodes)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Run this round's probes and the protocol's first stages; return the train messages."""
        number = server_round + self._offset
        self._grid = grid
        self._arrays = {name: array.numpy() for name, array in arrays.items()}
        for session, fields in self._probes.get(number, []):
            self._run_probe(session, fields)
        self._refusals = {}
        try:
            return self._train_messages(f"round-{number:03d}", self._request(number))
        except ProtocolError as error:
            self._refusals["server"] = str(error)
            return []

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Unmask the sum and apply it; a failed round leaves the model as it is."""
        number = server_round + self._offset
        answered = self._answered(replies)
        try:
            if "server" in self._refusals:
                raise ProtocolError(self._refusals.pop("server"))
            aggregate = self._finish(f"round-{number:03d}", answered)
        except ProtocolError as error:
            self._report(number, (), answered, str(error))
            return None, None
        self._arrays = self._stepped(aggregate.mean)
        self._report(number, aggregate.survivors, answered, None)
        if self._on_model is not None:
            self._on_model(number, self._arrays, aggregate.mean)
        return (
            ArrayRecord({k: Array(v) for k, v in self._arrays.items()}),
            MetricRecord(_summary(self.reports[number])),
        )

    def _stepped(self, mean: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
        stepped, start = {}, 0
        for name, array in self._arrays.items():
            part = mean[start : start + array.size].reshape(array.shape)
            stepped[name] = (array + self._server_learning_rate * part).astype(np.float32)
            start += array.size
        return stepped

    def _run_probe(self, session: str, fields: Mapping[str, Scalar]) -> None:
        """One probe: as a round, but the mean changes no model."""
        assert self._grid is not None  # noqa: S101 - set by the only caller
        mean, failure = None, None
        try:
            messages = self._train_messages(session, fields)
            answered = self._answered(self._grid.send_and_receive(messages))
            mean = self._finish(session, answered).mean
        except ProtocolError as error:
            failure = str(error)
        if self._on_probe is not None:
            self._on_probe(session, mean, failure)

    def _train_messages(self, session: str, fields: Mapping[str, Scalar]) -> list[Message]:
        extras = self.protocol.before_training(
            self._session(session), tuple(sorted(self._nodes)), self._exchange(session)
        )
        request = Parcel(arrays=self._arrays, fields={**fields, "session": session})
        return [
            self._message(client, "train", with_protocol(request, extra))
            for client, extra in sorted(extras.items())
        ]

    def _finish(self, session: str, answered: Mapping[str, Parcel]) -> Aggregate:
        return self.protocol.after_training(
            self._session(session),
            {client: _without_metrics(parcel) for client, parcel in answered.items()},
            self._exchange(session),
        )

    def _session(self, name: str) -> Session:
        return Session(
            label=self._label(name), dimension=sum(a.size for a in self._arrays.values())
        )

    def _exchange(
        self, session: str
    ) -> Callable[[str, Mapping[str, Parcel]], Mapping[str, Parcel]]:
        """Return the function by which the protocol talks to hospitals, outside of training."""

        def exchange(stage: str, requests: Mapping[str, Parcel]) -> Mapping[str, Parcel]:
            assert self._grid is not None  # noqa: S101 - set before any session
            own = Parcel(fields={"session": session})
            messages = [
                self._message(client, f"query.{stage}", with_protocol(own, request))
                for client, request in sorted(requests.items())
            ]
            return self._answered(self._grid.send_and_receive(messages))

        return exchange

    def _message(self, client: str, kind: str, parcel: Parcel) -> Message:
        return Message(to_record(parcel), self._nodes[client], kind)

    def _answered(self, replies: Iterable[Message]) -> dict[str, Parcel]:
        """Return the parcels of those that answered; remember why the others did not."""
        names = {node: client for client, node in self._nodes.items()}
        answered: dict[str, Parcel] = {}
        for reply in replies:
            client = names[reply.metadata.src_node_id]
            parcel = message_parcel(reply)
            if reply.has_error():
                self._refusals[client] = str(parcel.fields["error"])
            else:
                answered[client] = parcel
        return dict(sorted(answered.items()))

    def _report(
        self,
        number: int,
        survivors: tuple[str, ...],
        answered: Mapping[str, Parcel],
        failure: str | None,
    ) -> None:
        metrics = {
            client: {
                k.removeprefix(METRIC): v
                for k, v in parcel.fields.items()
                if k.startswith(METRIC) and isinstance(v, int | float) and math.isfinite(v)
            }
            for client, parcel in answered.items()
        }
        self.reports[number] = RoundReport(
            round=number,
            survivors=survivors,
            metrics=metrics,
            failure=failure,
            refusals=dict(self._refusals),
        )


def _without_metrics(parcel: Parcel) -> Parcel:
    if any(k.startswith(PROTOCOL) for k in parcel.fields):
        parcel = protocol_part(parcel)
    fields: dict[str, Any] = {k: v for k, v in parcel.fields.items() if not k.startswith(METRIC)}
    return Parcel(arrays=parcel.arrays, fields=fields)


def _summary(report: RoundReport) -> dict[str, Any]:
    """The worst privacy metric over hospitals, for Flower's own history."""
    summary: dict[str, float] = {}
    for metrics in report.metrics.values():
        for name, value in metrics.items():
            summary[name] = max(summary.get(name, float("-inf")), value)
    return summary
