"""A record of evidence as tests want it: any number of cells, any names."""

from typing import Any

from audit.core.audits import AuditRecord, Verdict
from audit.core.scores import GroupScore, Score
from audit.formats.evidence import (
    AdversaryFacts,
    Cell,
    Coverage,
    EvidenceRecord,
    Federation,
    GroupUtility,
    Roc,
    RoundFacts,
    RunFacts,
)
from audit.pipeline.evidence.residual import residual_risk
from audit.pipeline.evidence.verdict import verdict

OUTCOMES = ("executed", "underpowered", "not_resolvable", "not_run", "failed", "missing")


def score(cell: str, **fields: Any) -> Score:
    return Score(
        **{
            "cell": cell,
            "adversary": "recipient",
            "attack": "strongest",
            "metric": "auc",
            "value": 0.52,
            "low": 0.47,
            "high": 0.57,
            "confidence": 0.95,
            "n": 400,
            "chance": 0.5,
            "by": "loss",
            **fields,
        }
    )


def audit(cell: str, **fields: Any) -> AuditRecord:
    return AuditRecord(
        **{
            "cell": cell,
            "adversary": "server",
            "attack": "canary-update",
            "claimed_epsilon": 2.0,
            "delta": 1e-5,
            "lower_bound": 0.4,
            "method": "gaussian-dp, as tests want it",
            "confidence": 0.95,
            "n": 256,
            "ceiling": 20.0,
            "guessed_in": 60,
            "inside": 128,
            "guessed_in_wrongly": 50,
            "outside": 128,
            "p_value": 0.5,
            "best_p_value": 1e-9,
            "reversal_p_value": 0.5,
            "adjusted_p_value": 1.0,
            "verdict": Verdict.CONSISTENT,
            **fields,
        }
    )


def cell(epsilon: float | None, hospitals: list[str], **fields: Any) -> Cell:
    name = "eps-inf" if epsilon is None else f"eps-{epsilon:g}"
    privacy = {
        "unit": "record",
        "adjacency": "add/remove",
        "epsilon_scope": "total",
        "claimed_epsilon": epsilon,
        "recomputed_epsilon": epsilon,
        "delta": 1e-5,
        "accountant": "PRV (Opacus)",
        "recomputed_by": "PLD (dp-accounting)",
        "noise_source": "operating system",
        "mechanism": None,
        "curve": None,
        "aggregation": {"protocol": "masked", "threshold": 2, "colluders": 0},
    }
    if epsilon is not None:
        privacy["mechanism"] = {
            "noise_multiplier": 2.0,
            "max_grad_norm": 1.0,
            "sample_rate": 0.5,
            "rounds": 2,
            "steps": 4,
        }
        privacy["curve"] = [
            {"delta": 1e-3, "epsilon": epsilon / 2},
            {"delta": 1e-5, "epsilon": epsilon},
        ]
    leakage = [score(name), score(name, metric="tpr_at_fpr_0.01", value=0.02, low=0.0, high=0.05)]
    return Cell(
        **{
            "cell": name,
            "target_epsilon": epsilon,
            "claimed_epsilon": epsilon,
            "delta": 1e-5,
            "noise_multiplier": None if epsilon is None else 2.0,
            "privacy": privacy,
            "claims": []
            if epsilon is None
            else [
                {
                    "adversary": "server",
                    "colluders": 0,
                    "unit": "record",
                    "claimed_epsilon": epsilon,
                    "delta": 1e-5,
                    "assumptions": ["patients of different hospitals are disjoint"],
                }
            ],
            "probe_epsilon": None if epsilon is None else 1.5,
            "selection_epsilon": None,
            "model": {"name": "mlp", "options": {}, "parameters": 4810},
            "schedule": {"rounds": 2, "local_steps": 2, "batch_size": 180},
            "rounds": [
                RoundFacts(
                    round=i,
                    survivors=hospitals[:2],
                    spent_epsilon=dict.fromkeys(
                        hospitals, None if epsilon is None else epsilon * i / 2
                    ),
                    refusals={},
                    failure=None,
                )
                for i in (1, 2)
            ],
            "accuracy": 0.9,
            "accuracy_low": 0.87,
            "accuracy_high": 0.92,
            "test_records": 719,
            "utility": {"balanced_accuracy": 0.9, "auroc": None},
            "groups": [
                GroupUtility(
                    column="class", group="0", n=70, accuracy=0.9, low=0.8, high=0.95, change=-0.1
                ),
                GroupUtility(
                    column="class",
                    group="1",
                    n=None,
                    accuracy=None,
                    low=None,
                    high=None,
                    change=None,
                ),
            ],
            "verdict": None if epsilon is None else "consistent",
            "audits": [
                audit(
                    name,
                    claimed_epsilon=epsilon,
                    verdict=None if epsilon is None else Verdict.CONSISTENT,
                )
            ],
            "leakage": leakage,
            "leakage_by_group": [
                GroupScore(
                    **score(name, attack="loss", by=None).model_dump(),
                    column="class",
                    group=group,
                    members=members,
                    nonmembers=30,
                    p_value=0.4,
                    adjusted_p_value=1.0,
                )
                for group, members in (("0", 30), ("9", 9))
            ],
            "roc": [Roc(adversary="recipient", attack="loss", points=[(0.01, 0.02), (1, 1)])],
            "residual": residual_risk(leakage, privacy, void=False),
            **fields,
        }
    )


def record(
    epsilons: tuple[float | None, ...] = (2.0, None),
    *,
    hospitals: list[str] | None = None,
    name: str = "test",
    dataset: str = "digits",
    cells: list[Cell] | None = None,
    **fields: Any,
) -> EvidenceRecord:
    hospitals = hospitals or ["hospital-1", "hospital-2", "hospital-3"]
    made = cells or [cell(epsilon, hospitals) for epsilon in epsilons]
    covered = [
        Coverage(
            attack=f"attack-{i}",
            title="an attack",
            family="membership",
            source="a paper",
            adversary="recipient",
            cell=one.cell,
            outcome=outcome,
            reason=None if outcome == "executed" else f"reason {i}",
            control=(True, False, None)[i % 3],
        )
        for one in made
        for i, outcome in enumerate(OUTCOMES)
    ]
    return EvidenceRecord(
        **{
            "tool": {"name": "fl-privacy-audit", "version": "0", "code_sha256": "0" * 64},
            "run": RunFacts(
                id="8e5942e0-8903-466f-a335-32b6465ec45e",
                config=name,
                created="2026-01-02T03:04:05.000000+00:00",
                finished="2026-01-02T04:04:05.000+00:00",
                seed=1,
                backend="inprocess",
                reproduction=False,
                python="3.11.7",
                packages={"flwr": "1.41.0", "torch": "2.15.0"},
                recording_sha256="1" * 64,
                budgets=["quick"],
            ),
            "federation": Federation(
                dataset=dataset,
                dataset_sha256="2" * 64,
                public=True,
                hospitals=hospitals,
                partition="iid",
                nominal_records=360,
                protocol="masked",
                threshold=2,
                colluders=0,
                pretrained=False,
            ),
            "adversaries": [
                AdversaryFacts(adversary="recipient", sees="the weights", knows=[], attacks=1)
            ],
            "cells": made,
            "coverage": covered,
            "verdict": verdict(made, covered, reproduction=False),
            "controls": [],
            "selftest": None,
            "gate": None,
            "crosswalk": [],
            "outside": ["floating point"],
            "reproduction": ["audit train"],
            **fields,
        }
    )
