"""The history as MLflow runs, for those who track there; aggregates only.

Runs are found again by two tags, the run's id and the SHA-256 of its table, so that nothing is
logged twice. What was decided since is brought up to date.
"""

import hashlib
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from audit.core.errors import AuditError, ConfigError
from audit.formats.history import Point, RecordedRun, Series
from audit.history.view import STRONGEST, Wanted, view

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXTRA = "pip install 'fl-privacy-audit[mlflow]'"
RUN_TAG, TABLE_TAG = "audit.run_id", "audit.table_sha256"
LONGEST_NAME = 250
LONGEST_TEXT = 5_000
"""Characters that MLflow takes in a name, and that all its versions take in a tag."""

BATCH = 1_000
"""Metrics that MLflow takes at once."""

FINISHED = "FINISHED"
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
LONGEST_MESSAGE = 400
"""Characters of MLflow's own words; a server that is no MLflow answers with a page."""

HEADLINES = {"empirical_epsilon_lower_bound", "hospital_epsilon_estimate", "attribute_advantage"}
"""Metrics that matter although no strongest attack sums them up."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """How many MLflow runs were made, and how many were there."""

    made: int
    known: int


def export(path: Path, *, uri: str, experiment: str, every_score: bool = False) -> Exported:
    """Log every recorded run that is not there yet, and bring its tags up to date.

    Args:
        path: The history.
        uri: Where MLflow keeps its runs.
        experiment: Its name; made if it is not there.
        every_score: Also each attack and each slice by itself, thousands of metrics a run; else
            the strongest attacks, the audits' bounds and attribute inference.

    Raises:
        ConfigError: MLflow is not installed, or cannot use the address.
        AuditError: MLflow does not answer, or refuses; it carries the exit code.
    """
    shown = view(path, Wanted(attack="all", slice="*") if every_score else Wanted())
    series = [s for s in shown.series if every_score or _headline(s)]
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise ConfigError(f"MLflow is not installed: {EXTRA} (extra `mlflow`)") from None
    try:
        with redirect_stdout(sys.stderr):  # MLflow prints the address of every run
            with _few_retries():
                client = MlflowClient(tracking_uri=uri)
                found = client.get_experiment_by_name(experiment)
            place = found.experiment_id if found else client.create_experiment(experiment)
            made = sum(_keep(client, place, run, series) for run in shown.runs)
    except MlflowException as error:
        raise AuditError(f"MLflow: {_in_a_line(_without_password(str(error), uri))}") from None
    return Exported(made=made, known=len(shown.runs) - made)


@contextmanager
def _few_retries() -> Iterator[None]:
    """Ask an address that may not answer at all for seconds, and not for MLflow's four minutes."""
    kept = os.environ.get(RETRIES)
    os.environ.setdefault(RETRIES, "2")
    try:
        yield
    finally:
        if kept is None:
            del os.environ[RETRIES]


def _headline(series: Series) -> bool:
    return series.attack == STRONGEST or series.metric in HEADLINES


def _keep(
    client: "MlflowClient", experiment: str, run: RecordedRun, series: Sequence[Series]
) -> bool:
    """Return whether it was new."""
    known = client.search_runs(
        [experiment],
        filter_string=(
            f"tags.`{RUN_TAG}` = '{run.run_id}' AND tags.`{TABLE_TAG}` = '{run.table_sha256}'"
        ),
        max_results=1,
    )
    number = known[0].info.run_id if known else None
    if number is None:
        number = client.create_run(
            experiment,
            start_time=_milliseconds(run),
            run_name=f"{run.config}-s{run.seed}-{run.run_id[:8]}",
            tags={RUN_TAG: run.run_id, TABLE_TAG: run.table_sha256},
        ).info.run_id
    if not known or known[0].info.status != FINISHED:  # an export may have been cut short
        _log_values(client, number, run, series)
    for name, text in tags_of(run).items():
        client.set_tag(number, name, text)
    client.set_terminated(number, FINISHED, end_time=_milliseconds(run))
    return not known


def _log_values(
    client: "MlflowClient", number: str, run: RecordedRun, series: Sequence[Series]
) -> None:
    from mlflow.entities import Metric, Param

    params = [Param(name, text[:LONGEST_TEXT]) for name, text in params_of(run).items()]
    client.log_batch(number, params=params)
    metrics = [
        Metric(metric_name(name), value, _milliseconds(run), 0)
        for name, value in metrics_of(run, series)
    ]
    for start in range(0, len(metrics), BATCH):
        client.log_batch(number, metrics=metrics[start : start + BATCH])


def params_of(run: RecordedRun) -> dict[str, str]:
    """Return what was set: configuration, seed, epsilons, data, versions."""
    epsilons = ["inf" if c.target_epsilon is None else f"{c.target_epsilon:g}" for c in run.cells]
    return {
        "config": run.config,
        "seed": str(run.seed),
        "target_epsilons": ", ".join(epsilons),
        "delta": ", ".join(dict.fromkeys(f"{c.delta:g}" for c in run.cells)),
        "dataset_sha256": run.dataset,
        "backend": run.backend,
        "reproduction": str(run.reproduction).lower(),
        **{f"version.{name}": version for name, version in run.packages.items()},
    }


def metrics_of(run: RecordedRun, series: Sequence[Series]) -> Iterator[tuple[str, float]]:
    """Yield name and value of what was measured; what was not is left out, and is no zero."""
    for cell in run.cells:
        for name in ("claimed_epsilon", "accuracy", "accuracy_low", "accuracy_high"):
            if (value := getattr(cell, name)) is not None:
                yield f"{cell.cell}/{name}", value
    for one in series:
        point = next((p for p in one.points if p.number == run.number), None)
        if one.config != run.config or point is None or point.value is None:
            continue
        where = f"{one.cell}/{one.adversary.value}/{one.attack}"
        where += "" if one.slice == "all" else f"/{one.slice}"
        yield from _of_point(f"{where}/{one.metric}", point)


def _of_point(name: str, point: Point) -> Iterator[tuple[str, float]]:
    parts = {"": point.value, ".low": point.low, ".high": point.high, ".chance": point.chance}
    yield from ((name + end, value) for end, value in parts.items() if value is not None)
    if point.n is not None:
        yield f"{name}.n", float(point.n)


def tags_of(run: RecordedRun) -> dict[str, str]:
    """Return what was decided: the last approval and the last gate, and how many there were."""
    gates = [event for event in run.events if event.kind == "gated"]
    tags: dict[str, Any] = {
        "audit.approvals": len(run.approvals),
        "audit.gates": len(gates),
    }
    if run.approvals:
        last = run.approvals[-1]
        tags |= {
            "audit.approved.by": last.by,
            "audit.approved.at": last.at.isoformat(),
            "audit.approved.reason": last.reason,
            "audit.approved.expires": last.expires or "never",
            "audit.approved.baseline_sha256": last.baseline_sha256,
        }
    if gates:
        last = gates[-1]
        tags |= {
            "audit.gate.decision": last.decision,
            "audit.gate.at": last.at.isoformat(),
            "audit.gate.exit_code": last.exit_code,
            "audit.gate.baseline_sha256": last.baseline_sha256,
            "audit.gate.policy_sha256": last.policy_sha256,
        }
    return {name: str(value)[:LONGEST_TEXT] for name, value in tags.items()}


def metric_name(name: str) -> str:
    """Return a name that MLflow takes; different names stay different.

    MLflow takes letters, digits, ``_ - . /`` and blanks, and no path that has another spelling.

    Example:
        >>> metric_name("eps-2/server/strongest/auc")
        'eps-2/server/strongest/auc'
        >>> metric_name("eps-2/../auc")
        'eps-2/_/auc_75d50eb5422e954e'
    """
    parts = [re.sub(r"[^A-Za-z0-9_.-]", "_", part) for part in name.split("/")]
    tidy = "/".join("_" if not part.strip(".") else part for part in parts)
    if tidy == name and len(name) <= LONGEST_NAME:
        return name
    mark = "_" + hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
    return tidy[: LONGEST_NAME - len(mark)] + mark


def _milliseconds(run: RecordedRun) -> int:
    return round(run.created.timestamp() * 1000)


def _in_a_line(text: str) -> str:
    return textwrap.shorten(text, LONGEST_MESSAGE, placeholder=" ...")


def _without_password(text: str, uri: str) -> str:
    password = urlsplit(uri).password
    return text.replace(password, "***") if password else text
