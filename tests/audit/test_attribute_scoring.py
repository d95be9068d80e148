"""Guesses at a hidden attribute, scored against the truth and against imputation."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from audit.core.guesses import AttributeGuess
from audit.core.randomness import named_generator
from audit.core.scores import Score
from audit.formats.guesses import read_guess, write_guess
from audit.scoring import ATTRIBUTE_METRICS, Origin, score_attribute

ORIGIN = Origin(cell="eps-1", adversary="query", attack="some")
NAMES = tuple(f"c{i}" for i in range(600))
MEMBER = {name: i < 400 for i, name in enumerate(NAMES)}
TRUTH = named_generator(1, "attribute").integers(0, 2, 600)
CATEGORY = {name: int(c) for name, c in zip(NAMES, TRUTH, strict=True)}


def guess(wrong: np.ndarray) -> AttributeGuess:
    """A guess that is wrong where it is told to be."""
    categories = np.where(wrong, 1 - TRUTH, TRUTH).astype(np.int64)
    return AttributeGuess(candidates=NAMES, categories=categories, scores=categories * 1.0)


def some(share: float, *, seed: str) -> np.ndarray:
    return named_generator(1, seed).random(600) < share


def found(scores: list[Score]) -> dict[tuple[str, str], Score]:
    return {(score.metric, score.slice): score for score in scores}


def test_accuracy_stands_beside_the_measured_accuracy_of_imputation() -> None:
    wrong, imputed = some(0.1, seed="attack"), some(0.3, seed="baseline")
    scores = found(score_attribute(guess(wrong), guess(imputed), CATEGORY, MEMBER, ORIGIN))
    accuracy = scores["attribute_accuracy", "members"]
    assert accuracy.value == pytest.approx(1 - wrong[:400].mean())
    assert accuracy.chance == pytest.approx(1 - imputed[:400].mean())
    assert accuracy.n == 400
    assert scores["attribute_accuracy", "nonmembers"].n == 200


def test_an_advantage_is_the_paired_difference_and_the_gap_is_between_the_slices() -> None:
    imputed = some(0.4, seed="baseline")
    wrong = imputed.copy()
    wrong[:400] = False  # the model tells about members only
    scores = found(score_attribute(guess(wrong), guess(imputed), CATEGORY, MEMBER, ORIGIN))
    members = scores["attribute_advantage", "members"]
    others = scores["attribute_advantage", "nonmembers"]
    gap = scores["attribute_advantage_gap", "all"]
    assert members.value == pytest.approx(imputed[:400].mean())
    assert members.low is not None and members.low > 0.3
    assert others.value == 0 and others.low is not None and others.low < 0
    assert gap.value == pytest.approx(members.value)
    assert gap.low is not None and gap.low > 0.3
    assert gap.n == 600
    assert {s.better for s in scores.values()} == {"up"}


def test_what_a_model_teaches_about_everyone_leaves_no_gap() -> None:
    imputed, wrong = some(0.4, seed="baseline"), some(0.02, seed="attack")
    scores = found(score_attribute(guess(wrong), guess(imputed), CATEGORY, MEMBER, ORIGIN))
    gap = scores["attribute_advantage_gap", "all"]
    assert (scores["attribute_advantage", "nonmembers"].low or 0) > 0.2
    assert gap.low is not None and gap.high is not None
    assert gap.low < 0 < gap.high


def test_the_baseline_has_an_accuracy_only_and_the_best_constant_as_chance() -> None:
    scores = score_attribute(guess(some(0.3, seed="b")), None, CATEGORY, MEMBER, ORIGIN)
    assert {s.metric for s in scores} == set(ATTRIBUTE_METRICS[:1])
    share = TRUTH[:400].mean()
    assert found(scores)["attribute_accuracy", "members"].chance == pytest.approx(
        max(share, 1 - share)
    )


def test_other_candidates_or_none_of_a_kind_are_refused() -> None:
    one = guess(some(0.1, seed="a"))
    renamed = dataclasses.replace(one, candidates=("x", *NAMES[1:]))
    with pytest.raises(ValueError, match="different candidates"):
        score_attribute(renamed, None, CATEGORY, MEMBER, ORIGIN)
    with pytest.raises(ValueError, match="baseline name different"):
        score_attribute(one, renamed, CATEGORY, MEMBER, ORIGIN)
    with pytest.raises(ValueError, match="no nonmembers"):
        score_attribute(one, None, CATEGORY, dict.fromkeys(NAMES, True), ORIGIN)


def test_the_order_of_the_baseline_does_not_matter() -> None:
    one, other = guess(some(0.1, seed="a")), guess(some(0.3, seed="b"))
    turned = AttributeGuess(
        candidates=other.candidates[::-1],
        categories=other.categories[::-1],
        scores=other.scores[::-1],
    )
    first, second = (score_attribute(one, o, CATEGORY, MEMBER, ORIGIN) for o in (other, turned))
    assert first == second


def test_a_guess_comes_back_from_disk(tmp_path: Path) -> None:
    one = guess(some(0.1, seed="a"))
    write_guess(tmp_path, one)
    back = read_guess(tmp_path)
    assert isinstance(back, AttributeGuess)
    assert back.candidates == one.candidates
    assert back.categories.tobytes() == one.categories.tobytes()
    assert back.scores.tobytes() == one.scores.tobytes()
