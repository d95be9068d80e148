"""The loss trajectory: what it must break, where it must be at chance, and what it refuses."""

import dataclasses

import numpy as np
import pytest
from attack_federation import Digits, Federation

from attacks.attack import Budget
from attacks.registry import ATTACKS
from audit.core.errors import ViewError
from audit.core.guesses import MembershipGuess
from audit.core.randomness import named_generator
from audit.core.views import References, View
from audit.stats import auc, auc_interval
from training.local_plan import LocalPlan

OVERFIT = LocalPlan(
    steps=5,
    sample_rate=0.5,
    expected_batch_size=20.0,
    learning_rate=0.5,
    momentum=0.0,
    noise_multiplier=None,
    max_grad_norm=None,
)
ROUNDS = 8


def scores(view: View) -> np.ndarray:
    found = ATTACKS["loss-trajectory"].build(Budget.QUICK).guess(view, named_generator(1, "t"))
    assert isinstance(found, MembershipGuess)
    assert found.hospitals is None
    return found.scores


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits("trajectory", each=40, plan=OVERFIT, rounds=ROUNDS)


@pytest.fixture(scope="module")
def references(digits: Digits) -> References:
    return digits.references(4)


@pytest.fixture(scope="module")
def target(digits: Digits) -> Federation:
    return digits.train(digits.drawn(), "target")


def test_four_references_are_enough_to_tell_members_and_better_than_the_last_loss(
    target: Federation, references: References
) -> None:
    member = target.member
    found = scores(target.participant(references))
    assert auc_interval(found[member], found[~member], 0.999).low > 0.5
    view = target.participant(references)
    last = ATTACKS["loss"].build(Budget.QUICK)
    released = dataclasses.replace(_recipient(target), background=view.background)
    plain = last.guess(released, named_generator(1, "loss"))
    assert isinstance(plain, MembershipGuess)
    assert auc(found[member], found[~member]) > auc(plain.scores[member], plain.scores[~member])


def test_a_federation_that_never_saw_the_candidates_tells_nothing(
    digits: Digits, target: Federation, references: References
) -> None:
    other = digits.train(target.hospital, "other", shift=240)
    found = scores(other.participant(references))
    interval = auc_interval(found[target.member], found[~target.member], 0.999)
    assert interval.low <= 0.5 <= interval.high, interval


def test_strong_noise_hides_members() -> None:
    plan = dataclasses.replace(OVERFIT, noise_multiplier=20.0, max_grad_norm=1.0)
    noisy = Digits("noisy-trajectory", each=40, plan=plan, rounds=ROUNDS)
    references = noisy.references(4)
    target = noisy.train(noisy.drawn(), "target")
    found = scores(target.participant(references))
    interval = auc_interval(found[target.member], found[~target.member], 0.999)
    assert interval.low <= 0.5 <= interval.high, interval


def test_a_guess_is_the_same_again(target: Federation, references: References) -> None:
    view = target.participant(references)
    assert scores(view).tobytes() == scores(view).tobytes()


def test_two_references_that_leave_nothing_to_hold_a_member_against_are_refused(
    target: Federation, references: References
) -> None:
    pair = References(
        trained_on=references.trained_on[:2],
        logits=references.logits[:2],
        population_logits=references.population_logits[:2],
    )
    with pytest.raises(ViewError, match="loss-trajectory needs"):
        scores(target.participant(pair))


def test_missing_references_and_other_rounds_are_refused_by_name(
    target: Federation, references: References
) -> None:
    with pytest.raises(ViewError, match="loss-trajectory needs reference"):
        scores(target.participant(None))
    short = dataclasses.replace(references, logits=references.logits[:, :-1])
    with pytest.raises(ViewError, match="loss-trajectory needs references of the run's 8 rounds"):
        scores(target.participant(short))
    with pytest.raises(ViewError, match="loss-trajectory needs the global model"):
        scores(target.view)


def _recipient(federation: Federation):
    from audit.core.views import RecipientView

    view = federation.view
    return RecipientView(background=view.background, weights=view.models[-1])
