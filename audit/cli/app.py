"""The commands. What needs torch, Flower or Opacus is imported once the arguments make sense."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from audit.cli.baselines import baseline_app
from audit.cli.evidence import gate, keygen, report, verify
from audit.cli.history import history_app
from audit.cli.options import (
    DebugOption,
    JsonOption,
    RunArgument,
    default_out,
    open_run,
    print_json,
    stderr,
    stdout,
)
from audit.cli.schemas import schema
from audit.core.errors import AuditError, ConfigError
from audit.core.loading import dump_config, load_config

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure what federated learning with DP and secure aggregation really leaks.",
)

app.add_typer(baseline_app, name="baseline")
app.add_typer(history_app, name="history")

FAILED_ATTACK = 5
UNSCORED = 4


class BackendName(StrEnum):
    """Where the federation runs."""

    INPROCESS = "inprocess"
    RAY = "ray"


class DeviceName(StrEnum):
    """Where the hospitals compute."""

    CPU = "cpu"
    CUDA = "cuda"
    AUTO = "auto"


class BudgetName(StrEnum):
    """How much an attack may compute."""

    QUICK = "quick"
    STANDARD = "standard"
    THOROUGH = "thorough"


class SelfTestBudget(StrEnum):
    """How many audit cells a fault gets."""

    QUICK = "quick"
    STANDARD = "standard"


@app.command()
def train(
    config: Annotated[
        str | None, typer.Argument(help="Path or shipped name; `demo` without it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory to make.")] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("-o", help="Setting as key=value, such as schedule.rounds=3."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with --out, or the newest.")
    ] = False,
    backend: Annotated[BackendName, typer.Option()] = BackendName.INPROCESS,
    seeds: Annotated[int, typer.Option(min=1, help="Complete runs, RUN-s0 and so on.")] = 1,
    device: Annotated[DeviceName, typer.Option()] = DeviceName.CPU,
    download: Annotated[bool, typer.Option("--download", help="Fetch MNIST if missing.")] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the resolved configuration and stop.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train the federation for every epsilon and record what each party could see."""
    del debug
    given = config is not None or bool(override) or not resume
    settings = load_config(config or "demo", override or ()) if given else None
    if print_config:
        settings = settings or open_run(out).config
        typer.echo(dump_config(settings), nl=False)
        return
    from audit.cli.training import train_runs

    runs = train_runs(
        settings,
        out=out,
        resume=resume,
        seeds=seeds,
        backend=backend.value,
        device=device.value,
        download=download,
    )
    if as_json:
        print_json({"runs": [str(run.path) for run in runs]})
    else:
        for run in runs:
            stderr.print(f"next: audit attack {run.path}", soft_wrap=True, highlight=False)
            typer.echo(str(run.path))


@app.command()
def attack(
    run: RunArgument = None,
    only: Annotated[list[str] | None, typer.Option(help="Id of an attack; repeatable.")] = None,
    adversary: Annotated[list[str] | None, typer.Option(help="An adversary; repeatable.")] = None,
    budget: Annotated[BudgetName, typer.Option()] = BudgetName.STANDARD,
    no_controls: Annotated[
        bool, typer.Option("--no-controls", help="Do not check the attacks on their controls.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Attack the recordings of a run and put the leakage into its table."""
    del debug
    opened = open_run(run)
    from audit.cli.attacking import attack_run

    report = attack_run(
        opened,
        only=tuple(only or ()),
        adversaries=tuple(adversary or ()),
        budget=budget.value,
        controls=not no_controls,
    )
    missed = [record.name for record in report.controls if record.detected is False]
    if as_json:
        print_json(
            {
                "run": str(opened.path),
                "failed": report.failed,
                "unscored": report.unscored,
                "missed_controls": missed,
            }
        )
    for name in missed:
        stderr.print(f"[yellow]warning:[/] {name} does not find its positive control")
    for name, error in report.failed.items():
        stderr.print(f"[red]failed:[/] {name}: {error}", soft_wrap=True, highlight=False)
    if report.unscored:
        stderr.print("guesses are kept, but the run's secrets to score them are missing")
    stderr.print(f"next: audit table {opened.path}", soft_wrap=True, highlight=False)
    if report.failed:
        raise typer.Exit(FAILED_ATTACK)
    if report.unscored:
        raise typer.Exit(UNSCORED)


@app.command()
def table(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Run directory; the newest without it. Several seeds are pooled."),
    ] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Also every attack, and the worst groups.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show accuracy, epsilon and leakage side by side, and draw the plots.

    Of several runs, one for each seed: the mean accuracy with its interval.
    """
    del debug
    opened = [open_run(run) for run in runs] if runs else [open_run(None)]
    from audit.cli.tables import show_seeds, show_table

    if len(opened) == 1:
        show_table(opened[0], as_json=as_json, details=details)
    else:
        show_seeds(opened, as_json=as_json)


for command in (report, keygen, verify, gate, schema):
    app.command()(command)


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(help="Run directory to make.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train, attack and show the table on scikit-learn's digits, in under three minutes."""
    from audit.cli.attacking import attack_run
    from audit.cli.tables import show_table
    from audit.cli.training import train_runs

    del debug
    settings = load_config("demo")
    (run,) = train_runs(settings, out=out or default_out("demo"))
    report = attack_run(run, budget=BudgetName.QUICK.value)
    show_table(run, as_json=as_json)
    if report.failed:
        raise AuditError(f"{len(report.failed)} attacks failed: {', '.join(report.failed)}")


@app.command()
def selftest(
    budget: Annotated[
        SelfTestBudget, typer.Option(help="quick takes under two minutes.")
    ] = SelfTestBudget.QUICK,
    repeats: Annotated[int, typer.Option(min=1, help="How often each fault is planted.")] = 1,
    fault: Annotated[
        list[str] | None, typer.Option(help="Only this fault; repeatable. none: no fault.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Public seed of the federation.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Keep the run here; else deleted.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Plant faults in the hospitals and show which of them the audits find."""
    from audit.cli.selftesting import run_selftest

    del debug
    run_selftest(
        budget=budget.value,
        repeats=repeats,
        faults=tuple(fault or ()),
        seed=seed,
        out=out,
        as_json=as_json,
    )


@app.command()
def attacks(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the attacks, whose view each has, and where it was published."""
    from rich.table import Table

    from attacks.registry import ATTACKS

    del debug
    if as_json:
        print_json(
            [
                {
                    "id": entry.id,
                    "title": entry.title,
                    "family": entry.family.value,
                    "adversaries": [adversary.value for adversary in entry.adversaries],
                    "source": entry.source,
                }
                for entry in ATTACKS.values()
            ]
        )
        return
    shown = Table("id", "what", "adversaries", "source")
    for entry in ATTACKS.values():
        shown.add_row(entry.id, entry.title, ", ".join(entry.adversaries), entry.source)
    stdout.print(shown)


@app.command()
def doctor(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Check the environment: versions, data, devices, and what each hospital has spent."""
    from audit.cli.checkup import examine

    del debug
    facts = examine()
    if as_json:
        print_json(facts)
        return
    for name, fact in facts.items():
        stdout.print(f"{name}: {fact}", soft_wrap=True, highlight=False)


@app.command()
def purge(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    debug: DebugOption = False,
) -> None:
    """Delete a run: its recordings and secrets are patients' data."""
    import shutil

    del debug
    opened = open_run(run)
    if not yes:
        raise ConfigError(f"purge {opened.path}: add --yes to delete it for good")
    with opened.locked():
        shutil.rmtree(opened.path)
    stderr.print(f"deleted {opened.path}", soft_wrap=True, highlight=False)
