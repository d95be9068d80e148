"""Options that several commands share."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from audit.store.run import RunDirectory, newest_run

RUNS = Path("runs")

JsonOption = Annotated[bool, typer.Option("--json", help="Results as JSON on stdout.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
RunArgument = Annotated[
    Path | None, typer.Argument(help="Run directory; the newest in ./runs without it.")
]

stderr = Console(stderr=True)
stdout = Console(width=None if os.environ.get("COLUMNS") or os.isatty(1) else 140)


def print_json(value: Any) -> None:
    """Write one JSON document to stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def open_run(path: Path | None) -> RunDirectory:
    """Open the run that was named, or the newest one."""
    return RunDirectory.open(path if path is not None else newest_run(RUNS))


def default_out(name: str) -> Path:
    """Return ``./runs/<UTC>-<config>``."""
    return RUNS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{name}"
