"""The same federation on Flower's Ray simulation. Slow: every test starts Ray."""

import importlib.util
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from training_cell import make_cell, run

from audit.core.errors import AuditError
from audit.core.parcel import Parcel
from audit.formats.files import read_json_lines
from audit.formats.parcels import read_weights
from training.backends.ray import run_ray
from training.client_app import REFUSED, build_client_app
from training.federation import Backend, run_cell
from training.quiet import SETTINGS
from training.wire import from_record, message_parcel, to_record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="Ray is an extra and not installed"
    ),
]


@pytest.fixture(autouse=True)
def importable_workers(monkeypatch):
    """Ray's workers import this project as this process does, and write byte code."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)


def test_the_client_app_of_a_cell_travels_to_a_worker(tmp_path):
    from ray import cloudpickle  # slow to import

    app = cloudpickle.loads(cloudpickle.dumps(build_client_app(make_cell(tmp_path))))
    assert isinstance(app, ClientApp)


def test_ray_trains_the_same_model_as_this_process(tmp_path):
    here = make_cell(tmp_path / "here")
    there = make_cell(tmp_path / "there")
    run(here)
    run_cell(
        there,
        backend=Backend.RAY,
        evaluate=lambda _: {"accuracy": 0.5},
        progress=lambda _number, _metrics: None,
    )
    expected, got = read_weights(here.cell.model), read_weights(there.cell.model)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, atol=1e-5)
    log = [read_json_lines(plan.cell.metrics) for plan in (here, there)]
    assert [line["clients"] for line in log[0]] == [line["clients"] for line in log[1]]


def test_workers_are_silent_and_a_refusal_comes_back_with_its_reason():
    seen, refused, app = [], [], ClientApp()
    settings = dict(SETTINGS)

    @app.query("hello")
    def hello(message: Message, context: object) -> Message:
        fields = {name: os.environ.get(name, "") for name in settings}
        fields["process"] = str(os.getpid())
        return Message(to_record(Parcel(fields=fields)), reply_to=message)

    @app.train()
    def train(message: Message, context: object) -> Message:
        return Message(Error(code=REFUSED, reason="not with me"), reply_to=message)

    server = ServerApp()

    @server.main()
    def main(grid, context) -> None:
        nodes = list(grid.get_node_ids())
        asked = [Message(to_record(Parcel()), node, "query.hello") for node in nodes]
        seen.extend(from_record(m.content).fields for m in grid.send_and_receive(asked))
        asked = [Message(to_record(Parcel()), node, "train") for node in nodes]
        refused.extend(message_parcel(m).fields for m in grid.send_and_receive(asked))

    run_ray(server, app, clients=2)
    assert refused == [{"error": "not with me"}] * 2
    assert len(seen) == 2
    for fields in seen:
        assert fields.pop("process") != str(os.getpid())
        assert fields == SETTINGS


@pytest.mark.parametrize(
    ("raised", "match"),
    [
        (AuditError("the disk is full"), "^the disk is full$"),
        (ZeroDivisionError("by hand"), "Ray simulation failed: ZeroDivisionError: by hand"),
    ],
)
def test_what_the_server_s_thread_raised_comes_out_with_its_message(raised, match):
    server = ServerApp()

    @server.main()
    def main(grid, context) -> None:
        raise raised

    threads = threading.active_count()
    with pytest.raises(AuditError, match=match):
        run_ray(server, ClientApp(), clients=2)
    assert threading.active_count() <= threads + 2


def test_a_runtime_that_cannot_start_does_not_leave_the_server_waiting():
    script = """
import ray
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from audit.core.errors import AuditError
from training.backends.ray import run_ray

def broken(*_, **__):
    raise OSError("no shared memory")

ray.init = broken
server = ServerApp()

@server.main()
def main(grid, context):
    list(grid.get_node_ids())

try:
    run_ray(server, ClientApp(), clients=2)
except AuditError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False
    )
    assert "OSError: no shared memory" in done.stdout
