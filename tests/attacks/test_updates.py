"""The attacks on updates: what they must break, where they must be at chance, and their units."""

import dataclasses

import numpy as np
import pytest
from attack_federation import CLIENTS, Digits, Federation, mean_of

from attacks.attack import Budget, clip_factors
from attacks.membership.updates import Round, evenly_spread, length, noise_variance
from attacks.registry import ATTACKS
from audit.core.errors import ViewError
from audit.core.guesses import MembershipGuess
from audit.core.randomness import named_generator
from audit.core.views import View
from audit.stats import auc_interval, clopper_pearson_interval
from audit.stats.interval import Interval
from training.local_plan import LocalPlan

IDS = ("update-cosine", "update-difference", "update-regression")
ONE_STEP = LocalPlan(
    steps=1,
    sample_rate=1.0,
    expected_batch_size=40.0,
    learning_rate=1.0,
    momentum=0.0,
    noise_multiplier=None,
    max_grad_norm=None,
)
MANY_STEPS = dataclasses.replace(
    ONE_STEP, steps=5, sample_rate=0.5, expected_batch_size=20.0, learning_rate=0.2, momentum=0.5
)
NOISY = dataclasses.replace(MANY_STEPS, noise_multiplier=30.0, max_grad_norm=1.0)


def guess(name: str, view: View, budget: Budget = Budget.THOROUGH) -> MembershipGuess:
    found = ATTACKS[name].build(budget).guess(view, named_generator(7, name))
    assert isinstance(found, MembershipGuess)
    return found


def area(found: MembershipGuess, member: np.ndarray) -> Interval:
    return auc_interval(found.scores[member], found.scores[~member], 0.999)


def attributed(found: MembershipGuess, federation: Federation) -> Interval:
    """Members whose hospital is named, as a share with its interval."""
    assert found.hospitals is not None
    named = np.array([CLIENTS.index(name) for name in found.hospitals])
    right = (named == federation.hospital)[federation.member]
    return clopper_pearson_interval(int(right.sum()), len(right), 0.999)


def federation(
    name: str, plan: LocalPlan, *, shift: int = 0, random_labels: bool = False
) -> Federation:
    digits = Digits(name, each=40, plan=plan, rounds=6, random_labels=random_labels)
    return digits.train(digits.drawn(), name, shift=shift)


@pytest.fixture(scope="module", params=[ONE_STEP, MANY_STEPS], ids=["one-step", "many-steps"])
def exposed(request: pytest.FixtureRequest) -> Federation:
    """Forty digits with random labels a hospital, which its updates can only memorise."""
    return federation("exposed", request.param, random_labels=True)


@pytest.mark.parametrize("name", IDS)
def test_single_updates_tell_members_and_their_hospital(name: str, exposed: Federation) -> None:
    found = guess(name, exposed.view)
    assert area(found, exposed.member).low > 0.5
    assert attributed(found, exposed).low > 1 / 3


@pytest.mark.parametrize("name", IDS)
def test_sums_over_hospitals_still_tell_members_but_no_hospital(
    name: str, exposed: Federation
) -> None:
    found = guess(name, exposed.sums)
    assert found.hospitals is None
    assert area(found, exposed.member).low > 0.5


def test_the_regression_tells_nearly_every_record_and_its_hospital(exposed: Federation) -> None:
    found = guess("update-regression", exposed.view)
    assert area(found, exposed.member).low > 0.9
    assert attributed(found, exposed).low > 0.9


@pytest.mark.parametrize("name", IDS)
def test_updates_of_other_records_tell_nothing(name: str) -> None:
    other = federation("other", ONE_STEP, shift=240)
    for view in (other.view, other.sums):
        interval = area(guess(name, view), other.member)
        assert interval.low <= 0.5 <= interval.high, interval
    interval = attributed(guess(name, other.view), other)
    assert interval.low <= 1 / 3 <= interval.high, interval


@pytest.mark.parametrize("name", IDS)
def test_strong_noise_hides_members_and_hospitals(name: str) -> None:
    noisy = federation("noisy", NOISY)
    for view in (noisy.view, noisy.sums):
        interval = area(guess(name, view), noisy.member)
        assert interval.low <= 0.5 <= interval.high, interval
    interval = attributed(guess(name, noisy.view), noisy)
    assert interval.low <= 1 / 3 <= interval.high, interval


@pytest.mark.parametrize("name", IDS)
def test_a_guess_is_the_same_again(name: str, exposed: Federation) -> None:
    first, again = (guess(name, exposed.view, Budget.QUICK) for _ in range(2))
    assert first.scores.tobytes() == again.scores.tobytes()
    assert first.hospitals == again.hospitals


@pytest.mark.parametrize("name", IDS)
def test_a_run_without_rounds_is_refused_by_name(name: str, exposed: Federation) -> None:
    with pytest.raises(ViewError, match=name):
        guess(name, dataclasses.replace(exposed.view, rounds=()))


@pytest.mark.parametrize("name", IDS)
def test_a_hospital_that_missed_rounds_is_scored_on_the_others(
    name: str, exposed: Federation
) -> None:
    missing = [r for r in exposed.view.rounds if r.clients != (CLIENTS[1],) or r.round > 2]
    found = guess(name, dataclasses.replace(exposed.view, rounds=tuple(missing)))
    assert found.hospitals is not None
    assert set(found.hospitals) == set(CLIENTS)


def test_a_budget_spreads_its_rounds_from_the_first_to_the_last(exposed: Federation) -> None:
    counts = [len(evenly_spread(exposed.view, "x", budget)) for budget in Budget]
    assert counts == [3, 5, 6]
    few = evenly_spread(exposed.view, "x", Budget.QUICK)
    assert few[0].weights is exposed.view.models[0]
    assert few[-1].weights is exposed.view.models[5]


def summed(view: View, one: Round, rows: np.ndarray) -> dict[str, np.ndarray]:
    background = view.background
    records = background.candidates
    parts = (one.weights, records.inputs[rows], records.labels[rows])
    norms = background.architecture.gradient_products(*parts, one.sums).norms[:, None]
    return dict(
        background.architecture.gradient_sums(*parts, clip_factors(background.recipe, norms))[0]
    )


@pytest.mark.parametrize("norm", [None, 0.8])
def test_an_update_is_scaled_to_the_sum_of_its_records_clipped_gradients(
    norm: float | None,
) -> None:
    quiet = None if norm is None else 1e-9
    plan = dataclasses.replace(ONE_STEP, noise_multiplier=quiet, max_grad_norm=norm)
    found = federation("scale", plan)
    first = evenly_spread(found.view, "x", Budget.QUICK)[0]
    expected = summed(found.view, first, found.hospital == 1)
    for name, array in first.sums[1].items():
        np.testing.assert_allclose(array, expected[name], atol=2e-4)
    everyone = evenly_spread(found.sums, "x", Budget.QUICK)[0]
    expected = summed(found.view, first, found.member)
    for name, array in everyone.sums[0].items():
        np.testing.assert_allclose(array, expected[name], atol=5e-4)


def test_steps_momentum_and_sampling_are_undone_to_first_order() -> None:
    slow = dataclasses.replace(
        ONE_STEP, steps=4, momentum=0.9, learning_rate=1e-3, expected_batch_size=10.0
    )
    found = federation("slow", slow)
    first = evenly_spread(found.view, "x", Budget.QUICK)[0]
    expected = summed(found.view, first, found.hospital == 0)
    difference = {n: array - expected[n] for n, array in first.sums[0].items()}
    assert length(difference) < 0.02 * length(expected)


def test_noise_in_the_sums_has_the_variance_that_the_penalty_says() -> None:
    loud = dataclasses.replace(NOISY, noise_multiplier=1e4, learning_rate=1e-9)
    found = federation("loud", loud)
    recipe = found.view.background.recipe
    one = evenly_spread(found.view, "x", Budget.QUICK)[0]
    both = evenly_spread(found.sums, "x", Budget.QUICK)[0]
    for total, clients in ((one.sums[0], 1), (both.sums[0], 3)):
        flat = np.concatenate([a.ravel() for a in total.values()])
        assert flat.var() == pytest.approx(noise_variance(recipe, clients), rel=0.15)


def test_the_sums_are_means_of_the_single_updates(exposed: Federation) -> None:
    mean = mean_of([r.update for r in exposed.view.rounds if r.round == 2])
    for name, array in exposed.sums.rounds[1].update.items():
        np.testing.assert_array_equal(array, mean[name])
