"""What the record says of one released model."""

from collections.abc import Iterator, Mapping
from typing import Any

from audit.core.adversaries import Adversary
from audit.core.config import Config
from audit.core.errors import MissingEvidenceError
from audit.core.scores import GroupScore, Score
from audit.formats.evidence import Cell, GroupUtility, Roc, RoundFacts
from audit.formats.files import read_json, read_json_lines
from audit.formats.parcels import read_weights
from audit.pipeline.evidence.residual import residual_risk
from audit.scoring import STRONGEST
from audit.store.run import CellDirectory, RunDirectory

UTILITY = ("balanced_accuracy", "auroc")
MOST_POINTS = 60
"""Points of a ROC that are kept: enough for a curve, too few to tell one record from it."""


def cell_evidence(
    run: RunDirectory, config: Config, row: Mapping[str, Any], baseline: str | None
) -> Cell:
    """Return what the record says of a row of the table.

    Args:
        run: The run.
        config: Its configuration.
        row: Of ``table.json``.
        baseline: Id of the cell without DP; None: there is none.

    Raises:
        MissingEvidenceError: The cell was trained before cells wrote their mechanism down.
    """
    directory, settings = run.cell(row["cell"]), config.cell(_epsilon(row))
    for path in (directory.privacy, directory.utility):
        if not path.exists():
            raise MissingEvidenceError(
                f"{path} is missing: the run was trained by an older version; train it again"
            )
    privacy = read_json(directory.privacy)
    leakage = [Score.model_validate({"cell": row["cell"], **score}) for score in row["leakage"]]
    return Cell(
        cell=row["cell"],
        target_epsilon=row["target_epsilon"],
        claimed_epsilon=row["claimed_epsilon"],
        delta=row["delta"],
        noise_multiplier=row["noise_multiplier"],
        privacy=privacy,
        claims=row["claims"],
        probe_epsilon=row["probe_epsilon"] if config.probes.repeats else None,
        selection_epsilon=row["selection_epsilon"],
        model={
            "name": settings.model.name,
            "options": settings.model.options,
            "parameters": sum(a.size for a in read_weights(directory.model).values()),
        },
        schedule=settings.schedule.model_dump(mode="json"),
        rounds=_rounds(directory),
        accuracy=row["accuracy"],
        accuracy_low=row["accuracy_low"],
        accuracy_high=row["accuracy_high"],
        test_records=row["test_records"],
        utility={name + end: row[name + end] for name in UTILITY for end in ("", "_low", "_high")},
        groups=_groups(directory, run.cell(baseline) if baseline else None),
        verdict=row["verdict"],
        audits=[{"cell": row["cell"], **audit} for audit in row["audits"]],
        leakage=leakage,
        leakage_by_group=[
            GroupScore.model_validate(line)
            for line in read_json_lines(run.path / "groups.jsonl")
            if line["cell"] == row["cell"]
        ],
        roc=list(_roc(run, row["cell"], leakage)),
        residual=residual_risk(leakage, privacy, void=config.reproduction),
    )


def _epsilon(row: Mapping[str, Any]) -> float:
    return float("inf") if row["target_epsilon"] is None else float(row["target_epsilon"])


def _rounds(directory: CellDirectory) -> list[RoundFacts]:
    return [
        RoundFacts(
            round=line["round"],
            survivors=line["survivors"],
            spent_epsilon={
                client: said.get("spent_epsilon") for client, said in line["clients"].items()
            },
            refusals=line["refusals"],
            failure=line["failure"],
        )
        for line in read_json_lines(directory.metrics)
    ]


def _groups(directory: CellDirectory, baseline: CellDirectory | None) -> list[GroupUtility]:
    found = read_json(directory.utility)["groups"]
    other = read_json(baseline.utility)["groups"] if baseline and baseline.done else {}
    rows = []
    for column, groups in found.items():
        for group, rate in groups.items():
            value = rate["accuracy"]
            beside = other.get(column, {}).get(group, {}).get("accuracy")
            rows.append(
                GroupUtility(
                    column=column,
                    group=group,
                    n=rate["n"],
                    accuracy=value,
                    low=rate["accuracy_low"],
                    high=rate["accuracy_high"],
                    change=None if None in (value, beside) else value - beside,
                )
            )
    return rows


def _roc(run: RunDirectory, cell: str, leakage: list[Score]) -> Iterator[Roc]:
    """Yield the curve of each adversary's strongest attack."""
    for score in leakage:
        if (score.attack, score.metric, score.slice) != (STRONGEST, "auc", "all"):
            continue
        adversary = Adversary(score.adversary)
        for one in (adversary, *adversary.includes):
            path = run.attack_folder(cell, one.value, str(score.by)) / "roc.json"
            if score.by and path.exists():
                points = [(float(f), float(t)) for f, t in read_json(path)]
                yield Roc(adversary=adversary, attack=score.by, points=_thinned(points))
                break


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most so many points, the last below each of a grid of false-positive rates."""
    if len(points) <= MOST_POINTS:
        return points
    lowest = min((f for f, _ in points if f > 0), default=1.0)
    grid = [0.0, *(lowest ** (1 - i / (MOST_POINTS - 2)) for i in range(MOST_POINTS - 1))]
    below = ([p for p in points if p[0] <= rate + 1e-12] for rate in grid)
    return sorted({points[0], *(max(some) for some in below if some), points[-1]})
