"""Pixel attacks rebuild records from exact gradients, and nothing from noise."""

import dataclasses

import inversion_probes as probes
import numpy as np
import pytest

from attacks.attack import Attack, Budget
from attacks.inversion import bayes, dlg, inverting_gradients
from attacks.inversion.bayes import Posterior
from attacks.inversion.inverting_gradients import CosineMatching
from attacks.inversion.search import noise_in
from audit.core.config import ModelConfig
from audit.core.errors import ViewError
from audit.core.guesses import ReconstructionGuess
from audit.core.randomness import named_generator
from audit.core.views import ServerView
from training.models import architecture

COSINE = inverting_gradients.searched(CosineMatching(iterations=250), restarts=2, most_records=8)
BAYES = bayes.searched(Posterior(iterations=250), restarts=1, most_records=8)
BOTH = pytest.mark.parametrize("attack", [COSINE, BAYES], ids=["cosine", "bayes"])


def guess(attack: Attack, view: ServerView) -> ReconstructionGuess:
    found = attack.guess(view, named_generator(1, "inversion"))
    assert isinstance(found, ReconstructionGuess)
    return found


def errors(found: ReconstructionGuess, victims: list[np.ndarray]) -> list[float]:
    truths = [probes.INPUTS[v] for v in victims]
    return [
        probes.error(one.records, truth)
        for one, truth in zip(found.reconstructions, truths, strict=True)
    ]


@BOTH
def test_an_exact_gradient_of_one_record_is_read(attack):
    view, victims = probes.made(updates=3)
    found = guess(attack, view)
    assert max(errors(found, victims)) < 5e-3 < probes.prior_error(victims) / 2
    assert [one.labels.tolist() for one in found.reconstructions] == [
        probes.LABELS[v].tolist() for v in victims
    ]


@BOTH
def test_clipping_alone_does_not_stop_it(attack):
    view, victims = probes.made(updates=2, max_grad_norm=0.1)
    assert max(errors(guess(attack, view), victims)) < 5e-3


@BOTH
def test_a_batch_of_four_is_rebuilt_beyond_the_prior(attack):
    view, victims = probes.made(updates=3, batch=4)
    assert np.mean(errors(guess(attack, view), victims)) < probes.prior_error(victims) / 2


def test_a_sum_over_hospitals_is_no_protection():
    view, victims = probes.made(updates=2, hospitals=3)
    assert np.mean(errors(guess(BAYES, view), victims)) < probes.prior_error(victims) / 2


@BOTH
def test_noise_gives_no_record(attack):
    view, victims = probes.made(updates=4)
    found = guess(attack, probes.drowned(view))
    assert np.mean(errors(found, victims)) > probes.prior_error(victims)


@BOTH
def test_the_control_is_what_the_attack_makes_of_a_random_gradient(attack):
    view, victims = probes.made(updates=3)
    found = guess(attack, view)
    assert [c.observation for c in found.controls] == [p.name for p in view.probes]
    control = dataclasses.replace(found, reconstructions=found.controls)
    assert np.mean(errors(control, victims)) > probes.prior_error(victims)


def test_the_posterior_falls_back_on_the_prior_where_noise_drowns_the_gradient():
    # Without labels to go by the class may be wrong; the mean over classes bounds it.
    view, victims = probes.made(updates=6, noise_multiplier=20.0, max_grad_norm=1.0)
    rebuilt = np.concatenate([one.records for one in guess(BAYES, view).reconstructions])
    means = [
        probes.INPUTS[probes.PEOPLE][probes.LABELS[probes.PEOPLE] == c].mean(axis=0)
        for c in range(10)
    ]
    away = [min(float(((r - m) ** 2).mean()) for m in means) for r in rebuilt]
    assert max(away) < 0.01 < probes.prior_error(victims)


def test_a_little_noise_is_survived():
    view, victims = probes.made(updates=4, noise_multiplier=0.01, max_grad_norm=1.0)
    assert np.mean(errors(guess(BAYES, view), victims)) < probes.prior_error(victims) / 2


@BOTH
def test_the_same_generator_gives_the_same_guess(attack):
    view, _ = probes.made(updates=2)
    first, second = guess(attack, view), guess(attack, view)
    for a, b in zip(first.reconstructions, second.reconstructions, strict=True):
        assert a.records.tobytes() == b.records.tobytes()


@BOTH
def test_an_update_that_is_not_finite_is_left_out_by_name(attack):
    view, _ = probes.made(updates=2)
    broken = dataclasses.replace(
        view.probes[0], update={n: u * np.nan for n, u in view.probes[0].update.items()}
    )
    found = guess(attack, dataclasses.replace(view, probes=(broken, view.probes[1])))
    assert found.skipped == {broken.name: "its update is not finite"}
    assert [one.observation for one in found.reconstructions] == [view.probes[1].name]


@BOTH
def test_larger_batches_and_several_steps_are_left_out_with_the_reason(attack):
    large, _ = probes.made(updates=1, batch=9)
    assert "9 records: more than the 8" in next(iter(guess(attack, large).skipped.values()))
    long, _ = probes.made(updates=1, steps=3)
    assert "3 local steps" in next(iter(guess(attack, long).skipped.values()))


@BOTH
def test_a_model_without_a_gradient_path_is_refused_by_name(attack):
    built = architecture(ModelConfig(name="inversion_probes:detached"), (1, 8, 8), 10)
    view, _ = probes.made(updates=1)
    blind = dataclasses.replace(view.background, architecture=built)
    weights = built.initial(1)
    one = dataclasses.replace(view.probes[0], weights=weights, update=weights)
    with pytest.raises(ViewError, match="gradient path"):
        guess(attack, dataclasses.replace(view, background=blind, probes=(one,)))


def test_idlg_keeps_the_labels_that_it_reads_and_rebuilds():
    view, victims = probes.made(updates=2)
    found = guess(dlg.with_labels(Budget.QUICK), view)
    assert max(errors(found, victims)) < 1e-3
    assert [one.labels.tolist() for one in found.reconstructions] == [
        probes.LABELS[v].tolist() for v in victims
    ]


def test_idlg_reads_no_record_off_noise():
    view, victims = probes.made(updates=4)
    found = guess(dlg.with_labels(Budget.QUICK), probes.drowned(view))
    assert np.mean(errors(found, victims)) > probes.prior_error(victims)


def test_a_budget_says_how_far_it_goes():
    for build in (inverting_gradients.build, bayes.build):
        most = [build(budget).search.most_records for budget in Budget]
        assert most == sorted(most)


def test_noise_in_a_sum_grows_with_the_root_of_the_hospitals():
    view, _ = probes.made(updates=1, batch=2, noise_multiplier=3.0, max_grad_norm=1.0, hospitals=4)
    assert noise_in(view.probes[0], view.background) == pytest.approx(3.0 / 2 / 2)
