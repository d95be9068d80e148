"""How far gradient canaries reach: bounds against the number of canaries, where the truth is known.

Full-batch federations of the project's own code on scikit-learn's digits, one epsilon after the
other for so many seconds on one core; then the bound from the first n canaries, how often disjoint
batches of n canaries exceed the truth, and the same from ideal Gaussian scores.

Disjoint batches are few, so their mean resolves little at small n. A canary's coin adds one unit
to its own score and to no other (tests take one away and find the rest unchanged). So what is left
of a score without its coin is its noise, and coins tossed anew over the noise that was really there
give as many batches as wanted: the pipeline's own noise, without the luck of one toss. Small n
takes many, since few of its batches show anything at all.

    python scripts/audit_power.py --seconds 120 --out power.json --figure docs/images/audit-power

With ``--scores DIR`` what was measured is kept, and a second call asks more of the same scores.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from attacks.attack import Budget
from attacks.auditing import gradient_canary
from audit.core.adversaries import Adversary
from audit.core.config import Config
from audit.core.loading import load_config
from audit.disclosure import Disclosure
from audit.disclosure.canaries import canary_truth
from audit.executor import execute
from audit.formats.files import read_json
from audit.pipeline.audit_cells import AuditCells, AuditEffort
from audit.pipeline.canary_trials import run_trials
from audit.pipeline.train import TrainOptions, train
from audit.stats import epsilon_of_mu, gaussian_dp_epsilon
from audit.store.run import RunDirectory
from audit.vault import Vault
from reports.audit_figures import draw_power

EPSILONS = (1.0, 2.0, 4.0, 10.0)
SIZES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
DELTA, CONFIDENCE = 1e-5, 0.95
ROUNDS = 10
BATCHES = {100: 100_000, 300: 50_000}
"""Simulated batches of ideal scores, and of measured noise under new coins, by n."""
FEW_BATCHES = 2_000
"""The same for every other n."""


def config(epsilon: float) -> Config:
    return load_config(
        "demo",
        [
            "name=audit-power",
            f"privacy.epsilons=[{epsilon}]",
            "privacy.noise_key=null",
            f"schedule={{rounds: {ROUNDS}, local_steps: 1, batch_size: 360, learning_rate: 1.0}}",
            "model={name: hog, options: {bias: false, lift: {features: 2000}}}",
            "per_epsilon={}",
            "probes.repeats=0",
        ],
    )


def collect(
    epsilon: float, seconds: float
) -> tuple[dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]], float, float]:
    """Run audit cells for so long; return scores and truth by adversary, mu, and the time taken."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["AUDIT_LEDGER"] = str(Path(scratch) / "ledger")
        settings = config(epsilon)
        run: RunDirectory = train(settings, Path(scratch) / "run", TrainOptions())
        (cell,) = settings.cells
        cells = AuditCells(run, settings, AuditEffort(canaries=0, least=400))
        jobs = cells.jobs(cell)
        started, done = time.monotonic(), 0
        while done < len(jobs) and time.monotonic() - started < seconds:
            execute(jobs[done : done + 2], run_trials, cells.store(cell), workers=1, batch=2)
            done += 2
        took = time.monotonic() - started
        keys = tuple(job.key for job in jobs[:done])
        vault, truth = Vault(run.secrets), dict[str, bool]()
        for key in keys:
            truth |= canary_truth(key, vault.canaries(cell.id, key), len(settings.clients))
        disclosure = Disclosure(run, settings, cell)
        found = {}
        for adversary, build in (
            (Adversary.SERVER, gradient_canary.update),
            (Adversary.SECAGG_SERVER, gradient_canary.total),
        ):
            view = disclosure.canary_view(adversary, keys, outliers=False)
            guess = build(Budget.STANDARD).guess(view, np.random.default_rng(0))
            inside = np.array([truth[name] for name in guess.candidates])
            found[adversary.value] = guess.scores, inside
        sigma = read_json(run.cell(cell.id).summary)["noise_multiplier"]
        return found, ROUNDS**0.5 / sigma, took


def kept(
    epsilon: float, seconds: float, folder: Path | None
) -> tuple[dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]], float, float]:
    """Return what ``collect`` does, from the folder where it lies there already."""
    file = folder / f"eps-{epsilon:g}.npz" if folder else None
    if file is None or not file.exists():
        found, mu, took = collect(epsilon, seconds)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            arrays = {
                f"{adversary}.{name}": array
                for adversary, pair in found.items()
                for name, array in zip(("scores", "inside"), pair, strict=True)
            }
            np.savez(file, mu=mu, took=took, **arrays)  # type: ignore[arg-type]
        return found, mu, took
    with np.load(file) as stored:
        adversaries = [name.removesuffix(".scores") for name in stored if name.endswith(".scores")]
        found = {name: (stored[f"{name}.scores"], stored[f"{name}.inside"]) for name in adversaries}
        return found, float(stored["mu"]), float(stored["took"])


def bound(scores: NDArray[np.float64], inside: NDArray[np.bool_]) -> float:
    called = scores > 0
    return counted_bound(
        int((called & inside).sum()),
        int(inside.sum()),
        int((called & ~inside).sum()),
        int((~inside).sum()),
    )


@cache
def counted_bound(hits: int, members: int, alarms: int, nonmembers: int) -> float:
    return gaussian_dp_epsilon(
        hits, members, alarms, nonmembers, delta=DELTA, confidence=CONFIDENCE
    )


def ideal(mu: float, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return bounds of ideal Gaussian scores of n canaries, one for each simulated batch."""
    return simulated(lambda: rng.standard_normal(n), 1 / mu, n, rng)


def simulated(
    noise: Callable[[], NDArray[np.float64]], deviation: float, n: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return bounds of batches: a coin of one unit, and noise of so many units."""
    bounds = []
    for _ in range(BATCHES.get(n, FEW_BATCHES)):
        inside = rng.random(n) < 0.5
        bounds.append(bound(inside - 0.5 + deviation * noise(), inside))
    return np.array(bounds)


def ratio_error(values: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return the standard error of the ratio of two independent means (delta method)."""
    parts = [v.std() / v.mean() / len(v) ** 0.5 for v in (values, others) if v.mean()]
    return float(values.mean() / others.mean() * np.hypot(*parts)) if len(parts) == 2 else 0.0


def measured(
    scores: NDArray[np.float64], inside: NDArray[np.bool_], mu: float, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return, for each n that fits, the bounds of disjoint batches beside the truth."""
    truth, lines = epsilon_of_mu(mu, DELTA), []
    noise = scores - np.where(inside, 0.5, -0.5)
    order = rng.permutation(len(scores))
    for n in (*(size for size in SIZES if size <= len(scores)), len(scores)):
        batches = [order[i * n : (i + 1) * n] for i in range(len(order) // n)]
        bounds = np.array([bound(scores[b], inside[b]) for b in batches])
        perfect = ideal(mu, n, rng)
        reached = float(perfect.mean())
        anew = simulated(lambda n=n: rng.choice(noise, n, replace=False), 1.0, n, rng)  # type: ignore[misc]
        lines.append(
            {
                "n": n,
                "batches": len(batches),
                "mean": float(bounds.mean()),
                "of_truth": float(bounds.mean() / truth),
                "of_ideal": float(bounds.mean() / reached) if reached else None,
                "ideal": reached,
                "exceed": int((bounds > truth).sum()),
                "anew": float(anew.mean()),
                "anew_of_ideal": float(anew.mean() / reached) if reached else None,
                "anew_error": ratio_error(anew, perfect) if reached else None,
                "anew_exceed": float((anew > truth).mean()),
            }
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scores", type=Path, help="Folder that keeps what was measured.")
    parser.add_argument("--figure", type=Path, help="Without its ending.")
    given = parser.parse_args()
    rng, results = np.random.default_rng(1), []
    for epsilon in EPSILONS:
        found, mu, took = kept(epsilon, given.seconds, given.scores)
        for adversary, (scores, inside) in found.items():
            far = mu if adversary == "server" else mu / 3**0.5
            spread = scores[~inside].std()
            observed = float((scores[inside].mean() - scores[~inside].mean()) / spread)
            result = {
                "claimed": epsilon,
                "adversary": adversary,
                "truth": epsilon_of_mu(far, DELTA),
                "mu": far,
                "observed_mu": observed,
                "observed_error": float(((4 + far**2) / len(scores)) ** 0.5),
                "seconds": took,
                "sizes": measured(scores, inside, far, rng),
            }
            results.append(result)
            print(
                f"epsilon {epsilon:g}, {adversary}: truth {result['truth']:.3f}, mu {far:.4f}, "
                f"observed {observed:.4f} +- {result['observed_error']:.4f}, {took:.0f} s"
            )
            for line in result["sizes"]:
                print(
                    f"  n {line['n']:>7,}: bound {line['mean']:.3f}, {line['of_truth']:.0%} of the "
                    f"truth, ideal {line['ideal']:.3f}, above the truth {line['exceed']} of "
                    f"{line['batches']}; coins anew {line['anew']:.3f}, "
                    f"{line['anew_of_ideal'] or 0:.1%} of ideal "
                    f"+- {line['anew_error'] or 0:.1%}, above {line['anew_exceed']:.2%}"
                )
    if given.out:
        given.out.write_text(json.dumps(results, indent=2))
    if given.figure:
        draw_power(results, given.figure)


if __name__ == "__main__":
    main()
