"""Audits keep the attacks' contract: pure, blind to the truth, refusing a view they cannot use."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from attacks.attack import Budget
from attacks.auditing import gradient_canary
from attacks.registry import ATTACKS, Canary, Entry, Family
from audit.core.adversaries import Adversary
from audit.core.errors import ViewError
from audit.core.randomness import named_generator
from audit.core.views import CanaryView, RecipientView
from audit.disclosure import Disclosure
from audit.store.run import RunDirectory

ROWS = [entry for entry in ATTACKS.values() if entry.canary in {Canary.GRADIENT, Canary.OUTLIER}]


def view_of(path: Path, entry: Entry) -> CanaryView:
    run = RunDirectory.open(path)
    cell = run.config.cells[0]
    kept = sorted(p.name for p in (path / "audit_cells" / cell.id / "canaries").iterdir())
    return Disclosure(run, run.config, cell).canary_view(
        entry.adversaries[0], tuple(kept), outliers=entry.canary is Canary.OUTLIER
    )


def guess(entry: Entry, view):
    return entry.build(Budget.QUICK).guess(view, named_generator(7, "contract", entry.id))


def test_every_audit_is_in_this_contract():
    assert {e.id for e in ATTACKS.values() if e.family is Family.AUDIT} >= {e.id for e in ROWS}
    assert len(ROWS) == 5


@pytest.mark.parametrize("entry", ROWS, ids=lambda e: e.id)
def test_a_guess_is_the_same_again_without_the_secrets(entry: Entry, run_copy: Path) -> None:
    first = guess(entry, view_of(run_copy, entry))
    shutil.rmtree(run_copy / "secrets")
    again = guess(entry, view_of(run_copy, entry))
    assert first.candidates == again.candidates
    assert first.scores.tobytes() == again.scores.tobytes()
    assert len(set(first.candidates)) == len(first.candidates) > 0


@pytest.mark.parametrize("entry", ROWS, ids=lambda e: e.id)
def test_another_view_is_refused_and_named(entry: Entry, trained: Path) -> None:
    run = RunDirectory.open(trained)
    other = Disclosure(run, run.config, run.config.cells[0]).view(Adversary.RECIPIENT)
    assert isinstance(other, RecipientView)
    with pytest.raises(ViewError, match=f"{entry.id}.*RecipientView"):
        guess(entry, other)


@pytest.mark.parametrize("entry", ROWS, ids=lambda e: e.id)
def test_what_its_adversary_does_not_see_is_refused(entry: Entry, trained: Path) -> None:
    view = view_of(trained, entry)
    blind = dataclasses.replace(view, updates=None, others=None, sums=None, own=None, likeness=None)
    with pytest.raises(ViewError, match=entry.id):
        guess(entry, blind)


def made_view(trained: Path, **seen: np.ndarray) -> CanaryView:
    """Three canaries over two rounds, with chosen readings."""
    known = view_of(trained, ATTACKS["canary-update"])
    nothing = dict.fromkeys(("updates", "others", "sums", "own", "likeness"))
    return dataclasses.replace(known, canaries=("a", "b", "c"), **{**nothing, **seen})


def test_the_threshold_is_half_of_what_the_recipe_lets_one_expect(trained: Path) -> None:
    readings = np.array([[0.5, 0.5], [0.0, 0.0], [1.0, 0.2]])
    view = made_view(trained, updates=readings)
    rate = view.background.recipe.sample_rate
    assert rate == 0.5
    scores = gradient_canary.update(Budget.QUICK).guess(view, named_generator(1)).scores
    np.testing.assert_allclose(scores, [0.25, -0.25, 0.35])


def test_what_is_shared_cancels_in_differences_and_against_ones_own_noise(trained: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(3, 2))
    canary = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    view = made_view(
        trained,
        updates=canary + noise,
        others=noise,
        sums=canary + 3 * noise,
        own=3 * noise,
    )
    rng = named_generator(1)
    for build in (gradient_canary.difference, gradient_canary.own_noise):
        scores = build(Budget.QUICK).guess(view, rng).scores
        np.testing.assert_allclose(scores, [0.75, -0.25, 0.75], atol=1e-12)
    assert not np.allclose(
        gradient_canary.total(Budget.QUICK).guess(view, rng).scores, [0.75, -0.25, 0.75]
    )


def test_an_outlier_is_there_where_the_others_are_gone(trained: Path) -> None:
    view = made_view(trained, likeness=np.array([[1.1, 0.9], [0.1, 0.0], [0.4, 0.7]]))
    found = guess(ATTACKS["canary-outlier"], view)
    np.testing.assert_allclose(found.scores, [-0.5, 0.45, -0.05], atol=1e-12)
