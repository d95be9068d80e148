"""Reading the history: runs by time with what was decided about them, and series of values."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from audit.core.adversaries import Adversary
from audit.core.errors import ConfigError, IntegrityError
from audit.core.metrics import METRICS
from audit.formats.history import (
    Event,
    HistoryView,
    Point,
    RecordedCell,
    RecordedRun,
    Series,
)
from audit.history.file import reading

Model = TypeVar("Model", bound=BaseModel)

STRONGEST = "strongest"
"""Id in place of an attack's: the largest of an adversary's attacks."""

WHOLE = "all"
"""The slice of all records together."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked of a history; None: all of it.

    Args:
        metric, cell, adversary, config: By their names.
        attack: None: the strongest, where a metric has it, else every one. ``all``: every attack.
        slice: None: all records together, where a metric has that, else every one. ``*``: every
            slice.
    """

    metric: str | None = None
    cell: str | None = None
    adversary: str | None = None
    attack: str | None = None
    config: str | None = None
    slice: str | None = None


def view(path: Path, wanted: Wanted = Wanted()) -> HistoryView:
    """Read runs and series.

    Args:
        path: The history.
        wanted: Which of them.

    Returns:
        Runs in the order in which they were trained, and the series that have a point in one of
        them.

    Raises:
        ConfigError: A name is unknown, or nothing of that name was ever recorded.
        MissingEvidenceError: There is no history, or a later version wrote it.
        IntegrityError: It is damaged, or no history.
    """
    _check_known(wanted)
    with reading(path) as connection:
        connection.row_factory = sqlite3.Row
        _check_recorded(connection, wanted)
        runs = _runs(connection, wanted.config, where=path)
        return HistoryView(
            schema="audit-history/v1",
            runs=tuple(runs),
            series=tuple(_series(connection, wanted, runs, where=path)),
        )


def _check_known(wanted: Wanted) -> None:
    adversaries = [a.value for a in Adversary]
    for name, value, known in (
        ("--metric", wanted.metric, list(METRICS)),
        ("--adversary", wanted.adversary, adversaries),
    ):
        if value is not None and value not in known:
            raise ConfigError(f"{name} {value!r}: expected one of {', '.join(known)}")


def _check_recorded(connection: sqlite3.Connection, wanted: Wanted) -> None:
    for name, value, column, table in (
        ("--config", wanted.config, "config", "runs"),
        ("--cell", wanted.cell, "cell", "cells"),
        ("--attack", wanted.attack if wanted.attack != "all" else None, "attack", "series"),
        ("--slice", wanted.slice if wanted.slice != "*" else None, "slice", "series"),
    ):
        if value is None:
            continue
        query = f"SELECT DISTINCT {column} FROM {table} ORDER BY {column}"  # noqa: S608
        known = [str(row[0]) for row in connection.execute(query)]
        if value not in known:
            raise ConfigError(f"{name} {value!r} was never recorded: expected {', '.join(known)}")


def _runs(connection: sqlite3.Connection, config: str | None, *, where: Path) -> list[RecordedRun]:
    cells, events = defaultdict(list), defaultdict(list)
    for row in connection.execute("SELECT * FROM cells ORDER BY number, place"):
        tree = dict(row)
        tree.pop("place")
        cells[tree.pop("number")].append(_parse(RecordedCell, tree, where))
    for row in connection.execute("SELECT * FROM events JOIN event_snapshots USING (event)"):
        tree = dict(row)
        tree["by"] = tree.pop("approved_by")
        del tree["event"], tree["digest"]
        events[tree.pop("number")].append(_parse(Event, tree, where))
    found = []
    for row in connection.execute("SELECT * FROM snapshots JOIN runs USING (run_id)"):
        tree = dict(row)
        number = tree["number"]
        tree |= {
            "partition": tree.pop("partition_sha256"),
            "packages": _json(tree["packages"], where),
            "attack_code": _json(tree["attack_code"], where),
            "cells": cells[number],
            "events": sorted(events[number], key=lambda e: e.at),
        }
        found.append(_parse(RecordedRun, tree, where))
    chosen = [run for run in found if config is None or run.config == config]
    return sorted(chosen, key=lambda run: (run.created, run.number))


def _series(
    connection: sqlite3.Connection, wanted: Wanted, runs: Sequence[RecordedRun], *, where: Path
) -> list[Series]:
    claims = _claims(connection)
    places = {run.number: i for i, run in enumerate(runs)}
    found: dict[tuple[str, ...], list[Point]] = {}
    conditions = {
        name: value
        for name, value in (
            ("metric", wanted.metric),
            ("cell", wanted.cell),
            ("adversary", wanted.adversary),
            ("attack", wanted.attack if wanted.attack != "all" else None),
            ("slice", wanted.slice if wanted.slice != "*" else None),
        )
        if value is not None
    }
    text = " AND ".join(f"{name} = ?" for name in conditions) or "1"
    query = f"SELECT * FROM scores JOIN series USING (series) WHERE {text}"  # noqa: S608
    for row in connection.execute(query, tuple(conditions.values())):
        tree = dict(row)
        number = tree["number"]
        if number not in places:
            continue
        config = runs[places[number]].config
        cell, adversary = tree.pop("cell"), tree.pop("adversary")
        key = (config, cell, adversary, tree.pop("attack"), tree.pop("metric"), tree.pop("slice"))
        del tree["series"]
        tree |= {"by": tree.pop("found_by"), **claims.get((number, cell, adversary), {})}
        found.setdefault(key, []).append(_parse(Point, tree, where))
    if wanted.slice is None:
        whole = {key[:5] for key in found if key[5] == WHOLE}
        found = {k: v for k, v in found.items() if k[5] == WHOLE or k[:5] not in whole}
    if wanted.attack is None:
        summed = {key[:3] + key[4:] for key in found if key[3] == STRONGEST}
        found = {k: v for k, v in found.items() if k[3] == STRONGEST or k[:3] + k[4:] not in summed}
    names = ("config", "cell", "adversary", "attack", "metric", "slice")
    series = [
        _parse(
            Series,
            dict(zip(names, key, strict=True))
            | {"points": sorted(points, key=lambda p: places[p.number])},
            where,
        )
        for key, points in found.items()
    ]
    return sorted(series, key=_order(runs))


def _claims(connection: sqlite3.Connection) -> dict[tuple[int, str, str], dict[str, Any]]:
    return {
        (row["number"], row["cell"], row["adversary"]): {
            name: row[name] for name in ("claimed_epsilon", "delta", "unit")
        }
        for row in connection.execute("SELECT * FROM claims")
    }


def _order(runs: Sequence[RecordedRun]) -> Any:
    """Configurations and cells as the runs have them, then metrics and adversaries as known."""
    cells = {c.cell: i for run in runs for i, c in enumerate(run.cells)}
    metrics, adversaries = list(METRICS), list(Adversary)

    def key(series: Series) -> tuple[Any, ...]:
        return (
            series.config,
            metrics.index(series.metric),
            cells.get(series.cell, len(cells)),
            adversaries.index(series.adversary),
            series.attack,
            series.slice,
        )

    return key


def _json(text: str, where: Path) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, TypeError) as error:
        raise IntegrityError(f"history {where} is damaged: {error}") from None


def _parse(model: type[Model], tree: Mapping[str, Any], where: Path) -> Model:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(f"history {where}: {field}: {first['msg']}") from None
