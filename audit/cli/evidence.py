"""The commands that make, check and gate evidence."""

from pathlib import Path
from typing import Annotated

import typer

from audit.cli.history import HistoryOption, recorder_for
from audit.cli.options import DebugOption, JsonOption, RunArgument, open_run
from audit.core.errors import ConfigError


def report(
    run: RunArgument = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report/ and evidence/; the run without it.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Private key that signs the bundle; see `audit keygen`.")
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also a PDF (extra `pdf`).")] = False,
    include_reconstructions: Annotated[
        bool,
        typer.Option("--include-reconstructions", help="Show rebuilt records of patients."),
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the compliance-evidence report of a finished run, and its bundle."""
    from audit.cli.reporting import write_report

    del debug
    write_report(
        open_run(run),
        out=out,
        key=key,
        pdf=pdf,
        reconstructions=include_reconstructions,
        as_json=as_json,
    )


def keygen(
    out: Annotated[Path, typer.Option(help="Folder for audit.key and audit.pub.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make an Ed25519 key pair to sign evidence with; nothing is ever overwritten."""
    from audit.cli.verifying import make_keys

    del debug
    make_keys(out, as_json=as_json)


def verify(
    bundle: Annotated[Path | None, typer.Argument(help="Folder of an evidence bundle.")] = None,
    key: Annotated[Path | None, typer.Option(help="The signer's public key.")] = None,
    rescore: Annotated[
        Path | None, typer.Option(help="Instead: a run, whose scores are computed again.")
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check that a signed bundle is untouched, or that a run's scores come out again."""
    from audit.cli.verifying import verify as check

    del debug
    check(bundle, key, rescore, as_json=as_json)


def gate(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Run directory; the newest without it. Several seeds are pooled."),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="What was approved; --calibrate can go without.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="Else the shipped policy.yaml.")] = None,
    key: Annotated[Path | None, typer.Option(help="Public key that must have signed it.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Report only: exit 0 whatever it came to.")
    ] = False,
    all_checks: Annotated[bool, typer.Option("--all", help="Show what held, too.")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure the policy's false alarms and power.")
    ] = False,
    history: HistoryOption = None,
    pairs: Annotated[int, typer.Option(min=20, help="Simulated pairs of --calibrate.")] = 200,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Hold a run against an approved baseline: exit 0 pass, 1 fail, 3 inconclusive, 4 no answer."""
    from audit.cli import gating
    from audit.gate.runs import gate_runs

    del debug
    if baseline is None and not calibrate:
        raise ConfigError("--baseline: missing; make one with `audit baseline approve`")
    alone = calibrate and baseline is not None
    opened = [open_run(run) for run in runs] if runs else [] if alone else [open_run(None)]
    if calibrate or baseline is None:
        gating.calibrate(
            opened, baseline=baseline, policy=policy, key=key, pairs=pairs, as_json=as_json
        )
        return
    recorder = recorder_for(history, opened)
    record = gate_runs(opened, baseline=baseline, policy=policy, key=key)
    gating.show_gate(record, junit=junit, as_json=as_json, all_checks=all_checks)
    if recorder is not None:
        recorder.gated(record)
    if record.exit_code and not exit_zero:
        raise typer.Exit(record.exit_code)
