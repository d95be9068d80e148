"""Scores of guesses at a hidden attribute, beside what imputation gets without the model."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core.guesses import AttributeGuess
from audit.core.scores import Score
from audit.scoring.origin import CONFIDENCE, Origin, interval_fields

ATTRIBUTE_METRICS = ("attribute_accuracy", "attribute_advantage", "attribute_advantage_gap")


def score_attribute(
    guess: AttributeGuess,
    baseline: AttributeGuess | None,
    category: Mapping[str, int],
    member: Mapping[str, bool],
    origin: Origin,
) -> list[Score]:
    """Score a guess for members and for non-members apart.

    The advantage is the guess' accuracy minus the baseline's on the same records: what the released
    model adds to imputation. What it adds for non-members too, it teaches about everyone; only the
    gap between the two is due to having been trained on. Intervals are about records, for this one
    model and these two fitted attacks.

    Args:
        guess: Categories by pseudonym.
        baseline: The guess without the model; None: this is the baseline, and only its accuracy is
            scored.
        category: The truth.
        member: Which candidates were trained on.
        origin: Where the guess came from.

    Raises:
        ValueError: The guess, the baseline and the truth name different candidates, or members or
            non-members are missing.

    Source:
        Jayaraman and Evans 2022, arXiv:2209.01292, for imputation as the yardstick; Yeom et al.
        2018, arXiv:1709.01604, definition 5, for members against others.
    """
    named = set(guess.candidates)
    if named != set(category) or named != set(member):
        raise ValueError("the guess and the truth name different candidates")
    inside = np.array([member[name] for name in guess.candidates])
    truth = np.array([category[name] for name in guess.candidates])
    right = guess.categories == truth
    other = None if baseline is None else _right(baseline, guess.candidates, truth)
    scores: list[Score] = []
    advantages: list[stats.Interval] = []
    for name, chosen in (("members", inside), ("nonmembers", ~inside)):
        if not chosen.any():
            raise ValueError(f"there are no {name} among the candidates")
        chance = _constant(truth[chosen]) if other is None else float(other[chosen].mean())
        scores.append(
            origin.score(
                "attribute_accuracy",
                slice=name,
                chance=chance,
                ceiling=1.0,
                **interval_fields(
                    stats.clopper_pearson_interval(
                        int(right[chosen].sum()), int(chosen.sum()), CONFIDENCE
                    )
                ),
            )
        )
        if other is not None:
            advantages.append(_advantage(right[chosen], other[chosen]))
            fields = interval_fields(advantages[-1])
            scores.append(
                origin.score(
                    "attribute_advantage", slice=name, chance=0.0, ceiling=1 - chance, **fields
                )
            )
    if advantages:
        gap = stats.difference_interval(*advantages)
        scores.append(origin.score("attribute_advantage_gap", chance=0.0, **interval_fields(gap)))
    return scores


def _right(
    guess: AttributeGuess, candidates: tuple[str, ...], truth: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return where another guess is right, in the order of these candidates."""
    said = dict(zip(guess.candidates, guess.categories.tolist(), strict=True))
    if set(said) != set(candidates):
        raise ValueError("the guess and its baseline name different candidates")
    right: NDArray[np.bool_] = np.array([said[name] for name in candidates]) == truth
    return right


def _advantage(right: NDArray[np.bool_], other: NDArray[np.bool_]) -> stats.Interval:
    return stats.paired_difference_interval(
        int((right & ~other).sum()), int((other & ~right).sum()), len(right), CONFIDENCE
    )


def _constant(truth: NDArray[np.int64]) -> float:
    """Return the accuracy of the better of the two constant guesses."""
    share = float(truth.mean())
    return max(share, 1 - share)
