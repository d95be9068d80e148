"""The likelihood ratio whose gap and spread come from candidates of like difficulty."""

import numpy as np
import pytest
from scipy import stats

from attacks.membership.likelihood import side
from attacks.membership.lira_local import local_lira_scores
from attacks.membership.lira_online import lira_online_scores
from audit.core.randomness import named_generator
from audit.stats import auc, auc_interval

Halves = tuple[np.ndarray, np.ndarray]


def world(seed: int, *, models: int, candidates: int, gap: float) -> tuple[np.ndarray, ...]:
    """Log-odds whose gap and spread grow with difficulty; the last model is the target."""
    rng = named_generator(seed, "lira-local")
    level = rng.uniform(-2, 6, candidates)
    spread = np.exp(-level / 6)
    half = [rng.permutation(candidates) < candidates // 2 for _ in range(models // 2)]
    trained_on = np.array([m for h in half for m in (h, ~h)])
    member = rng.permutation(candidates) < candidates // 2
    every = np.vstack([trained_on, member])
    odds = level + spread * (rng.standard_normal(every.shape) + gap * every)
    return odds[:-1], trained_on, odds[-1], member


def scores(
    odds: np.ndarray, trained_on: np.ndarray, target: np.ndarray, **more: float
) -> np.ndarray:
    inside, outside = side(odds, trained_on), side(odds, ~trained_on)
    return local_lira_scores(target, inside, outside, **more)  # type: ignore[arg-type]


def test_it_is_the_ratio_written_out_candidate_by_candidate() -> None:
    odds, trained_on, target, _ = world(1, models=4, candidates=30, gap=1.0)
    found = scores(odds, trained_on, target, neighbours=8, variance_weight=5.0)
    inside, outside = (
        np.array([odds[m, i].mean() for i, m in enumerate(masks.T)])
        for masks in (trained_on, ~trained_on)
    )
    squares = np.array(
        [
            odds[m, i].var() * m.sum() + odds[~m, i].var() * (~m).sum()
            for i, m in enumerate(trained_on.T)
        ]
    )
    order = np.argsort((inside + outside) / 2)
    for place, i in enumerate(order):
        start = min(max(place - 4, 0), 30 - 8)
        near = order[start : start + 8]
        gap = (inside - outside)[near].mean()
        spread = (squares / 2)[near].mean()
        without = (2 * (inside[i] - gap) + 2 * outside[i]) / 4
        scale = np.sqrt((5.0 * spread + squares[i]) / 7.0 * (1 + 1 / 4))
        expected = stats.t.logpdf(target[i], 7.0, without + gap, scale) - stats.t.logpdf(
            target[i], 7.0, without, scale
        )
        assert found[i] == pytest.approx(expected)


def test_with_four_references_it_sees_what_candidates_alone_do_not() -> None:
    ahead = []
    for seed in range(12):
        odds, trained_on, target, member = world(seed, models=4, candidates=600, gap=0.7)
        ours = scores(odds, trained_on, target)
        lira = lira_online_scores(target, side(odds, trained_on), side(odds, ~trained_on))
        ahead.append(auc(ours[member], ours[~member]) - auc(lira[member], lira[~member]))
    assert np.mean(ahead) > 3 * np.std(ahead) / np.sqrt(len(ahead))


def test_without_a_gap_it_scores_chance() -> None:
    odds, trained_on, target, member = world(3, models=4, candidates=600, gap=0.0)
    found = scores(odds, trained_on, target)
    interval = auc_interval(found[member], found[~member], 0.999)
    assert interval.low <= 0.5 <= interval.high


def test_fewer_candidates_than_neighbours_share_one_gap() -> None:
    odds, trained_on, target, _ = world(4, models=4, candidates=6, gap=1.0)
    assert np.isfinite(scores(odds, trained_on, target, neighbours=200)).all()
