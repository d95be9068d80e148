"""The history as MLflow runs: aggregates, each run once, decisions brought up to date."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from history_snapshots import approved, cell, gated, measured, snapshot
from hypothesis import example, given
from hypothesis import strategies as st

from audit.core.errors import AuditError, MissingEvidenceError
from audit.history.mlflow_export import (
    LONGEST_NAME,
    Exported,
    export,
    metric_name,
    metrics_of,
    tags_of,
)
from audit.history.record import record
from audit.history.view import Wanted, view

NAMES = st.text(max_size=300)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path}/mlflow.db"


def kept(uri: str, experiment: str = "privacy-audit"):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    place = client.get_experiment_by_name(experiment)
    assert place is not None
    return client.search_runs([place.experiment_id], order_by=["attributes.start_time ASC"])


def test_each_run_is_logged_once_and_its_decisions_are_brought_up_to_date(path, uri, capsys):
    values = [
        measured(0.6),
        measured(0.61, attack="loss"),
        measured(None, adversary="server"),
        measured(0.7, adversary="recipient"),
    ]
    record(path, [snapshot(cells=[cell(metrics=values)])])
    assert export(path, uri=uri, experiment="privacy-audit") == Exported(made=1, known=0)
    (run,) = kept(uri)
    assert run.info.status == "FINISHED"
    assert run.data.params["config"] == "hand"
    assert (run.data.params["seed"], run.data.params["target_epsilons"]) == ("1", "2")
    assert run.data.metrics == {
        "eps-2/claimed_epsilon": 2.0,
        "eps-2/accuracy": 0.9,
        "eps-2/accuracy_low": 0.88,
        "eps-2/accuracy_high": 0.92,
        "eps-2/query/strongest/auc": 0.6,
        "eps-2/query/strongest/auc.low": 0.58,
        "eps-2/query/strongest/auc.high": 0.62,
        "eps-2/query/strongest/auc.chance": 0.5,
        "eps-2/query/strongest/auc.n": 1000.0,
        "eps-2/recipient/strongest/auc": 0.7,
        "eps-2/recipient/strongest/auc.low": pytest.approx(0.68),
        "eps-2/recipient/strongest/auc.high": pytest.approx(0.72),
        "eps-2/recipient/strongest/auc.chance": 0.5,
        "eps-2/recipient/strongest/auc.n": 1000.0,
    }
    assert run.data.tags["audit.approvals"] == "0"

    record(path, [snapshot(cells=[cell(metrics=values)])], approved())
    record(path, [snapshot("run-1", day=1, table="u")], gated("fail", 1))
    assert export(path, uri=uri, experiment="privacy-audit") == Exported(made=1, known=1)
    first, second = kept(uri)
    assert first.info.run_id == run.info.run_id
    assert first.data.tags["audit.approved.by"] == "A. Person"
    assert first.data.tags["audit.approved.expires"] == "2031-01-01"
    assert (second.data.tags["audit.run_id"], second.data.tags["audit.gate.decision"]) == (
        "run-1",
        "fail",
    )
    assert export(path, uri=uri, experiment="privacy-audit") == Exported(made=0, known=2)
    assert len(kept(uri)) == 2

    # a run whose export was cut short is filled by the next one
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    record(path, [snapshot("run-2", day=2, table="v")])
    place = client.get_experiment_by_name("privacy-audit")
    assert place is not None
    tags = {"audit.run_id": "run-2", "audit.table_sha256": "v"}
    client.create_run(place.experiment_id, tags=tags)
    assert export(path, uri=uri, experiment="privacy-audit") == Exported(made=0, known=3)
    filled = [r for r in kept(uri) if r.data.tags["audit.run_id"] == "run-2"]
    assert [r.data.metrics["eps-2/query/strongest/auc"] for r in filled] == [0.55]
    assert {r.info.status for r in filled} == {"FINISHED"}

    assert export(path, uri=uri, experiment="all", every_score=True).made == 3
    assert kept(uri, "all")[0].data.metrics["eps-2/query/loss/auc"] == 0.61
    assert capsys.readouterr().out == ""


class _Page(BaseHTTPRequestHandler):
    """A server that is no MLflow."""

    def do_GET(self) -> None:
        self.send_error(404, explain="x\n" * 1000)

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_is_no_mlflow_is_an_error_in_one_line(path):
    pytest.importorskip("mlflow")
    record(path, [snapshot()])
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(AuditError, match=r"MLflow: .*404") as caught:
            export(path, uri=f"http://127.0.0.1:{server.server_port}", experiment="x")
        server.shutdown()
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 500


def test_an_address_that_mlflow_cannot_use_is_an_error_in_words(path, uri):
    record(path, [snapshot()])
    with pytest.raises(AuditError, match="MLflow") as caught:
        export(path, uri="gopher://a:hunter2@nowhere", experiment="x")
    assert "hunter2" not in str(caught.value)


def test_without_a_history_nothing_is_exported(path):
    with pytest.raises(MissingEvidenceError, match="no history"):
        export(path, uri="sqlite:///never.db", experiment="x")


def test_tags_name_the_last_approval_and_the_last_gate(path):
    made = snapshot()
    assert set(tags_of(_only(path, made))) == {"audit.approvals", "audit.gates"}
    for event in (gated("fail", 2), gated("pass", 1), approved(1, by="B"), approved(0, by="A")):
        record(path, [made], event)
    tags = tags_of(_only(path, made))
    assert (tags["audit.approvals"], tags["audit.gates"]) == ("2", "2")
    assert (tags["audit.approved.by"], tags["audit.gate.decision"]) == ("B", "fail")
    assert (
        len(tags_of(_only(path, made, approved(3, reason="x" * 9000)))["audit.approved.reason"])
        == 5000
    )


def test_a_run_gets_no_other_configurations_values(path):
    record(path, [snapshot("a", config="one", table="a")])
    record(path, [snapshot("b", config="two", table="b", cells=[cell(metrics=[measured(0.9)])])])
    found = view(path, Wanted())
    values = dict(metrics_of(found.runs[0], found.series))
    assert values["eps-2/query/strongest/auc"] == 0.55


def _only(path: Path, made, event=None):
    record(path, [made], event)
    return view(path).runs[0]


@given(NAMES, NAMES)
@example("a/b", "a_b")
@example("a b", "a_b")
@example("..", "_")
@example("/a", "a")
@example("x" * 300, "x" * 301)
def test_every_name_becomes_one_that_mlflow_takes_and_no_two_become_one(first, second):
    assert (metric_name(first) == metric_name(second)) == (first == second)
    name = metric_name(first)
    assert 0 < len(name) <= LONGEST_NAME
    assert re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*", name)
    assert all(part.strip(".") for part in name.split("/"))


@given(NAMES)
def test_mlflow_itself_takes_the_names(name):
    validation = pytest.importorskip("mlflow.utils.validation")
    validation._validate_metric_name(metric_name(name))
