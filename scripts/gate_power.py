"""False alarms and power of the gate, through its own decision code and the shipped policy.

Scores of members and others are drawn as Gaussians, three attacks an adversary (correlated with
each other), the strongest chosen and its interval widened as `audit attack` does. Each gate is one
baseline and one run of a private cell and its control. `--spread` lets retrained models differ.

    python scripts/gate_power.py --pairs 200 --out power.json
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from audit import stats
from audit.core.adversaries import Adversary
from audit.core.audits import AuditRecord
from audit.formats.baseline import (
    Approval,
    Baseline,
    CellFacts,
    ControlFacts,
    Measurement,
    PrivacyFacts,
    RunFacts,
)
from audit.formats.gate import Decision, GateRecord
from audit.formats.policy import Policy, default_policy_path, read_policy
from audit.gate.calibrate import binomial_quantile
from audit.gate.decide import Documents, decide_gate
from audit.gate.facts import Facts
from audit.scoring import judge

ADVERSARIES = (Adversary.QUERY, Adversary.RECIPIENT, Adversary.SERVER)
ATTACKS = ("loss", "lira-offline", "rmia")
RATES = {"auc": None, "tpr_at_fpr_0.01": 0.01}
CONFIDENCE = 0.95
DELTA = 1e-5
CANARIES = 256


@dataclass(frozen=True, kw_only=True)
class World:
    """What is true of a recipe.

    Args:
        auc: Of every attack.
        spread: Standard deviation of the AUC over retrained seeds.
        n: Members, and as many others.
        epsilon: Claimed.
        noise: Fraction of the noise that is really added.
        protection: Changes of the privacy record.
    """

    auc: float
    spread: float = 0.0
    n: int = 1000
    epsilon: float = 2.0
    noise: float = 1.0
    protection: tuple[tuple[str, Any], ...] = ()


def separation(auc: float) -> float:
    """Distance of two unit Gaussians whose AUC this is."""
    from statistics import NormalDist

    return float(np.sqrt(2) * NormalDist().inv_cdf(auc))


def measure(world: World, rng: np.random.Generator, seed: int) -> list[Measurement]:
    """Draw one seed's scores and return what `audit attack` would store of the strongest."""
    true_auc = min(max(world.auc + world.spread * rng.standard_normal(), 0.01), 0.99)
    distance = separation(true_auc)
    common = [rng.standard_normal(world.n) for _ in range(2)]
    judged: dict[str, tuple[Any, Any]] = {}
    found = []
    for adversary in ADVERSARIES:
        for attack in ATTACKS:
            inside, outside = (
                np.sqrt(0.8) * shared + np.sqrt(0.2) * rng.standard_normal(world.n)
                for shared in common
            )
            judged[f"{adversary.value}/{attack}"] = inside + distance, outside
        for metric, fpr in RATES.items():
            found.append(strongest(judged, adversary, metric, fpr, seed))
    return found


def strongest(
    judged: dict[str, tuple[Any, Any]],
    adversary: Adversary,
    metric: str,
    fpr: float | None,
    seed: int,
) -> Measurement:
    """The largest of the attacks so far, with the interval of audit.scoring.strongest."""
    level = 1 - (1 - CONFIDENCE) / len(judged)
    intervals = {
        name: stats.auc_interval(inside, outside, level)
        if fpr is None
        else stats.tpr_at_fpr_interval(inside, outside, fpr, level)
        for name, (inside, outside) in judged.items()
    }
    best = max(intervals, key=lambda name: intervals[name].value)
    top = intervals[best]
    return Measurement.model_validate(
        {
            "adversary": adversary, "attack": "strongest", "metric": metric, "seed": seed,
            "value": top.value, "low": min(top.value, max(i.low for i in intervals.values())),
            "high": max(i.high for i in intervals.values()), "confidence": CONFIDENCE, "n": top.n,
            "chance": fpr or 0.5, "method": "largest", "outcome": "executed",
            "by": best.split("/")[1],
        }
    )  # fmt: skip


def contributing(seed: int) -> list[Measurement]:
    """What tells the gate which attacks are behind the strongest."""
    return [
        Measurement.model_validate(
            {
                "adversary": adversary, "attack": attack, "metric": metric, "seed": seed,
                "value": 0.5, "low": 0.4, "high": 0.6, "confidence": CONFIDENCE, "n": 100,
                "chance": 0.5, "method": "stand-in", "outcome": "executed",
            }
        )
        for adversary in ADVERSARIES
        for attack in ATTACKS
        for metric in RATES
    ]  # fmt: skip


def audit_of(world: World, rng: np.random.Generator) -> AuditRecord:
    """A canary audit of a Gaussian mechanism whose noise is what the world says."""
    mu = gaussian_mu(world.epsilon) / world.noise
    inside = rng.standard_normal(CANARIES) + mu
    outside = rng.standard_normal(CANARIES)
    threshold = mu / 2
    counts = (int((inside > threshold).sum()), CANARIES, int((outside > threshold).sum()), CANARIES)
    right = (CANARIES, CANARIES, 0, CANARIES)
    p_value, best = (
        stats.clopper_pearson_p_value(*c, epsilon=world.epsilon, delta=DELTA)
        for c in (counts, right)
    )
    bound = stats.clopper_pearson_epsilon(*counts, delta=DELTA, confidence=CONFIDENCE)
    ceiling = stats.clopper_pearson_epsilon(*right, delta=DELTA, confidence=CONFIDENCE)
    return AuditRecord(
        cell="release", adversary="server", attack="canary-update", claimed_epsilon=world.epsilon,
        delta=DELTA, lower_bound=bound, method="clopper-pearson", confidence=CONFIDENCE,
        n=CANARIES, ceiling=ceiling, guessed_in=counts[0] + counts[2], inside=CANARIES,
        guessed_in_wrongly=counts[2], outside=CANARIES, p_value=p_value, best_p_value=best,
        reversal_p_value=1.0,
    )  # fmt: skip


def gaussian_mu(epsilon: float) -> float:
    """The mu of Gaussian DP with this epsilon at DELTA, by bisection."""
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if stats.epsilon_of_mu(middle, DELTA) < epsilon else (low, middle)
        )
    return low


def cell(
    world: World, rng: np.random.Generator, seeds: Sequence[int], *, private: bool
) -> CellFacts:
    """Facts of one cell over so many seeds."""
    epsilon = world.epsilon if private else None
    audits = [audit_of(world, rng)] if private else []
    curve = [
        {"delta": d, "epsilon": world.epsilon * (np.log10(d) / -5.0)} for d in (1e-3, 1e-5, 1e-7)
    ]
    privacy = {
        "unit": "record", "adjacency": "add/remove", "epsilon_scope": "total", "delta": DELTA,
        "target_epsilon": epsilon, "claimed_epsilon": epsilon,
        "accountant": "PRV (Opacus)" if private else None,
        "recomputed_by": "PLD (dp-accounting)" if private else None,
        "noise_source": "operating system" if private else None,
        "mechanism": {} if private else None, "curve": curve if private else None,
        "aggregation": {"protocol": "masked", "clients": 3, "colluders": 0, "threshold": 2},
        "group": {"records": 1, "told_by": "identical records", "epsilon": epsilon},
        **dict(world.protection),
    }  # fmt: skip
    judged = judge(audits)
    return CellFacts(
        cell=f"eps-{world.epsilon:g}" if private else "eps-inf",
        role="release" if private else "control",
        target_epsilon=epsilon,
        claimed_epsilon=epsilon,
        delta=DELTA,
        claims=(),
        privacy=PrivacyFacts.model_validate(privacy),
        verdict=judged[0].verdict if judged else None,
        coverage=(),
        metrics=tuple(m for s in seeds for m in [*measure(world, rng, s), *contributing(s)]),
        audits=tuple(judged),
    )


def facts(world: World, rng: np.random.Generator, seeds: Sequence[int]) -> Facts:
    """Facts of a run: the private cell and the control, whose leak is the same recipe's."""
    control = replace(world, auc=min(world.auc + 0.1, 0.95))
    runs = tuple(
        RunFacts(
            run_id=str(s), config="simulated", seed=s, created="", backend="", reproduction=False,
            dataset="d", records=str(s), partition="p", models={}, attack_code=(), python="",
            packages={},
        )
        for s in seeds
    )  # fmt: skip
    names = {(a, b) for a in ADVERSARIES for b in (*ATTACKS, "canary-update")}
    return Facts(
        runs=runs,
        cells=(cell(world, rng, seeds, private=True), cell(control, rng, seeds, private=False)),
        controls=tuple(ControlFacts(adversary=a, attack=b, detected=True) for a, b in names),
    )


def gate(
    before: World, now: World, policy: Policy, rng: np.random.Generator, *, seeds: tuple[int, int]
) -> tuple[GateRecord, bool]:
    """One pair through the gate; also whether a fixed tolerance would have alarmed."""
    theirs = facts(before, rng, range(seeds[0]))
    ours = facts(now, rng, range(1000, 1000 + seeds[1]))
    baseline = Baseline(
        schema="audit-baseline/v1",
        approved=Approval(by="simulation", reason="simulation", at=""),
        runs=theirs.runs,
        cells=theirs.cells,
        controls=theirs.controls,
    )
    record = decide_gate(
        ours,
        baseline,
        policy,
        documents=Documents(baseline="", policy="", signature="none"),
        today=date(2030, 1, 1),
    )
    return record, tolerance(ours, theirs)


def tolerance(ours: Facts, theirs: Facts) -> bool:
    """What is often done instead: no AUC more than 0.02 above the baseline's, means compared."""
    for mine, approved in zip(ours.cells, theirs.cells, strict=True):
        for adversary in ADVERSARIES:
            values = [
                np.mean([
                    m.value for m in side.metrics
                    if (m.adversary, m.attack, m.metric) == (adversary, "strongest", "auc")
                ])
                for side in (mine, approved)
            ]  # fmt: skip
            if values[0] - values[1] > 0.02:
                return True
    return False


def study(
    before: World, now: World, policy: Policy, *, seeds: tuple[int, int], pairs: int, seed: int
) -> dict[str, Any]:
    """Count what so many gates came to."""
    rng = np.random.default_rng(seed)
    started = time.perf_counter()
    counts = dict.fromkeys(Decision, 0)
    alarms = 0
    for _ in range(pairs):
        record, alarm = gate(before, now, policy, rng, seeds=seeds)
        counts[record.decision] += 1
        alarms += alarm
    return {
        "auc": before.auc,
        "rise": round(now.auc - before.auc, 3),
        "spread": before.spread,
        "n": 2 * now.n,
        "seeds": f"{seeds[0]} / {seeds[1]}",
        **{d.value: counts[d] for d in Decision},
        "tolerance": alarms,
        "pairs": pairs,
        "seconds": round(time.perf_counter() - started, 1),
    }


def planted(policy: Policy, pairs: int) -> dict[str, int]:
    """Regressions that weaken a guarantee: how many of so many gates fail."""
    fine = World(auc=0.55, n=500)
    plain = {"protocol": "plain", "clients": 3, "colluders": 0, "threshold": None}
    twice = {"records": 2, "told_by": "identical records", "epsilon": 4.4}
    worlds = {
        "nothing": fine,
        "epsilon 2 to 8": replace(fine, epsilon=8.0),
        "epsilon 2 to 2.001": replace(fine, epsilon=2.001),
        "a twentieth of the noise, same claim": replace(fine, noise=0.05),
        "records stored twice": replace(fine, protection=(("group", twice),)),
        "aggregation plain": replace(fine, protection=(("aggregation", plain),)),
        "noise from a fixed key": replace(fine, protection=(("noise_source", "fixed key"),)),
        "no second accountant": replace(fine, protection=(("recomputed_by", None),)),
    }
    return {
        name: sum(
            gate(fine, world, policy, np.random.default_rng(i), seeds=(1, 1))[0].decision
            is Decision.FAIL
            for i in range(pairs)
        )
        for name, world in worlds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--planted", type=int, default=50)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 4000, 10_000])
    parser.add_argument("--rises", type=float, nargs="+", default=[0.0, 0.05, 0.1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--spread", type=float, default=0.01)
    parser.add_argument("--auc", type=float, default=0.55)
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    policy, _ = read_policy(default_policy_path())
    print(f"expected at most {binomial_quantile(given.pairs, policy.alpha, 0.95)} failures "
          f"of {given.pairs} unchanged pairs")  # fmt: skip
    rows = []
    for count in given.seeds:
        for n in given.sizes:
            if count > 1 and n > min(given.sizes):
                continue
            for rise in given.rises:
                before = World(auc=given.auc, n=n // 2, spread=given.spread)
                row = study(
                    before,
                    replace(before, auc=given.auc + rise),
                    policy,
                    seeds=(count, count),
                    pairs=given.pairs,
                    seed=n + count,
                )
                rows.append(row)
                print(" ".join(f"{k} {v}" for k, v in row.items()), flush=True)
    told = {"rows": rows, "planted": planted(policy, given.planted), "planted_pairs": given.planted}
    print(told["planted"])
    if given.out is not None:
        given.out.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
