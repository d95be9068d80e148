"""The gate on real runs: retrained seeds of one recipe against each other, and changed recipes.

Small federations on scikit-learn's digits with fresh noise, attacked by a few cheap attacks and a
canary audit. Every ordered pair of unchanged seeds is one approved run and one candidate: pairs
share runs, so they are not independent, and disjoint pairs are counted beside. Each changed recipe
is gated against every unchanged seed.

    python scripts/gate_real_runs.py --seeds 15 --out gate_real.json
"""

import argparse
import itertools
import json
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from attacks.attack import Budget
from audit.core.errors import AuditError
from audit.core.loading import load_config
from audit.gate.approval import approve
from audit.gate.runs import gate_runs
from audit.pipeline.attack import AttackOptions, attack
from audit.pipeline.train import TrainOptions, train
from audit.store.run import RunDirectory
from training.faults import FAULTS, Fault

ATTACKS = ("loss", "modified-entropy", "canary-update", "canary-sum")
RECIPE = ("privacy.noise_key=null", "probes.repeats=0", "model={name: mlp, options: {hidden: 64}}")
CHANGES = {
    "nothing": (),
    "epsilon 2 to 8": ("privacy.epsilons=[8, .inf]",),
    "epsilon 2 to 2.02": ("privacy.epsilons=[2.02, .inf]",),
    "aggregation switched to plain": ("aggregation.protocol=plain",),
    "noise from a fixed key": (f"privacy.noise_key={'5e' * 32}",),
    "more rounds at the same epsilon": ("schedule.rounds=6",),
}
PLANTED = ("no-clipping", "tenth-of-noise")


def made(
    folder: Path, seed: int, change: Sequence[str], fault: Fault | None = None
) -> RunDirectory:
    """Train and attack one run."""
    settings = load_config("smoke", [*RECIPE, f"seed={seed}", *change])
    run = train(settings, folder, TrainOptions(fault=fault))
    attack(
        run,
        AttackOptions(only=ATTACKS, budget=Budget.QUICK, controls=True),
    )
    return run


def outcome(run: RunDirectory, baseline: Path) -> str:
    """Return what the gate says, or the exit code of its refusal."""
    try:
        return gate_runs([run], baseline=baseline).decision.value
    except AuditError as error:
        return f"refused ({error.exit_code})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        os.environ["AUDIT_LEDGER"] = str(root / "ledger")
        runs, baselines = [], []
        for seed in range(1, given.seeds + 1):
            run = made(root / f"seed-{seed}", seed, ())
            baseline = root / f"seed-{seed}.json"
            approve([run], baseline, by="gate_real_runs", reason="a null pair")
            runs.append(run)
            baselines.append(baseline)
            print(f"seed {seed}: trained, attacked and approved", flush=True)
        found["nothing"] = Counter(
            outcome(runs[j], baselines[i]) for i, j in itertools.permutations(range(len(runs)), 2)
        )
        found["nothing, disjoint pairs"] = Counter(
            outcome(runs[i + 1], baselines[i]) for i in range(0, len(runs) - 1, 2)
        )
        for name, counts in found.items():
            print(name, dict(counts), flush=True)
        faults = {fault.name: fault for fault in FAULTS}
        for name, change in [*CHANGES.items()][1:]:
            run = made(root / name.replace(" ", "-"), given.seeds + 1, change)
            found[name] = Counter(outcome(run, baseline) for baseline in baselines)
            print(name, dict(found[name]), flush=True)
        for name in PLANTED:
            run = made(root / name, given.seeds + 1, (), faults[name]())
            title = f"planted: {faults[name].title}"
            found[title] = Counter(outcome(run, baseline) for baseline in baselines)
            print(title, dict(found[title]), flush=True)
    if given.out:
        given.out.write_text(json.dumps({k: dict(v) for k, v in found.items()}, indent=2))


if __name__ == "__main__":
    main()
