"""What is recorded comes back: each value once, nothing rewritten, nothing but aggregates."""

import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from history_snapshots import DELTA, approved, cell, gated, measured, snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from audit.core.errors import ConfigError, IntegrityError
from audit.formats.history import Series
from audit.history.record import record
from audit.history.terminal import render
from audit.history.view import Wanted, view

ALL = Wanted()
PARTS = st.floats(0.0, 1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


def rows_of(path: Path) -> dict[str, list[tuple]]:
    with closing(sqlite3.connect(path)) as connection:
        names = [
            n for (n,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        return {n: connection.execute(f"SELECT * FROM {n}").fetchall() for n in names}  # noqa: S608


def shown(path: Path, wanted: Wanted = ALL) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(view(path, wanted)))
    return console.export_text()


def test_the_same_twice_is_once(path):
    assert record(path, [snapshot()], approved()) == 1
    record(path, [snapshot()], gated())
    before = rows_of(path)
    assert record(path, [snapshot()], approved()) == 0
    assert record(path, [snapshot()], gated()) == 0
    assert record(path, [snapshot()]) == 0
    assert rows_of(path) == before
    assert [e.kind for e in view(path).runs[0].events] == ["approved", "gated"]


def test_a_run_that_is_attacked_again_does_not_change_what_was_approved(path):
    record(path, [snapshot(table="t1")], approved())
    again = cell(metrics=[measured(0.7)])
    assert record(path, [snapshot(table="t2", cells=[again])], gated("fail", 1)) == 1
    first, second = view(path).runs
    assert (first.run_id, second.run_id) == ("run-0", "run-0")
    assert [e.kind for e in first.events] == ["approved"]
    assert second.gate is not None and second.gate.decision == "fail"
    (series,) = view(path, Wanted(adversary="query", cell="eps-2")).series
    assert [p.value for p in series.points] == [0.55, 0.7]
    assert "table t2" in shown(path)


def test_a_run_that_contradicts_what_is_known_of_it_is_refused(path):
    record(path, [snapshot(seed=1)])
    with pytest.raises(IntegrityError, match="seed as 1, and it says 2"):
        record(path, [snapshot(seed=2)])


def test_an_approval_of_several_seeds_is_one_event_of_all_of_them(path):
    seeds = [snapshot(f"run-{s}", seed=s, table=str(s)) for s in (1, 2, 3)]
    assert record(path, seeds, approved()) == 3
    assert len(rows_of(path)["events"]) == 1
    assert all(len(run.approvals) == 1 for run in view(path).runs)


def test_runs_come_in_the_order_of_their_training_whenever_they_were_recorded(path):
    for day in (3, 1, 2):
        record(path, [snapshot(f"run-{day}", day=day, cells=[cell(metrics=[measured(day / 10)])])])
    found = view(path)
    assert [run.run_id for run in found.runs] == ["run-1", "run-2", "run-3"]
    assert [p.value for p in found.series[0].points] == [0.1, 0.2, 0.3]


def test_each_adversary_gets_its_own_claim(path):
    record(path, [snapshot()])
    claims = {
        s.adversary.value: (s.points[0].claimed_epsilon, s.points[0].delta, s.points[0].unit)
        for s in view(path, Wanted(cell="eps-2")).series
    }
    assert claims == {"query": (2.0, DELTA, "record"), "server": (2.5, DELTA, "record")}
    control = view(path, Wanted(cell="eps-inf")).series[0].points[0]
    assert control.claimed_epsilon is None


def test_what_was_not_measured_stays_apart_from_zero(path):
    values = [measured(None), measured(0.0, adversary="server", half=None)]
    record(path, [snapshot(cells=[cell(metrics=values)])])
    lines = shown(path).splitlines()
    assert any("query" in line and "(not_run)" in line for line in lines)
    assert any("server" in line and "0.000" in line for line in lines)


def test_nothing_that_an_attack_wrote_in_words_is_kept(path):
    record(path, [snapshot(cells=[cell(metrics=[measured(None)])])])
    assert "4711" not in json.dumps(rows_of(path))
    assert b"4711" not in path.read_bytes()


def keys(series: tuple[Series, ...]) -> set[tuple[str, str]]:
    return {(s.attack, s.slice) for s in series}


def test_the_strongest_attack_stands_for_all_where_there_is_one(path):
    values = [
        measured(),
        measured(attack="loss"),
        measured(attack="loss", slice="worst-class"),
        measured(attack="dlg", metric="ssim", slice="round-1/batch-1"),
        measured(attack="dlg", metric="ssim", slice="round-1/batch-4"),
    ]
    record(path, [snapshot(cells=[cell(metrics=values)])])
    auc = Wanted(metric="auc")
    assert keys(view(path, auc).series) == {("strongest", "all")}
    assert keys(view(path, Wanted(metric="auc", attack="all")).series) == {
        ("strongest", "all"),
        ("loss", "all"),
    }
    assert ("loss", "worst-class") in keys(view(path, Wanted(attack="all", slice="*")).series)
    assert keys(view(path, Wanted(metric="ssim")).series) == {
        ("dlg", "round-1/batch-1"),
        ("dlg", "round-1/batch-4"),
    }


def test_two_configurations_are_never_one_line(path):
    record(path, [snapshot("a", config="one", table="a"), snapshot("b", config="two", table="b")])
    wanted = Wanted(cell="eps-2", adversary="query")
    assert [(s.config, len(s.points)) for s in view(path, wanted).series] == [
        ("one", 1),
        ("two", 1),
    ]
    only = view(path, Wanted(config="two"))
    assert [run.config for run in only.runs] == ["two"]
    assert {s.config for s in only.series} == {"two"}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(metric="gossip"), "--metric 'gossip': expected one of auc"),
        (Wanted(adversary="nurse"), "--adversary 'nurse': expected one of query"),
        (Wanted(cell="eps-3"), "--cell 'eps-3' was never recorded: expected eps-2, eps-inf"),
        (Wanted(attack="magic"), "--attack 'magic' was never recorded: expected strongest"),
        (Wanted(config="other"), "--config 'other' was never recorded: expected hand"),
        (Wanted(slice="none"), "--slice 'none' was never recorded: expected all"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(path, wanted, said):
    record(path, [snapshot()])
    with pytest.raises(ConfigError) as caught:
        view(path, wanted)
    assert said in str(caught.value)


def test_people_see_approvals_gates_intervals_and_claims(path):
    record(path, [snapshot(reproduction=True)], approved())
    record(path, [snapshot("run-1", day=3, table="u")], gated("fail", 3))
    text = shown(path)
    for told in (
        "approved 2030-01-01 by A. Person, until 2031-01-01: first release",
        "gate 2030-01-04: fail, exit 1",
        "fixed noise key",
        "eps-2: epsilon 2, 90.0 % (88.0 to 92.0)",
        "eps-inf: no claim",
        "0.530 to 0.570 (95 %)",
        "AUC: larger is more leak",
    ):
        assert told in text
    assert "run-0, approved" in text
    assert "run-1, gate: fail" in text


def test_a_bound_without_an_upper_end_says_at_least(path):
    bound = measured(
        0.4, metric="empirical_epsilon_lower_bound", attack="canary", low=0.4, high=None
    )
    record(path, [snapshot(cells=[cell(metrics=[bound])])])
    assert "at least 0.400 (95 %)" in shown(path, Wanted(metric=bound.metric))


def test_brackets_in_a_name_are_text_and_no_markup(path):
    record(path, [snapshot()], approved(by="A. [red]Person[/red]", reason="[/] odd"))
    assert "[red]Person[/red]" in shown(path)


@given(st.lists(PARTS, min_size=3, max_size=3).map(sorted), PARTS, st.integers(1, 10**9))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_digit_comes_back(tmp_path, parts, chance, n):
    path = tmp_path / "digits.sqlite"
    path.unlink(missing_ok=True)
    low, value, high = parts
    score = measured(value, low=low, high=high, chance=chance, n=n)
    record(path, [snapshot(cells=[cell(metrics=[score])])])
    (point,) = view(path).series[0].points
    assert (point.low, point.value, point.high, point.chance, point.n) == (
        low,
        value,
        high,
        chance,
        n,
    )
