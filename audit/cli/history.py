"""`audit history`: what approved and gated runs measured, over time."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.cli.options import DebugOption, JsonOption, open_run, print_json, stderr, stdout
from audit.core.errors import ConfigError
from audit.store.run import RunDirectory

if TYPE_CHECKING:
    from audit.pipeline.history import Recorder

history_app = typer.Typer(
    invoke_without_command=True,
    help="Show what approved and gated runs measured, over time.",
)

FileOption = Annotated[
    Path | None,
    typer.Option("--file", "--history", help="Else $AUDIT_HISTORY, else ./history.sqlite."),
]
HistoryOption = Annotated[
    Path | None,
    typer.Option(envvar="AUDIT_HISTORY", help="History to record this in; see `audit history`."),
]


def recorder_for(history: Path | None, runs: Sequence[RunDirectory]) -> "Recorder | None":
    """Return what records a decision about runs that is about to be made; None: nobody asked."""
    if history is None:
        return None
    from audit.pipeline.history import Recorder

    return Recorder(history, runs)


@history_app.callback()
def show(
    context: typer.Context,
    metric: Annotated[str | None, typer.Option(help="Metric, or all; auc without it.")] = None,
    cell: Annotated[str | None, typer.Option(help="Cell, such as eps-2.")] = None,
    adversary: Annotated[str | None, typer.Option(help="Adversary.")] = None,
    attack: Annotated[
        str | None,
        typer.Option(help="Attack, or all; the strongest without it, where there is one."),
    ] = None,
    slice_: Annotated[
        str | None,
        typer.Option("--slice", help="Slice, or *; all records together without it."),
    ] = None,
    config: Annotated[str | None, typer.Option(help="Only runs of this configuration.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw each metric into this folder.")] = None,
    file: FileOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what approved and gated runs measured, over time, with approvals and gates."""
    from audit.history.file import history_path
    from audit.history.terminal import render
    from audit.history.view import Wanted, view

    del debug
    context.obj = file
    if context.invoked_subcommand is not None:
        if any((metric, cell, adversary, attack, slice_, config, plot, as_json)):
            raise ConfigError(f"options go behind `audit history {context.invoked_subcommand}`")
        return
    found = view(
        history_path(file),
        Wanted(
            metric=None if metric == "all" else metric or "auc",
            cell=cell,
            adversary=adversary,
            attack=attack,
            slice=slice_,
            config=config,
        ),
    )
    if as_json:
        print_json(found.model_dump(mode="json", by_alias=True))
    else:
        stdout.print(render(found))
    if plot is not None:
        from reports.history_figures import draw_history

        for path in draw_history(found, plot)[1::2]:  # of each the PNG
            stderr.print(f"plot:  {path}", soft_wrap=True, highlight=False)


@history_app.command()
def add(
    context: typer.Context,
    runs: Annotated[list[Path], typer.Argument(help="Runs that were attacked.")],
    file: FileOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Record runs by hand; one that is recorded already stays as it is."""
    from audit.history.file import history_path
    from audit.pipeline.history import Recorder

    del debug
    path = history_path(file or context.obj)
    added = Recorder(path, [open_run(run) for run in runs]).add()
    if as_json:
        print_json({"history": str(path), "runs": len(runs), "new": added})
    else:
        typer.echo(f"{path}: {added} new of {len(runs)}")
    stderr.print(f"next: audit history --file {path}", soft_wrap=True, highlight=False)


@history_app.command()
def export_mlflow(
    context: typer.Context,
    tracking_uri: Annotated[
        str, typer.Option(help="Of the MLflow server, or such as sqlite:///mlflow.db.")
    ],
    experiment: Annotated[str, typer.Option(help="Made if it is not there.")] = "privacy-audit",
    every_score: Annotated[
        bool, typer.Option("--every-score", help="Also each attack and slice by itself.")
    ] = False,
    file: FileOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Log the recorded runs to MLflow (extra `mlflow`): aggregates only, each run once."""
    from audit.history.file import history_path
    from audit.history.mlflow_export import export

    del debug
    path = history_path(file or context.obj)
    done = export(path, uri=tracking_uri, experiment=experiment, every_score=every_score)
    if as_json:
        print_json({"experiment": experiment, "made": done.made, "known": done.known})
    else:
        typer.echo(f"{experiment}: {done.made} made, {done.known} known before")
