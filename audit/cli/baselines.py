"""`audit baseline`: approve a run, show what was approved, and compare two approvals."""

from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from audit.cli.history import HistoryOption, recorder_for
from audit.cli.options import DebugOption, JsonOption, print_json, stderr, stdout
from audit.core.errors import ConfigError
from audit.store.run import RunDirectory

baseline_app = typer.Typer(
    no_args_is_help=True,
    help="What a gate holds later runs against: approved runs, with who, why and until when.",
)


@baseline_app.command()
def approve(
    runs: Annotated[list[Path], typer.Argument(help="Run, or several seeds of one config.")],
    out: Annotated[Path, typer.Option(help="File to write, such as baseline.json.")],
    by: Annotated[str, typer.Option(help="Who approves.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    expires: Annotated[str | None, typer.Option(help="Last day it holds, YYYY-MM-DD.")] = None,
    key: Annotated[Path | None, typer.Option(help="Private key that signs it.")] = None,
    history: HistoryOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Approve what these runs measured and guarantee as the baseline of later ones."""
    from audit.gate.approval import approve as approve_runs
    from audit.gate.summary import warnings

    del debug
    try:
        day = date.fromisoformat(expires) if expires else None
    except ValueError:
        raise ConfigError(f"--expires {expires!r}: expected a day such as 2030-01-31") from None
    opened = [RunDirectory.open(run) for run in runs]
    recorder = recorder_for(history, opened)
    made = approve_runs(opened, out, by=by, reason=reason, expires=day, key=key)
    for warning in warnings(made):
        stderr.print(f"[yellow]note:[/] {warning}", soft_wrap=True, highlight=False)
    if as_json:
        print_json({"baseline": str(out), "cells": [c.cell for c in made.cells]})
    else:
        typer.echo(str(out))
    if recorder is not None:
        recorder.approved(out, made)
    stderr.print(f"next: audit gate RUN --baseline {out}", soft_wrap=True, highlight=False)


@baseline_app.command()
def show(
    file: Annotated[Path, typer.Argument(help="Baseline.")],
    key: Annotated[Path | None, typer.Option(help="Public key that must have signed it.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show who approved what, the guarantees, and the strongest attacks."""
    from audit.formats.baseline import read_baseline
    from audit.gate.approval import signature_of
    from audit.gate.summary import render_baseline

    del debug
    baseline, content = read_baseline(file)
    signature = signature_of(file, baseline, content, key)
    if as_json:
        print_json(baseline.model_dump(mode="json", by_alias=True))
    else:
        stdout.print(render_baseline(baseline, signature=signature))


@baseline_app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="Baseline.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Also the scores of single attacks and slices.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what differs between two baselines: guarantees, coverage, measurements."""
    from audit.formats.baseline import read_baseline
    from audit.gate.approval import signature_of
    from audit.gate.summary import approval_line, differences, render_differences

    del debug
    opened, approvals = [], []
    for name, file in (("first", first), ("second", second)):
        baseline, content = read_baseline(file)
        opened.append(baseline)
        signature = signature_of(file, baseline, content, None)
        approvals.append(approval_line(name, baseline, signature))
    found = differences(*opened)
    if as_json:
        print_json([asdict(d) for d in found])
    else:
        stdout.print(render_differences(found, approvals=approvals, everything=everything))
