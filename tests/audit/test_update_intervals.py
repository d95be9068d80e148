"""Intervals of inversion's means: right for how victims are really drawn.

The hospitals of a run are given, and each probe takes records of its own from each of them at
random (`audit.pipeline.victims`). So what varies is which records an update holds, and what is
estimated is the mean over the records of these hospitals: whole updates are resampled.
"""

import numpy as np
import pytest
from scipy import stats

from audit.scoring.probes import mean_over_updates

SIZES = [pytest.param(200, id="quick"), pytest.param(4000, id="slow", marks=pytest.mark.slow)]
HOSPITALS, REPEATS, BATCH, RECORDS = 3, 5, 4, 300


def drawn(rng: np.random.Generator, values: np.ndarray, shared: float) -> list[np.ndarray]:
    """Values of every update: records without replacement, and what they have in common."""
    updates = []
    for own in values:
        chosen = rng.permutation(own)[: REPEATS * BATCH].reshape(REPEATS, BATCH)
        updates += list(chosen + shared * rng.normal(size=(REPEATS, 1)))
    return updates


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.parametrize("apart", [0.0, 0.6, 3.0], ids=["alike", "uneven", "very uneven"])
def test_means_cover_the_hospitals_that_there_are_by_whole_updates(runs, apart):
    rng = np.random.default_rng(23)
    values = rng.normal(size=(HOSPITALS, RECORDS)) + apart * np.arange(HOSPITALS)[:, None]
    truth, hits, naive, few, widths = values.mean(), [], [], [], []
    for _ in range(runs):
        updates = drawn(rng, values, shared=0.8)
        found = mean_over_updates(updates, limits=(-100, 100), rng=rng)
        assert found.n == HOSPITALS * REPEATS
        hits.append(found.low <= truth <= found.high)
        every = np.concatenate(updates)
        naive.append(abs(every.mean() - truth) <= 1.96 * every.std() / len(every) ** 0.5)
        means = every.reshape(HOSPITALS, -1).mean(axis=1)
        low, high = np.quantile(rng.choice(means, (200, HOSPITALS)).mean(axis=1), [0.025, 0.975])
        few.append(low <= truth <= high)
        half = stats.t.ppf(0.975, HOSPITALS - 1) * means.std(ddof=1) / HOSPITALS**0.5
        widths.append(2 * half / (found.high - found.low))
    assert sum(hits) >= stats.binom.ppf(0.001, runs, 0.93)
    if not apart:  # records for themselves are too sure, and so is a bootstrap of three hospitals
        assert np.mean(naive) < 0.85 and np.mean(few) < 0.85
    assert np.mean(widths) > 1.5  # what covers with three hospitals is too wide to say anything
