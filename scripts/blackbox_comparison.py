"""Runs of `mnist_blackbox` beside the paper's way of estimating epsilon, and ideal scores.

    python scripts/blackbox_comparison.py RUN [RUN ...]

It opens the runs' secrets: what it prints is an analysis of finished audits, and none itself.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attacks.auditing.record_canary import ManyRuns
from audit import stats
from audit.core.adversaries import Adversary
from audit.core.randomness import named_generator
from audit.core.views import CanaryView
from audit.disclosure import Disclosure
from audit.disclosure.canaries import record_store, record_truth
from audit.formats.files import read_json, read_json_lines
from audit.store.run import RunDirectory
from audit.vault import Vault

STUDIES = 300
Scores = NDArray[np.float64]
Truth = NDArray[np.bool_]
Way = Callable[[Scores, Truth, float], float]


def bound(scores: Scores, truth: Truth, threshold: float, *, delta: float, each: float) -> float:
    """Return the Gaussian-DP bound of one threshold; ``each``: error of either rate."""
    called = scores >= threshold
    counts = (called & truth).sum(), truth.sum(), (called & ~truth).sum(), (~truth).sum()
    given = [int(count) for count in counts]
    return stats.gaussian_dp_epsilon(*given, delta=delta, confidence=1 - 2 * each)


def their_way(scores: Scores, truth: Truth, delta: float) -> float:
    """Return the largest bound over all thresholds, 5 % for each rate: what their code prints."""
    return max(bound(scores, truth, float(t), delta=delta, each=0.05) for t in scores)


def our_way(scores: Scores, truth: Truth, delta: float) -> float:
    """Return the bound of `canary-runs`."""
    view = CanaryView(
        background=None,  # type: ignore[arg-type]
        canaries=tuple(str(i) for i in range(len(scores))),
        labels=np.zeros(len(scores), dtype=np.int64),
        answers=-np.logaddexp(0, -scores)[:, None],
        cells=len(scores),
    )
    guess = ManyRuns().guess(view, np.random.default_rng())
    left = truth[len(truth) - len(guess.scores) :]
    return bound(guess.scores, left, np.nextafter(0, 1), delta=delta, each=0.025)


def compared(run: RunDirectory) -> None:
    """Print each cell of a run."""
    vault, delta = Vault(run.secrets), run.config.privacy.delta
    for found in read_json_lines(run.path / "audits.jsonl"):
        if found["attack"] != "canary-runs":
            continue
        cell = next(cell for cell in run.config.cells if cell.id == found["cell"])
        store = record_store(run.path, cell.id)
        keys = tuple(sorted(path.parent.name for path in store.folder.glob("*/result.safetensors")))
        view = Disclosure(run, run.config, cell).record_view(Adversary.QUERY, keys)
        assert view.answers is not None and view.labels is not None  # noqa: S101
        surely = view.answers[np.arange(len(keys)), view.labels]
        scores = surely - np.log(-np.expm1(surely))
        known = {
            k: v for key in keys for k, v in record_truth(key, vault.canaries(cell.id, key)).items()
        }
        truth = np.array([known[name] for name in view.canaries])
        spread = ((scores[truth].var(ddof=1) + scores[~truth].var(ddof=1)) / 2) ** 0.5
        mu = float(scores[truth].mean() - scores[~truth].mean()) / spread
        error = (1 / truth.sum() + 1 / (~truth).sum() + mu**2 / 2 / len(truth)) ** 0.5
        steps = cell.schedule.rounds * cell.schedule.local_steps
        whole = steps**0.5 / read_json(run.cell(cell.id).summary)["noise_multiplier"]
        right = np.array([store.read(key).arrays["correct"].mean() for key in keys])
        print(
            f"{run.path.name} {cell.id}: bound {found['lower_bound']:.2f} (n {found['n']}), "
            f"their way {their_way(scores, truth, delta):.2f} (n {len(keys)}), mu {mu:.2f} +- "
            f"{error:.2f} of {whole:.2f}, label {view.labels[0]}, accuracy with minus without "
            f"{right[truth].mean() - right[~truth].mean():+.4f}"
        )


def ideal(mu: float, runs: int, way: Way, *, delta: float) -> str:
    """Say what one way finds on Gaussian scores of a known mu."""
    rng, true = named_generator(1, "ideal", str(mu), str(runs)), stats.epsilon_of_mu(mu, delta)
    bounds = []
    for _ in range(STUDIES):
        truth = rng.random(runs) < 0.5
        bounds.append(way(rng.normal(size=runs) + mu * truth, truth, delta))
    found = np.array(bounds)
    return (
        f"ideal mu {mu:.3f} (epsilon {true:.2f}), {runs} runs, {way.__name__}: "
        f"mean {found.mean():.2f}, deviation {found.std(ddof=1):.2f}, "
        f"above the truth in {(found > true).mean():.1%}"
    )


def main() -> None:
    """Print all runs, then ideal scores at epsilon 10 and at what black boxes showed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path)
    for path in parser.parse_args().runs:
        compared(RunDirectory.open(path))
    for mu in (0.266, 0.498, 0.919, 1.80, 1.988):
        for way in (our_way, their_way):
            print(ideal(mu, 200, way, delta=1e-5))
    for runs in (1_000, 4_000):
        print(ideal(1.988, runs, our_way, delta=1e-5))


if __name__ == "__main__":
    main()
