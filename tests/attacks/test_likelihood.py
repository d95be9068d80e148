"""LiRA and BaVarIA against slow versions, and what they refuse."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from attacks.attack import Budget
from attacks.membership.bavaria import bavaria_scores, predictive_log_density
from attacks.membership.likelihood import Side, log_odds, log_probability, side
from attacks.membership.lira_offline import lira_offline_scores
from attacks.membership.lira_online import lira_online_scores
from attacks.registry import ATTACKS
from audit.core.adversaries import Adversary
from audit.core.errors import ViewError
from audit.core.randomness import named_generator

BOTH_SIDES = ("lira-online", "lira-offline", "bavaria")


def sample(models: int = 6, candidates: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-odds of a target and of reference models, half of which saw each candidate."""
    rng = named_generator(5, "odds")
    trained_on = np.array(
        [np.roll(np.arange(models) % 2 == 0, i) for i in range(candidates)]
    ).T  # half of the models, differently by candidate
    odds = rng.normal(1, 2, (models, candidates)) + 3 * trained_on
    return rng.normal(2, 3, candidates), odds, trained_on


def sides(odds: np.ndarray, trained_on: np.ndarray) -> tuple[Side, Side]:
    return side(odds, trained_on), side(odds, ~trained_on)


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=6))
def test_log_odds_are_those_of_the_softmax(logits: list[float]) -> None:
    chances = np.exp(logits) / np.exp(logits).sum()
    expected = np.log(chances[1] / (1 - chances[1]))
    found = log_odds(np.array([logits]), np.array([1]))[0]
    assert found == pytest.approx(expected, abs=1e-6)
    assert log_probability(np.log(chances)[None], np.array([1]))[0] == pytest.approx(
        np.log(chances[1]), abs=1e-9
    )


def test_log_odds_keep_their_precision_where_the_model_is_certain() -> None:
    logits = np.array([[50.0, 0.0], [60.0, 0.0], [0.0, 60.0]])
    assert log_odds(logits, np.zeros(3, dtype=np.int64)).tolist() == [50.0, 60.0, -60.0]
    assert np.diff(log_probability(logits, np.zeros(3, dtype=np.int64))[:2]) > 0


def test_log_odds_take_one_label_a_record_for_every_model_and_round() -> None:
    logits = named_generator(1, "x").normal(size=(3, 2, 4, 5))
    labels = np.array([0, 4, 2, 2])
    one = log_odds(logits[1, 0], labels)
    assert np.array_equal(log_odds(logits, labels)[1, 0], one)


@pytest.mark.parametrize("own", [False, True], ids=["shared variance", "own variance"])
def test_lira_online_is_the_log_ratio_of_two_gaussians(own: bool) -> None:
    target, odds, trained_on = sample()
    residuals = {True: [], False: []}
    for j in range(len(target)):
        for saw in (True, False):
            seen = odds[trained_on[:, j] == saw, j]
            residuals[saw].extend(seen - seen.mean())
    degrees = 2 * len(target)  # 3 models a side: 2 a candidate
    shared = {saw: np.sqrt(np.square(r).sum() / degrees) for saw, r in residuals.items()}
    for j, score in enumerate(
        lira_online_scores(target, *sides(odds, trained_on), per_candidate_from=0 if own else 64)
    ):
        densities = []
        for saw in (True, False):
            seen = odds[trained_on[:, j] == saw, j]
            spread = np.std(seen, ddof=1) if own else shared[saw]
            densities.append(stats.norm.logpdf(target[j], seen.mean(), spread))
        assert score == pytest.approx(densities[0] - densities[1])


def test_lira_offline_is_the_standard_score_against_models_that_never_saw_the_record() -> None:
    target, odds, trained_on = sample()
    outside = side(odds, ~trained_on)
    own = lira_offline_scores(target, outside, per_candidate_from=0)
    for j, score in enumerate(own):
        seen = odds[~trained_on[:, j], j]
        assert score == pytest.approx((target[j] - seen.mean()) / np.std(seen, ddof=1))
    shared = lira_offline_scores(target, outside)
    assert np.ptp((target - outside.mean) / shared) == pytest.approx(0)


def test_the_variance_becomes_each_candidates_own_at_64_models() -> None:
    for models, own in ((62, False), (64, True)):
        target, odds, trained_on = sample(models)
        both = sides(odds, trained_on)
        forced = lira_online_scores(target, *both, per_candidate_from=0)
        assert np.array_equal(lira_online_scores(target, *both), forced) is own
        forced = lira_offline_scores(target, both[1], per_candidate_from=0)
        assert np.array_equal(lira_offline_scores(target, both[1]), forced) is own


def test_bavaria_integrates_the_gaussian_over_its_posterior() -> None:
    """Prior times likelihood, summed over a grid of means and variances."""
    target, odds, trained_on = sample(4)
    one = side(odds, trained_on)
    within, count, weight = one.pooled_variance, 2, 4.0
    between = one.mean.var(ddof=1) - within / count
    assert between > 0, "the control needs candidates that differ"
    mean_weight, centre = within / between, one.mean.mean()
    found = predictive_log_density(target, one, variance_weight=weight)
    means = np.linspace(-30, 30, 2001)[:, None]
    variances = np.geomspace(1e-2, 1e4, 601)[None, :]
    prior = stats.norm.logpdf(means, centre, np.sqrt(variances / mean_weight))
    prior = prior + stats.invgamma.logpdf(variances, weight / 2, scale=weight * within / 2)
    for j in range(len(target)):
        seen = odds[trained_on[:, j], j]
        joint = prior + sum(stats.norm.logpdf(x, means, np.sqrt(variances)) for x in seen)
        posterior = np.exp(joint - joint.max())
        following = posterior * stats.norm.pdf(target[j], means, np.sqrt(variances))
        total, together = (
            integrate.simpson(integrate.simpson(part, x=means[:, 0], axis=0), x=variances[0])
            for part in (posterior, following)
        )
        assert found[j] == pytest.approx(np.log(together / total), abs=2e-3)


def test_bavaria_with_many_models_forgets_its_prior() -> None:
    target, odds, trained_on = sample(4000)
    both = sides(odds, trained_on)
    own = lira_online_scores(target, *both)
    assert bavaria_scores(target, *both) == pytest.approx(own, rel=0.03)


def test_bavaria_with_one_candidate_or_equal_ones_takes_the_mean_of_all() -> None:
    odds = np.array([[0.0, 0.0], [2.0, 2.0]])
    everyone = np.ones((2, 2), dtype=bool)
    both = predictive_log_density(np.array([3.0, 3.0]), side(odds, everyone))
    one = predictive_log_density(np.array([3.0]), side(odds[:, :1], everyone[:, :1]))
    assert both[0] == both[1] == pytest.approx(one[0])


@pytest.mark.parametrize("name", BOTH_SIDES)
def test_equal_candidates_stay_tied_and_a_surer_answer_scores_higher_offline(name: str) -> None:
    target, odds, trained_on = sample()
    twice = np.tile(odds[:, :1], 2), np.tile(trained_on[:, :1], 2)
    inside, outside = sides(*twice)
    score = {
        "lira-online": lambda t: lira_online_scores(t, inside, outside),
        "lira-offline": lambda t: lira_offline_scores(t, outside),
        "bavaria": lambda t: bavaria_scores(t, inside, outside),
    }[name]
    assert len(set(score(np.full(2, target[0])))) == 1
    if name == "lira-offline":
        assert np.diff(score(np.array([1.0, 2.0]))) > 0


def test_identical_models_give_finite_scores() -> None:
    odds = np.zeros((4, 3))
    half = np.array([[True] * 3, [False] * 3] * 2)
    both = sides(odds, half)
    for scores in (
        lira_online_scores(np.ones(3), *both, per_candidate_from=0),
        lira_offline_scores(np.ones(3), both[1]),
        bavaria_scores(np.ones(3), *both),
    ):
        assert np.isfinite(scores).all()


def test_one_model_on_a_side_shows_no_spread() -> None:
    with pytest.raises(ValueError, match="1 models on this side"):
        side(np.zeros((2, 1)), np.array([[True], [False]]))


def with_models(view: Any, chosen: np.ndarray) -> Any:
    references = view.background.references
    fewer = dataclasses.replace(
        references,
        trained_on=references.trained_on[chosen],
        logits=references.logits[chosen],
        population_logits=references.population_logits[chosen],
    )
    background = dataclasses.replace(view.background, references=fewer)
    return dataclasses.replace(view, background=background)


@pytest.mark.parametrize("name", [*BOTH_SIDES, "rmia", "art-black-box"])
def test_two_reference_models_are_too_few_where_a_spread_is_needed(name: str, overfit: Any) -> None:
    view = with_models(overfit.view(Adversary.RECIPIENT), np.arange(2))
    attack, rng = ATTACKS[name].build(Budget.QUICK), named_generator(1, name)
    if name in BOTH_SIDES:
        with pytest.raises(ViewError, match=f"{name} needs at least 2 reference models"):
            attack.guess(view, rng)
    else:
        assert np.isfinite(attack.guess(view, rng).scores).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [*BOTH_SIDES, "rmia", "art-black-box"])
def test_a_candidate_that_every_model_trained_on_is_refused(name: str, overfit: Any) -> None:
    view = overfit.view(Adversary.RECIPIENT)
    trained_on = view.background.references.trained_on.copy()
    trained_on[:, 3] = True
    references = dataclasses.replace(view.background.references, trained_on=trained_on)
    background = dataclasses.replace(view.background, references=references)
    with pytest.raises(ViewError, match=f"{name} needs at least . reference models"):
        ATTACKS[name].build(Budget.QUICK).guess(
            dataclasses.replace(view, background=background), named_generator(1, name)
        )
