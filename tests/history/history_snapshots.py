"""Small snapshots made by hand: one private cell and its control, two adversaries."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from audit.formats.baseline import CellFacts, Measurement, RunFacts
from audit.formats.history import Accuracy, Event, Snapshot

START = datetime(2030, 1, 1, tzinfo=UTC)
DELTA = 1e-5


def measured(
    value: float | None = 0.55,
    *,
    adversary: str = "query",
    attack: str = "strongest",
    metric: str = "auc",
    half: float | None = 0.02,
    **changes: Any,
) -> Measurement:
    ends = value is not None and half is not None
    facts: dict[str, Any] = {
        "adversary": adversary, "attack": attack, "metric": metric, "slice": "all", "seed": 1,
        "value": value, "low": value - half if ends else None,
        "high": value + half if ends else None,
        "confidence": 0.95 if ends else None, "n": None if value is None else 1000, "chance": 0.5,
        "method": "by hand", "outcome": "not_run" if value is None else "executed",
        "reason": "patient 4711" if value is None else None,
    }  # fmt: skip
    return Measurement.model_validate({**facts, **changes})


def cell(
    name: str = "eps-2",
    epsilon: float | None = 2.0,
    metrics: Sequence[Measurement] | None = None,
    **changes: Any,
) -> CellFacts:
    aggregation = {"protocol": "masked", "clients": 3, "colluders": 1, "threshold": 3}
    facts: dict[str, Any] = {
        "cell": name,
        "role": None if epsilon is not None else "control",
        "target_epsilon": epsilon,
        "claimed_epsilon": epsilon,
        "delta": DELTA,
        "claims": []
        if epsilon is None
        else [
            {
                "adversary": adversary, "colluders": 0, "unit": "record", "delta": DELTA,
                "claimed_epsilon": epsilon + extra, "assumptions": [],
            }
            for adversary, extra in (("query", 0.0), ("server", 0.5))
        ],
        "privacy": {
            "unit": "record", "adjacency": "add/remove", "epsilon_scope": "total", "delta": DELTA,
            "target_epsilon": epsilon, "claimed_epsilon": epsilon, "accountant": None,
            "recomputed_by": None, "noise_source": None, "mechanism": None, "curve": None,
            "aggregation": aggregation,
        },
        "verdict": "consistent" if epsilon is not None else None,
        "coverage": [],
        "metrics": [measured(), measured(0.6, adversary="server")] if metrics is None else metrics,
    }  # fmt: skip
    return CellFacts.model_validate({**facts, **changes})


def snapshot(
    run: str = "run-0",
    *,
    day: int = 0,
    config: str = "hand",
    table: str = "t" * 64,
    cells: Sequence[CellFacts] | None = None,
    **changes: Any,
) -> Snapshot:
    facts: dict[str, Any] = {
        "run_id": run, "config": config, "seed": 1,
        "created": (START + timedelta(days=day)).isoformat(), "backend": "inprocess",
        "reproduction": False, "dataset": "d" * 64, "records": "r" * 64, "partition": "p" * 64,
        "models": {"eps-2": "m"}, "attack_code": ["c"], "python": "3.11",
        "packages": {"torch": "2"},
    }  # fmt: skip
    kept = (cell(), cell("eps-inf", None)) if cells is None else tuple(cells)
    return Snapshot(
        run=RunFacts.model_validate({**facts, **changes}),
        table_sha256=table,
        cells=kept,
        accuracy={"eps-2": Accuracy(accuracy=0.9, accuracy_low=0.88, accuracy_high=0.92)},
    )


def approved(day: int = 0, **changes: Any) -> Event:
    facts: dict[str, Any] = {
        "kind": "approved", "at": START + timedelta(days=day, hours=1),
        "baseline_sha256": "b" * 64, "by": "A. Person", "reason": "first release",
        "expires": date(2031, 1, 1),
    }  # fmt: skip
    return Event.model_validate({**facts, **changes})


def gated(decision: str = "pass", day: int = 0, **changes: Any) -> Event:
    codes = {"pass": 0, "fail": 1, "inconclusive": 3, "incomparable": 4}
    facts: dict[str, Any] = {
        "kind": "gated", "at": START + timedelta(days=day, hours=2), "baseline_sha256": "b" * 64,
        "by": "A. Person", "policy_sha256": "q" * 64, "signature": "none", "decision": decision,
        "exit_code": codes[decision],
    }  # fmt: skip
    return Event.model_validate({**facts, **changes})
