"""The strategy runs whatever protocol it is given, on whatever client app answers."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

from audit.core.errors import ProtocolError
from audit.core.parcel import Parcel
from training.backends.inprocess import FIRST_NODE, InProcessGrid
from training.secagg.protocol import Aggregate
from training.strategy import SecureAggregationStrategy
from training.wire import from_record, to_record

NODES = {f"hospital-{i}": FIRST_NODE + i for i in range(3)}


class MedianServer:
    """A toy protocol: asks everybody for a lucky number, and takes the median."""

    id = "median"

    def __init__(self, *, fail: bool = False) -> None:
        self.fail = fail
        self.lucky: list[int] = []

    def before_training(self, session, clients, exchange):
        requests = {client: Parcel(fields={"label": session.label}) for client in clients}
        replies = exchange("luck", requests)
        self.lucky = [parcel.fields["lucky"] for parcel in replies.values()]
        return {client: Parcel(fields={"factor": 2.0}) for client in replies}

    def after_training(self, session, replies, exchange):
        if self.fail:
            raise ProtocolError("median: out of luck")
        updates = [replies[client].arrays["update"] for client in sorted(replies)]
        assert session.dimension == len(updates[0]) == 6
        return Aggregate(mean=np.median(updates, axis=0), survivors=tuple(sorted(replies)))


def client_app() -> ClientApp:
    app = ClientApp()

    @app.query("luck")
    def luck(message: Message, context: Context) -> Message:
        fields = from_record(message.content).fields
        assert fields["protocol.label"] == "run/round-001"
        lucky = {"lucky": 10 * context.node_config["partition-id"]}
        return Message(to_record(Parcel(fields=lucky)), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        request = from_record(message.content)
        assert request.fields["local_steps"] == 7
        own = float(context.node_config["partition-id"]) ** 2
        update = np.full(6, own * request.fields["protocol.factor"])
        fields = {"metric.spent_epsilon": own, "metric.broken": float("nan")}
        return Message(
            to_record(Parcel(arrays={"update": update}, fields=fields)), reply_to=message
        )

    return app


def start(protocol, **options):
    TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1
    strategy = SecureAggregationStrategy(
        protocol=protocol,
        label=lambda session: f"run/{session}",
        request=lambda number: {"local_steps": 7},
        server_learning_rate=0.5,
        **options,
    )
    strategy.set_nodes(NODES)
    initial = {"b": np.ones((2, 2), np.float32), "a": np.zeros(2, np.float32)}
    result = strategy.start(
        grid=InProcessGrid(client_app(), nodes=3),
        initial_arrays=ArrayRecord({k: Array(v) for k, v in initial.items()}),
        num_rounds=1,
    )
    return strategy, result


def test_a_protocol_of_one_s_own_can_be_passed_in():
    kept = []
    protocol = MedianServer()
    strategy, result = start(protocol, on_model=lambda *all_of_it: kept.append(all_of_it))
    assert protocol.lucky == [0, 10, 20]
    arrays = {name: array.numpy() for name, array in result.arrays.items()}
    assert list(arrays) == ["b", "a"]
    np.testing.assert_array_equal(arrays["b"], np.full((2, 2), 1 + 0.5 * 2.0, np.float32))
    np.testing.assert_array_equal(arrays["a"], np.full(2, 0.5 * 2.0, np.float32))
    assert kept[0][0] == 1 and np.array_equal(kept[0][2], np.full(6, 2.0))
    report = strategy.reports[1]
    assert report.survivors == tuple(NODES) and report.failure is None
    assert report.metrics["hospital-2"] == {"spent_epsilon": 4.0}  # and nothing that is not finite
    assert result.train_metrics_clientapp[1]["spent_epsilon"] == 4.0


def test_a_protocol_that_fails_is_reported_and_no_model_comes_out():
    kept = []
    strategy, result = start(MedianServer(fail=True), on_model=lambda *_: kept.append(1))
    assert strategy.reports[1].failure == "median: out of luck"
    assert kept == [] and not dict(result.arrays or {})


@pytest.mark.parametrize("fail", [False, True])
def test_a_probe_s_mean_is_handed_over_and_moves_no_model(fail):
    probes = []

    class Probed(MedianServer):
        def after_training(self, session, replies, exchange):
            self.fail = fail and session.label.endswith("probe")
            return super().after_training(session, replies, exchange)

        def before_training(self, session, clients, exchange):
            if session.label.endswith("probe"):
                return {client: Parcel(fields={"factor": 2.0}) for client in clients}
            return super().before_training(session, clients, exchange)

    _, result = start(
        Probed(),
        probes={1: [("round-001/probe", {"local_steps": 7})]},
        on_probe=lambda *all_of_it: probes.append(all_of_it),
    )
    session, mean, failure = probes[0]
    assert session == "round-001/probe"
    assert (failure, mean) == ("median: out of luck", None) if fail else np.all(mean == 2.0)
    np.testing.assert_array_equal(result.arrays["a"].numpy(), np.full(2, 1.0, np.float32))


def test_an_empty_federation_fails_its_round():
    strategy = SecureAggregationStrategy(
        protocol=MedianServer(fail=True),
        label=str,
        request=lambda _: {},
        server_learning_rate=1.0,
    )
    strategy.set_nodes({})
    strategy.start(
        grid=InProcessGrid(client_app(), nodes=0),
        initial_arrays=ArrayRecord({"a": Array(np.zeros(2, np.float32))}),
        num_rounds=1,
    )
    assert strategy.reports[1].failure == "median: out of luck"
