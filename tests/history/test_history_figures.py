"""Plots of a history: what stands in them, the same bytes twice, nothing hidden."""

from pathlib import Path

import pytest
from history_snapshots import approved, cell, gated, measured, snapshot
from matplotlib.figure import Figure

from audit.formats.history import HistoryView
from audit.history.record import record
from audit.history.view import Wanted, view
from reports.history_figures import draw_history, history_figure

BOUND = "empirical_epsilon_lower_bound"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


def fill(path: Path, *values: float | None, decisions: tuple[str | None, ...] = ()) -> HistoryView:
    for day, value in enumerate(values):
        made = snapshot(f"run-{day}", day=day, cells=[cell(metrics=[measured(value)])])
        decision = decisions[day] if day < len(decisions) else None
        record(path, [made], gated(decision, day) if decision else None)
    return view(path, Wanted(metric="auc"))


def drawn(found: HistoryView) -> Figure:
    return history_figure(found.series, found.runs)


def marks(figure: Figure) -> list[str]:
    """Of the measured points, from left to right."""
    lines = [a for a in figure.axes[0].get_lines() if a.get_marker() in set("o^XsD")]
    points = [(x, a.get_marker()) for a in lines for x in a.get_xdata()]
    return [mark for _, mark in sorted(points)]


def legend(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.legends[0].get_texts()}


def test_a_gate_shows_by_shape(path):
    decisions = ("pass", "fail", "inconclusive", "incomparable", None)
    found = fill(path, 0.5, 0.6, 0.55, 0.5, 0.5, decisions=decisions)
    figure = drawn(found)
    assert marks(figure) == ["^", "X", "s", "D", "o"]
    assert {"gate of the run: fail", "gate of the run: pass", "run not gated"} <= legend(figure)


def test_intervals_are_drawn_as_they_were_recorded(path):
    found = fill(path, 0.6)
    (bars,) = [c for c in drawn(found).axes[0].containers if hasattr(c, "has_yerr")]
    ((_, low), (_, high)) = bars.lines[2][0].get_segments()[0]
    assert (low, high) == pytest.approx((0.58, 0.62))


def test_an_approval_is_a_line_beside_its_run(path):
    found = fill(path, 0.5, 0.6, 0.5)
    assert "run right of it was approved" not in legend(drawn(found))
    made = snapshot("run-1", day=1, cells=[cell(metrics=[measured(0.6)])])
    record(path, [made], approved(1))
    figure = drawn(view(path, Wanted(metric="auc")))
    upright = [a for a in figure.axes[0].get_lines() if len(set(a.get_xdata())) == 1]
    places = [a.get_xdata()[0] for a in upright if tuple(a.get_ydata()) == (0, 1)]
    assert len(places) == 1
    assert 0.5 < places[0] < 1
    assert "run right of it was approved" in legend(figure)


def test_what_was_not_measured_is_marked_and_cuts_the_line(path):
    figure = drawn(fill(path, 0.5, None, 0.6, 0.55))
    assert marks(figure) == ["o", "o", "o"]
    lines = [a for a in figure.axes[0].get_lines() if a.get_marker() == "None"]
    assert all(set(a.get_xdata()) != {0.0, 2.0} for a in lines)
    assert [2.0, 3.0] in [list(a.get_xdata()) for a in lines]
    assert "not measured" in legend(figure)


@pytest.mark.parametrize("change", [{"records": "q"}, {"attack_code": ["other"]}])
def test_other_records_and_other_attacks_cut_the_line(path, change):
    for day, changes in enumerate(({}, {}, change)):
        record(path, [snapshot(f"run-{day}", day=day, **changes)])
    found = view(path, Wanted(metric="auc", cell="eps-2", adversary="query"))
    lines = [list(a.get_xdata()) for a in drawn(found).axes[0].get_lines()]
    assert [0.0, 1.0] in lines
    assert [0.0, 1.0, 2.0] not in lines


def test_chance_is_a_line_and_a_claim_stands_beside_its_bound(path):
    bound = measured(0.4, metric=BOUND, attack="canary", low=0.4, high=None, chance=0.0)
    record(path, [snapshot(cells=[cell(metrics=[bound, measured()])])])
    found = view(path, Wanted(metric=BOUND))
    figure = drawn(found)
    assert {"chance", "claim"} <= legend(figure)
    claims = [a for a in figure.axes[0].get_lines() if a.get_marker() == "_" and len(a.get_xdata())]
    assert 2.0 in [a.get_ydata()[0] for a in claims]
    assert "claim" not in legend(drawn(view(path, Wanted(metric="auc"))))


def test_a_figure_a_configuration_and_metric_and_the_same_bytes_twice(path, tmp_path):
    record(path, [snapshot("a", config="one", table="a")], gated("fail"))
    record(path, [snapshot("b", config="two/../x", table="b")], approved())
    found = view(path)
    first, second = (draw_history(found, tmp_path / name) for name in ("first", "second"))
    assert [p.name for p in first] == [
        "one-auc.svg", "one-auc.png", "two_.._x-auc.svg", "two_.._x-auc.png",
    ]  # fmt: skip
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert {p.parent for p in first} == {tmp_path / "first"}


def test_many_runs_keep_their_labels_apart(path):
    figure = drawn(fill(path, *[0.5] * 30))
    assert len(figure.axes[0].get_xticks()) <= 12
    assert len(marks(figure)) == 30
