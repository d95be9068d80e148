"""Scores of membership guesses: records, patients, hospitals, groups, adversaries."""

import numpy as np
import pytest
from scipy.special import ndtr

from audit.core.adversaries import Adversary
from audit.core.guesses import MembershipGuess
from audit.core.randomness import named_generator
from audit.core.scores import Outcome, Score
from audit.scoring import (
    Origin,
    most_exposed,
    roc_points,
    score_groups,
    score_membership,
    score_strongest,
)
from audit.vault import MembershipTruth

ORIGIN = Origin(cell="eps-1", adversary="server", attack="some")


def names(count: int) -> tuple[str, ...]:
    return tuple(f"c{i}" for i in range(count))


def truth_of(
    member: np.ndarray,
    *,
    hospital: np.ndarray | None = None,
    **groups: np.ndarray,
) -> MembershipTruth:
    ids = names(len(member))
    where = np.full(len(member), "hospital-1") if hospital is None else hospital
    return MembershipTruth(
        member=dict(zip(ids, member.tolist(), strict=True)),
        hospital={i: str(h) if m else None for i, h, m in zip(ids, where, member, strict=True)},
        groups={
            column: dict(zip(ids, map(str, values), strict=True))
            for column, values in groups.items()
        },
    )


def coin(count: int, seed: int = 1) -> np.ndarray:
    return named_generator(seed, "coin").permutation(count) < count // 2


def found(scores: list[Score]) -> dict[tuple[str, str], Score]:
    return {(score.metric, score.slice): score for score in scores}


def guess_of(scores: np.ndarray, **more: object) -> MembershipGuess:
    return MembershipGuess(candidates=names(len(scores)), scores=scores, **more)  # type: ignore[arg-type]


def test_a_guess_is_scored_with_intervals_where_n_resolves_them() -> None:
    guess = guess_of(named_generator(1, "scores").standard_normal(1200))
    scores = found(score_membership(guess, truth_of(coin(1200)), ORIGIN))
    auc = scores["auc", "all"]
    assert auc.low is not None and auc.high is not None
    assert auc.low < 0.5 < auc.high
    assert auc.n == 1200
    assert scores["tpr_at_fpr_0.01", "all"].outcome is Outcome.EXECUTED
    assert scores["tpr_at_fpr_0.001", "all"].outcome is Outcome.NOT_RESOLVABLE
    assert scores["tpr_at_fpr_0.001", "all"].value is None


def test_swapped_truth_swaps_the_auc() -> None:
    member = np.arange(6) > 2
    guess = guess_of(np.arange(6.0))
    assert found(score_membership(guess, truth_of(member), ORIGIN))["auc", "all"].value == 1.0
    assert found(score_membership(guess, truth_of(~member), ORIGIN))["auc", "all"].value == 0.0


def test_a_guess_about_unknown_candidates_is_refused() -> None:
    guess = MembershipGuess(candidates=("c0", "x"), scores=np.zeros(2))
    with pytest.raises(ValueError, match="unknown candidates"):
        score_membership(guess, truth_of(np.array([True, False])), ORIGIN)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        score_membership(
            guess_of(np.array([np.nan, 0.0])), truth_of(np.array([True, False])), ORIGIN
        )


def test_the_advantage_is_scored_on_the_half_that_did_not_choose_the_threshold() -> None:
    member = coin(400)
    perfect = found(score_membership(guess_of(member * 1.0), truth_of(member), ORIGIN))
    assert perfect["advantage", "all"].value == 1.0
    assert perfect["advantage", "all"].n == 200
    noise = guess_of(named_generator(3, "noise").standard_normal(400))
    at_chance = found(score_membership(noise, truth_of(member), ORIGIN))["advantage", "all"]
    assert at_chance.low is not None and at_chance.high is not None
    assert at_chance.low < 0 < at_chance.high


def test_the_advantage_at_chance_covers_zero_as_often_as_it_says() -> None:
    """An interval at a threshold chosen on the same half would miss far more often."""
    missed = 0
    for repeat in range(200):
        rng = named_generator(repeat, "advantage-coverage")
        guess = guess_of(rng.standard_normal(60))
        score = found(score_membership(guess, truth_of(coin(60, repeat)), ORIGIN))
        one = score["advantage", "all"]
        if one.outcome is Outcome.EXECUTED:
            assert one.low is not None and one.high is not None
            missed += not one.low <= 0 <= one.high
    assert missed <= 18, missed  # 99.5 % quantile of 200 misses at 5 %


def test_a_patient_is_scored_by_all_records_together() -> None:
    """Noise that hides one record averages out over a patient's twenty."""
    patients = np.repeat(np.arange(40), 20)
    member = np.repeat(coin(40), 20)
    noise = named_generator(4, "patients").standard_normal(800) * 2
    truth = truth_of(member, patient=patients)
    scores = found(score_membership(guess_of(member + noise), truth, ORIGIN))
    records, whole = scores["auc", "all"].value, scores["auc", "patients"].value
    assert records is not None and whole is not None
    assert records < 0.75
    assert whole > 0.9
    assert scores["auc", "patients"].n == 40


def test_hospitals_are_scored_as_wholes_and_few_of_them_say_little() -> None:
    member = coin(600)
    where = np.array([f"hospital-{1 + i % 3}" for i in range(600)])
    noise = named_generator(5, "hospitals").standard_normal(600)
    truth = truth_of(member, hospital=where)
    score = found(score_membership(guess_of(member + noise), truth, ORIGIN))["auc", "hospitals"]
    assert score.value == 1.0
    assert score.low is not None and score.low < 0.5
    assert score.n is not None and score.n <= 7


def test_naming_the_hospital_is_scored_among_members_only() -> None:
    member = coin(300)
    where = np.array([f"hospital-{1 + i % 3}" for i in range(300)])
    said = np.where(member, where, "hospital-1")
    truth = truth_of(member, hospital=where)
    right = guess_of(np.zeros(300), hospitals=tuple(said.tolist()))
    score = found(score_membership(right, truth, ORIGIN))["hospital_accuracy", "all"]
    assert (score.value, score.n) == (1.0, 150)
    assert score.chance == pytest.approx(1 / 3, abs=0.05)
    always = guess_of(np.zeros(300), hospitals=("hospital-2",) * 300)
    score = found(score_membership(always, truth, ORIGIN))["hospital_accuracy", "all"]
    assert score.value is not None and score.chance is not None
    assert score.value <= score.chance


def test_a_group_that_leaks_is_found_among_many_that_do_not() -> None:
    member = coin(1000)
    classes = np.arange(1000) % 10
    scores = named_generator(6, "groups").standard_normal(1000)
    scores[(classes == 3) & member] += 2
    guesses = {(Adversary.RECIPIENT, "some"): guess_of(scores)}
    truth = truth_of(member, **{"class": classes})
    result = score_groups(guesses, truth, "eps-1")
    significant = {g.group for g in result.groups if g.adjusted_p_value < 0.05}
    assert significant - {"hospital-1"} == {"3"}, "the hospital holds all that leak"
    (worst,) = [s for s in result.worst if s.slice == "worst-class"]
    assert worst.value is not None and worst.low is not None and worst.low > 0.5
    assert "class 3" in (worst.reason or "")


def test_no_group_of_a_null_is_significant_more_often_than_holm_allows() -> None:
    alarms = 0
    for repeat in range(200):
        scores = named_generator(repeat, "holm-null").standard_normal(200)
        guesses = {(Adversary.RECIPIENT, "some"): guess_of(scores)}
        truth = truth_of(coin(200, repeat), **{"class": np.arange(200) % 4})
        groups = score_groups(guesses, truth, "eps-1").groups
        alarms += any(g.adjusted_p_value < 0.05 for g in groups)
    assert alarms <= 18, alarms


def test_the_worst_group_s_joint_interval_covers_the_largest_true_value() -> None:
    """Under the null and where one group leaks by a known amount: AUC of a normal shift."""
    for shift, largest in ((0.0, 0.5), (1.0, float(ndtr(1 / np.sqrt(2))))):
        missed = 0
        for repeat in range(200):
            member = coin(200, repeat)
            classes = np.arange(200) % 4
            scores = named_generator(repeat, "worst-coverage").standard_normal(200)
            scores[(classes == 2) & member] += shift
            truth = truth_of(member, **{"class": classes})
            result = score_groups({(Adversary.QUERY, "some"): guess_of(scores)}, truth, "eps-1")
            (worst,) = [s for s in result.worst if s.slice == "worst-class"]
            assert worst.low is not None and worst.high is not None
            missed += not worst.low <= largest <= worst.high
        assert missed <= 18, (shift, missed)


def test_small_groups_are_suppressed_and_only_counted() -> None:
    member = np.arange(100) % 2 == 0
    sites = np.array(["large"] * 88 + ["tiny-clinic"] * 12)
    guesses = {(Adversary.RECIPIENT, "some"): guess_of(np.arange(100.0))}
    result = score_groups(guesses, truth_of(member, site=sites), "eps-1")
    assert {g.group for g in result.groups if g.column == "site"} == {"large"}
    assert all(g.members >= 10 and g.nonmembers >= 10 for g in result.groups)
    shared = [s.model_dump_json() for s in (*result.groups, *result.worst)]
    assert not any("tiny-clinic" in line for line in shared)
    assert any("1 groups below 10" in line for line in shared)


def test_an_adversary_is_as_strong_as_its_strongest_attack_and_as_those_who_see_less() -> None:
    member = coin(400)
    noise = named_generator(7, "strongest").standard_normal((2, 400))
    guesses = {
        (Adversary.RECIPIENT, "weak"): guess_of(noise[0]),
        (Adversary.QUERY, "strong"): guess_of(noise[1] + 2 * member),
        (Adversary.SECAGG_SERVER, "weak"): guess_of(noise[0]),
    }
    scores = score_strongest(guesses, truth_of(member), "eps-1")
    by_adversary = {s.adversary: s for s in scores if s.metric == "auc"}
    assert set(by_adversary) == {"query", "recipient", "secagg-server"}
    assert all(s.by == "strong" for s in by_adversary.values())
    single, of_two = by_adversary["query"], by_adversary["recipient"]
    assert single.value == of_two.value
    assert single.high is not None and of_two.high is not None
    assert of_two.high > single.high, "choosing among two widens the interval"


def test_a_stronger_adversary_inherits_the_best_version_of_an_attack() -> None:
    member = coin(400)
    noise = named_generator(9, "versions").standard_normal((2, 400))
    guesses = {
        (Adversary.QUERY, "same"): guess_of(noise[0]),
        (Adversary.RECIPIENT, "same"): guess_of(noise[0] + 2 * member),
        (Adversary.SERVER, "other"): guess_of(noise[1]),
    }
    scores = score_strongest(guesses, truth_of(member), "eps-1")
    value = {s.adversary: s.value for s in scores if s.metric == "auc"}
    assert value["server"] == value["recipient"]


def test_the_strongest_of_many_nulls_covers_one_half() -> None:
    missed = 0
    for repeat in range(200):
        rng = named_generator(repeat, "strongest-null")
        guesses = {(Adversary.QUERY, f"a{k}"): guess_of(rng.standard_normal(100)) for k in range(8)}
        scores = score_strongest(guesses, truth_of(coin(100, repeat)), "eps-1")
        (auc,) = [s for s in scores if s.metric == "auc"]
        assert auc.low is not None and auc.high is not None
        missed += not auc.low <= 0.5 <= auc.high
    assert missed <= 18, missed


def test_the_most_exposed_are_members_in_order_with_what_accusing_them_costs() -> None:
    member = np.arange(100) < 50
    scores = np.where(member, np.arange(100.0), 45.5)
    exposed = most_exposed(guess_of(scores), truth_of(member))
    assert [r["candidate"] for r in exposed[:3]] == ["c49", "c48", "c47"]
    rates = [r["false_positive_rate"] for r in exposed]
    assert rates[0] == 0.0
    assert rates[-1] == 1.0
    assert len(exposed) == 20


def test_a_stored_roc_ends_where_all_are_called_members_and_never_falls() -> None:
    member = coin(500)
    scores = named_generator(8, "roc").standard_normal(500) + member
    points = roc_points(guess_of(scores), truth_of(member))
    assert points[-1] == (1.0, 1.0)
    assert points == sorted(points)
    false, true = np.array(points).T
    for level in (0.02, 0.1, 0.5):
        exact = (scores[member] > np.quantile(scores[~member], 1 - level)).mean()
        assert true[false <= level][-1] == pytest.approx(exact, abs=0.05)
