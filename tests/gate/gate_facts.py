"""Small facts of runs, made by hand: one private cell and its control, with two attacks."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from audit.formats.baseline import (
    Approval,
    Baseline,
    CellFacts,
    ControlFacts,
    Measurement,
    PrivacyFacts,
    RunFacts,
)
from audit.formats.gate import Check, GateRecord
from audit.formats.policy import Policy
from audit.gate.decide import Documents, decide_gate
from audit.gate.facts import Facts

DOCUMENTS = Documents(baseline="b", policy="p", signature="none")
TODAY = date(2030, 1, 1)
DELTAS = (1e-3, 1e-5, 1e-7)


def privacy(epsilon: float | None, **changes: Any) -> PrivacyFacts:
    private = epsilon is not None
    facts: dict[str, Any] = {
        "unit": "record",
        "adjacency": "add/remove",
        "epsilon_scope": "total",
        "delta": 1e-5,
        "target_epsilon": epsilon,
        "claimed_epsilon": epsilon,
        "accountant": "PRV (Opacus)" if private else None,
        "recomputed_by": "PLD (dp-accounting)" if private else None,
        "noise_source": "operating system" if private else None,
        "mechanism": {"noise_multiplier": 1.0, "steps": 10} if private else None,
        "curve": [{"delta": d, "epsilon": epsilon * (1 - 0.1 * i)} for i, d in enumerate(DELTAS)]
        if epsilon is not None
        else None,
        "aggregation": {"protocol": "masked", "clients": 3, "colluders": 1, "threshold": 3},
    }
    return PrivacyFacts.model_validate({**facts, **changes})


def measured(
    value: float | None = 0.55,
    *,
    half: float = 0.02,
    attack: str = "loss",
    adversary: str = "query",
    metric: str = "auc",
    seed: int = 1,
    **changes: Any,
) -> Measurement:
    facts: dict[str, Any] = {
        "adversary": adversary,
        "attack": attack,
        "metric": metric,
        "slice": "all",
        "seed": seed,
        "value": value,
        "low": None if value is None else value - half,
        "high": None if value is None else value + half,
        "confidence": None if value is None else 0.95,
        "n": None if value is None else 1000,
        "chance": 0.5,
        "method": "by hand",
        "outcome": "not_run" if value is None else "executed",
        "reason": "not asked for" if value is None else None,
    }
    return Measurement.model_validate({**facts, **changes})


def cell(
    name: str = "eps-2",
    epsilon: float | None = 2.0,
    *,
    role: str | None = None,
    metrics: Sequence[Measurement] | None = None,
    covered: Sequence[tuple[str, str]] = (("query", "loss"), ("server", "rmia")),
    **changes: Any,
) -> CellFacts:
    facts: dict[str, Any] = {
        "cell": name,
        "role": role,
        "target_epsilon": epsilon,
        "claimed_epsilon": epsilon,
        "delta": 1e-5,
        "claims": [
            {
                "adversary": adversary,
                "colluders": 0,
                "unit": "record",
                "claimed_epsilon": epsilon,
                "delta": 1e-5,
                "assumptions": ["add/remove adjacency"],
            }
            for adversary in ("query", "server")
        ]
        if epsilon is not None
        else [],
        "privacy": privacy(epsilon),
        "verdict": "consistent" if epsilon is not None else None,
        "coverage": [{"adversary": a, "attack": b, "budget": "standard"} for a, b in covered],
        "metrics": list(metrics) if metrics is not None else [measured()],
    }
    return CellFacts.model_validate({**facts, **changes})


def control_cell(**changes: Any) -> CellFacts:
    return cell("eps-inf", None, role="control", **changes)


def run_facts(seed: int = 1, **changes: Any) -> RunFacts:
    facts: dict[str, Any] = {
        "run_id": f"run-{seed}",
        "config": "hand",
        "seed": seed,
        "created": "2029-12-31T00:00:00+00:00",
        "backend": "inprocess",
        "reproduction": False,
        "dataset": "d" * 64,
        "records": "r" * 64,
        "partition": "p" * 64,
        "models": {"eps-2": "m"},
        "attack_code": ["c"],
        "python": "3.11",
        "packages": {"torch": "2"},
    }
    return RunFacts.model_validate({**facts, **changes})


def controls(
    detected: bool | None = True, attacks: Sequence[tuple[str, str]] | None = None
) -> tuple[ControlFacts, ...]:
    pairs = attacks or [(a, b) for a in ("query", "server") for b in ("loss", "rmia")]
    return tuple(
        ControlFacts.model_validate({"adversary": a, "attack": b, "detected": detected})
        for a, b in pairs
    )


def facts(
    *cells: CellFacts,
    seeds: Sequence[int] = (1,),
    detected: bool | None = True,
    known: tuple[ControlFacts, ...] | None = None,
) -> Facts:
    return Facts(
        runs=tuple(run_facts(seed) for seed in seeds),
        cells=cells or (cell(), control_cell()),
        controls=controls(detected) if known is None else known,
    )


def approved(made: Facts) -> Baseline:
    return Baseline(
        schema="audit-baseline/v1",
        approved=Approval(by="A. Person", reason="test", at="2029-12-31T00:00:00+00:00"),
        runs=made.runs,
        cells=tuple(c.model_copy(update={"audits": ()}) for c in made.cells),
        controls=made.controls,
    )


def policy(*rules: dict[str, Any], **changes: Any) -> Policy:
    shown = list(rules) or [{"metric": "auc", "margin": 0.05}]
    return Policy.model_validate({"schema": "audit-policy/v1", "rules": shown, **changes})


def gate(now: Facts, before: Facts, rules: Policy | None = None) -> GateRecord:
    return decide_gate(now, approved(before), rules or policy(), documents=DOCUMENTS, today=TODAY)


def checks_of(record: GateRecord, rule: str, cell_id: str | None = "eps-2") -> list[Check]:
    return [c for c in record.checks if c.rule == rule and c.cell == cell_id]
