"""The gate on real runs: retrained seeds of one recipe against each other, changed recipes, and
faulty code that nobody marked.

Small federations on scikit-learn's digits, a hospital each third of them, with fresh noise,
attacked by a few cheap attacks and two canary audits. Every ordered pair of unchanged seeds is one
approved run and one candidate: pairs share runs, so they are not independent, and disjoint pairs
are counted beside. Each changed recipe is gated against every unchanged seed. Faulty code trains
the models and the audit cells, and its runs carry no mark: only what is measured can show it.

    python -m scripts.gate_real_runs --seeds 15 --out gate_real.json
"""

import argparse
import itertools
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from attacks.attack import Budget
from audit.core.errors import AuditError
from audit.core.loading import load_config
from audit.formats.gate import Decision
from audit.gate.approval import approve
from audit.gate.runs import gate_runs
from audit.pipeline.attack import AttackOptions, attack
from audit.pipeline.audit_cells import AuditEffort
from audit.pipeline.train import TrainOptions, train
from audit.store.run import RunDirectory
from training.data.builtin import load_digits
from training.data.spec import DataSpec
from training.faults import Fault, NoClipping, RecordsTwice, ScaledNoise
from training.randomness import NoiseStream

ATTACKS = ("loss", "modified-entropy", "canary-update", "canary-sum")
RECIPE = (
    "privacy.noise_key=null",
    "probes.repeats=0",
    "model={name: mlp, options: {hidden: 64}}",
    "partition.method=site",
)
CHANGES: Mapping[str, tuple[str, ...]] = {
    "epsilon 2 to 8": ("privacy.epsilons=[8, .inf]",),
    "epsilon 2 to 2.02": ("privacy.epsilons=[2.02, .inf]",),
    "aggregation switched to plain": ("aggregation.protocol=plain",),
    "noise from a fixed key": (f"privacy.noise_key={'5e' * 32}",),
    "twice the rounds at the same target epsilon": ("schedule.rounds=6",),
}
CANARIES = 256
"""Of each private cell, in all that is not about their number."""

Counts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class TwentiethOfNoise(Fault):
    """The noise of every hospital is a twentieth of what was agreed."""

    name: ClassVar[str] = "twentieth-of-noise"
    title: ClassVar[str] = "a twentieth of the noise"

    def noise(self, key: bytes, client: str, session: str) -> NoiseStream:
        """Return noise of a twentieth of the size."""
        del client, session
        return ScaledNoise(key, 0.05)


FAULTY: tuple[Fault | None, ...] = (None, NoClipping(), TwentiethOfNoise(), RecordsTwice())


@dataclass
class Study:
    """Runs in a scratch folder, and what the gate says of them.

    Args:
        root: The folder.
        found: What changed to the number of gates for each outcome.
    """

    root: Path
    found: Counts = field(default_factory=dict)

    def write_data(self) -> tuple[Path, Path]:
        """Write the digits, and the same with every record of one hospital stored twice."""
        digits = load_digits(DataSpec(name="digits"), self.root)
        sites = np.arange(len(digits.y)) % 3
        rows = np.concatenate([np.arange(len(digits.y)), np.flatnonzero(sites == 0)])
        once, twice = self.root / "digits.npz", self.root / "digits-twice.npz"
        np.savez(once, x=digits.x, y=digits.y, site=sites)
        np.savez(twice, x=digits.x[rows], y=digits.y[rows], site=sites[rows])
        return once, twice

    def made(
        self,
        name: str,
        seed: int,
        change: Sequence[str] = (),
        *,
        data: Path | None = None,
        fault: Fault | None = None,
        canaries: int = CANARIES,
    ) -> RunDirectory:
        """Train and attack one run."""
        source = (
            f"data={{name: npz, path: {data or self.root / 'digits.npz'}, value_range: [0, 16], "
            "holdout_fraction: 0.4, auxiliary_fraction: 0.2}"
        )
        settings = load_config("smoke", [source, *RECIPE, f"seed={seed}", *change])
        run = train(settings, self.root / name, TrainOptions(fault=fault))
        attack(
            run,
            AttackOptions(
                only=ATTACKS,
                budget=Budget.QUICK,
                controls=True,
                fault=fault,
                effort=AuditEffort(canaries=canaries, least=2),
            ),
        )
        return run

    def approved(self, name: str, runs: Sequence[RunDirectory]) -> Path:
        """Approve runs and return the baseline."""
        path = self.root / f"{name}.json"
        approve(runs, path, by="gate_real_runs", reason="what is measured here")
        return path

    def count(self, title: str, gates: Sequence[tuple[Sequence[RunDirectory], Path]]) -> None:
        """Gate pairs of runs and baselines; note how they end, and by which rules they fail."""
        counted: Counter[str] = Counter(gates=len(gates))
        for runs, baseline in gates:
            counted.update(outcome(runs, baseline))
        self.found[title] = dict(counted)
        print(title, self.found[title], flush=True)


def outcome(runs: Sequence[RunDirectory], baseline: Path) -> list[str]:
    """Return what the gate says and what failed, or the exit code of its refusal."""
    try:
        record = gate_runs(runs, baseline=baseline)
    except AuditError as error:
        return [f"refused ({error.exit_code})"]
    failed = {check.rule for check in record.checks if check.decision is Decision.FAIL}
    return [record.decision.value, *(f"by {rule}" for rule in sorted(failed))]


@contextmanager
def unmarked() -> Iterator[None]:
    """Let runs with faults pass for sound ones, as they would where nobody knows of a fault."""
    mark: Callable[..., None] = RunDirectory.mark_faults
    RunDirectory.mark_faults = lambda _self, _names: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        RunDirectory.mark_faults = mark  # type: ignore[method-assign]


def changed_recipes(study: Study, seeds: int, twice: Path) -> None:
    """Gate unchanged seeds against each other and every changed recipe against all of them."""
    runs = [study.made(f"seed-{seed}", seed) for seed in range(1, seeds + 1)]
    baselines = [study.approved(run.path.name, [run]) for run in runs]
    pairs = itertools.permutations(range(seeds), 2)
    study.count("nothing", [([runs[j]], baselines[i]) for i, j in pairs])
    disjoint = range(0, seeds - 1, 2)
    study.count("nothing, disjoint pairs", [([runs[i + 1]], baselines[i]) for i in disjoint])
    for title, change in CHANGES.items():
        run = study.made(title.replace(" ", "-"), seeds + 1, change)
        study.count(title, [([run], baseline) for baseline in baselines])
    run = study.made("stored-twice", seeds + 1, data=twice)
    study.count("a hospital's records stored twice", [([run], b) for b in baselines])
    run = study.made("marked", seeds + 1, fault=NoClipping())
    study.count("no clipping, marked as planted", [([run], baseline) for baseline in baselines])


def faulty_code(study: Study, seeds: int, sizes: Sequence[int], pooled: int) -> None:
    """Gate runs of faulty code, alone and pooled, by the number of canaries."""
    for size, fault in itertools.product(sizes, FAULTY):
        name = f"{fault.name if fault else 'sound'}-{size}"
        with unmarked():
            runs = [
                study.made(f"{name}-{n}", 100 + n, fault=fault, canaries=size) for n in range(seeds)
            ]
        if fault is None:
            groups = [runs[i : i + pooled] for i in range(0, seeds - pooled + 1, pooled)]
            alone = [study.approved(run.path.name, [run]) for run in runs]
            together = [study.approved(f"{name}-together-{i}", g) for i, g in enumerate(groups)]
            study.count(
                f"nothing, {size} canaries, 1 seed",
                [([runs[j]], alone[i]) for i, j in itertools.permutations(range(seeds), 2)],
            )
            continue
        title = f"{fault.title}, {size} canaries"
        study.count(f"{title}, 1 seed", [([run], alone[0]) for run in runs])
        study.count(
            f"{title}, {pooled} seeds",
            [(list(some), together[0]) for some in itertools.combinations(runs, pooled)],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=15, help="of unchanged runs")
    parser.add_argument("--faulty", type=int, default=9, help="runs of each fault")
    parser.add_argument("--canaries", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--pooled", type=int, default=3, help="seeds pooled into one gate")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        study = Study(Path(scratch))
        os.environ["AUDIT_LEDGER"] = str(study.root / "ledger")
        _, twice = study.write_data()
        if given.seeds > 1:
            changed_recipes(study, given.seeds, twice)
        if given.faulty >= given.pooled:
            faulty_code(study, given.faulty, given.canaries, given.pooled)
    if given.out:
        given.out.write_text(json.dumps(study.found, indent=2) + "\n")


if __name__ == "__main__":
    main()
