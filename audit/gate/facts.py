"""From run directories to the facts that a gate compares."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from audit.core.audits import AuditRecord
from audit.core.config import Config
from audit.core.errors import IntegrityError, MissingEvidenceError
from audit.core.scores import Outcome
from audit.formats.baseline import (
    CellFacts,
    ControlFacts,
    Covered,
    Measurement,
    PrivacyFacts,
    RunFacts,
    check_finite,
)
from audit.formats.files import read_json, read_json_lines
from audit.gate.pooling import pool_cells, pool_controls
from audit.store.run import RunDirectory

Model = TypeVar("Model", bound=BaseModel)

SUMMARIES = {"strongest"}
"""Ids in place of an attack's that stand for several attacks."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What one or several seeds of a configuration show.

    Args:
        runs: Where the numbers come from, one a seed.
        cells: In the order of the configuration.
        controls: Of the attacks; an attack's control is detected if it is in every seed.
    """

    runs: tuple[RunFacts, ...]
    cells: tuple[CellFacts, ...]
    controls: tuple[ControlFacts, ...]


def read_facts(runs: Sequence[RunDirectory]) -> Facts:
    """Read one or several seeds of a configuration.

    Args:
        runs: At least one.

    Raises:
        MissingEvidenceError: A run was not attacked, lacks a record, has planted faults or NaN in
            it, or two runs differ in more than the seed.
        IntegrityError: A file is damaged, or two files of a run contradict each other.
    """
    configs = [run.config for run in runs]
    for run, config in zip(runs, configs, strict=True):
        run.check_sound()
        if _without_seed(config) != _without_seed(configs[0]):
            raise MissingEvidenceError(
                f"{run.path}: its configuration differs from that of {runs[0].path} in more than "
                "the seed; expected runs of one configuration"
            )
    seeds = [config.seed for config in configs]
    if len(set(seeds)) < len(seeds):
        raise MissingEvidenceError(f"seeds {seeds}: expected runs with different seeds")
    cells = [_read_cells(run, config) for run, config in zip(runs, configs, strict=True)]
    code = [_attack_code(run, own) for run, own in zip(runs, cells, strict=True)]
    controls = [_read_controls(run, own) for run, own in zip(runs, code, strict=True)]
    return Facts(
        runs=tuple(
            _origin(run, config, own, kept)
            for run, config, own, kept in zip(runs, configs, code, controls, strict=True)
        ),
        cells=pool_cells(cells),
        controls=pool_controls(controls),
    )


@contextmanager
def held(runs: Sequence[RunDirectory]) -> Iterator[None]:
    """Hold runs for this process, so that nobody attacks them while they are read.

    Raises:
        LockedRunError: A run is still being trained or attacked.
    """
    with ExitStack() as stack:
        for run in {run.path.resolve(): run for run in runs}.values():
            stack.enter_context(run.locked())
        yield


def _without_seed(config: Config) -> dict[str, Any]:
    """A fixed noise key need not agree either: it only makes a run reproducible."""
    tree = config.model_dump()
    tree["seed"] = tree["privacy"]["noise_key"] = None
    return tree


def _read_cells(run: RunDirectory, config: Config) -> list[CellFacts]:
    run.check_manifest(below="config.resolved.yaml")
    path = run.path / "table.json"
    if not path.exists():
        raise MissingEvidenceError(f"{run.path} has no table: no cell is finished yet")
    table = _finite(read_json(path), path)
    rows = table.get("rows") if isinstance(table, dict) else None
    if not rows:
        raise MissingEvidenceError(f"{run.path} has no table: no cell is finished yet")
    scores = _scores(run, rows)
    if not scores:
        raise MissingEvidenceError(f"{run.path} was not attacked: run `audit attack` first")
    return [_cell(run, config, row, scores) for row in rows]


def _scores(run: RunDirectory, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read the scores; table and list must agree, or one of them was made from something else."""
    path = run.path / "scores.jsonl"
    scores: list[dict[str, Any]] = _finite(read_json_lines(path), path)
    listed = {json.dumps(score, sort_keys=True) for score in scores}
    shown = {
        json.dumps({"cell": row["cell"], **score}, sort_keys=True)
        for row in rows
        for score in row["leakage"]
    }
    if listed != shown:
        differing = json.loads(sorted(listed ^ shown)[0])
        name = "/".join(str(differing.get(k)) for k in ("cell", "adversary", "attack", "metric"))
        raise IntegrityError(
            f"{run.path}: table.json and scores.jsonl contradict each other about {name}; "
            "run `audit attack` again"
        )
    return scores


def _cell(
    run: RunDirectory, config: Config, row: dict[str, Any], scores: Sequence[dict[str, Any]]
) -> CellFacts:
    cell = str(row["cell"])
    where = run.cell(cell).privacy
    if not where.is_file():
        raise MissingEvidenceError(f"{where} is missing: train the run with this version")
    run.check_manifest(below=f"cells/{cell}/privacy.json")
    privacy = _parse(PrivacyFacts, _finite(read_json(where), where), where)
    for name in ("claimed_epsilon", "delta", "target_epsilon"):
        if row[name] != getattr(privacy, name):
            raise IntegrityError(
                f"{run.path}: table.json says {name} {row[name]} of {cell}, "
                f"{where.name} says {getattr(privacy, name)}"
            )
    own = [score for score in scores if score["cell"] == cell]
    return _parse(
        CellFacts,
        {
            "cell": cell,
            "role": config.role(cell),
            **{k: row[k] for k in ("target_epsilon", "claimed_epsilon", "delta", "verdict")},
            "claims": row["claims"],
            "privacy": privacy,
            "coverage": _coverage(run, cell, own),
            "metrics": [
                _parse(Measurement, {**score, "seed": config.seed}, run.path / "scores.jsonl")
                for score in own
            ],
            "audits": [
                _parse(AuditRecord, {"cell": cell, **record}, run.path / "table.json")
                for record in row.get("audits", [])
            ],
        },
        run.path / "table.json",
    )


def _coverage(run: RunDirectory, cell: str, scores: Sequence[dict[str, Any]]) -> list[Covered]:
    ran = {
        (score["adversary"], score["attack"])
        for score in scores
        if score["outcome"] == Outcome.EXECUTED and score["attack"] not in SUMMARIES
    }
    return [
        Covered(adversary=adversary, attack=attack, budget=_budget(run, cell, adversary, attack))
        for adversary, attack in sorted(ran)
    ]


def _budget(run: RunDirectory, cell: str, adversary: str, attack: str) -> str | None:
    return _told_by_result(run, cell, adversary, attack, "budget")


def _told_by_result(
    run: RunDirectory, cell: str, adversary: str, attack: str, name: str
) -> str | None:
    path = run.attack_folder(cell, adversary, attack) / "result.json"
    found = read_json(path).get(name) if path.is_file() else None
    return str(found) if found is not None else None


def _attack_code(run: RunDirectory, cells: Sequence[CellFacts]) -> set[str]:
    """Digests of the attack code, as the results recorded them."""
    found = {
        _told_by_result(run, cell.cell, covered.adversary, covered.attack, "code")
        for cell in cells
        for covered in cell.coverage
    }
    return {code for code in found if code is not None}


def _read_controls(run: RunDirectory, code: set[str]) -> list[ControlFacts]:
    """Read the controls, without those that other attack code than the results' made."""
    path = run.path / "controls.jsonl"
    found = [_parse(ControlFacts, _finite(line, path), path) for line in read_json_lines(path)]
    return [c for c in found if c.code is None or not code or c.code in code]


def _origin(
    run: RunDirectory,
    config: Config,
    code: set[str],
    controls: Sequence[ControlFacts],
) -> RunFacts:
    record = run.record
    dataset = record.get("dataset")
    if not isinstance(dataset, dict) or "sha256" not in dataset:
        raise MissingEvidenceError(f"{run.path}/run.json names no dataset: the run did not start")
    tree = config.model_dump(mode="json")
    decides = [dataset["sha256"], *(tree[k] for k in ("data", "partition", "candidates", "probes"))]
    return _parse(
        RunFacts,
        {
            "run_id": record["id"],
            "dataset": dataset["sha256"],
            "records": _digest(decides),
            "partition": _digest(tree["partition"]),
            "models": {
                cell.id: _digest(cell.model.model_dump(mode="json")) for cell in config.cells
            },
            "attack_code": sorted(code | {c.code for c in controls if c.code is not None}),
            "reproduction": config.reproduction,
            "seed": config.seed,
            **{k: record[k] for k in ("config", "created", "backend", "python", "packages")},
        },
        run.path / "run.json",
    )


def _digest(tree: Any) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _finite(tree: Any, path: Path) -> Any:
    check_finite(tree, where=str(path))
    return tree


def _parse(model: type[Model], tree: Any, path: Path) -> Model:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(f"{path}: {field}: {first['msg']}") from None
