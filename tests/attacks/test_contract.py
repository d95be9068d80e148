"""Every attack keeps the contract: pure, blind to the truth, and refusing a view it cannot use."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attacks.attack import Budget
from attacks.entry import Entry, Family
from attacks.registry import ATTACKS, select
from audit.core.adversaries import Adversary
from audit.core.errors import ConfigError, ViewError
from audit.core.guesses import (
    Guess,
    IdentificationGuess,
    LabelCountGuess,
    MembershipGuess,
    ReconstructionGuess,
)
from audit.core.randomness import named_generator
from audit.core.views import Background, View
from audit.disclosure import Disclosure
from audit.store.run import RunDirectory

ROWS = [
    (entry, adversary)
    for entry in ATTACKS.values()
    if entry.family not in {Family.ATTRIBUTE, Family.AUDIT}  # views of their own: other files
    for adversary in entry.adversaries
]
NAMES = [f"{entry.id}-{adversary}" for entry, adversary in ROWS]
ON_THE_RELEASED_MODEL = [
    (entry, adversary)
    for entry, adversary in ROWS
    if entry.family is Family.MEMBERSHIP and adversary in {Adversary.QUERY, Adversary.RECIPIENT}
]
MODEL_NAMES = [f"{entry.id}-{adversary}" for entry, adversary in ON_THE_RELEASED_MODEL]

ON_PERCEPTRONS = {"first-layer", "spear"}
"""Attacks that refuse a convolutional model."""

Adds = Callable[[Background], Background]


def view_of(path: Path, adversary: Adversary, *, cell: int = 0) -> View:
    run = RunDirectory.open(path)
    view = Disclosure(run, run.config, run.config.cells[cell]).view(adversary)
    if isinstance(getattr(view, "probes", None), tuple):  # one of each kind is enough
        first = {probe.steps: probe for probe in reversed(view.probes)}  # type: ignore[union-attr]
        view = dataclasses.replace(view, probes=tuple(first.values()))  # type: ignore[call-arg]
    return view


def with_references(entry: Entry, view: View, add: Adds) -> View:
    """Recorded runs hold no reference models: an attack that needs them gets random ones."""
    if not entry.references:
        return view
    return dataclasses.replace(view, background=add(view.background))


def of_another_kind(entry: Entry) -> Adversary:
    """An adversary whose view lacks what this attack needs."""
    model = {Adversary.QUERY, Adversary.RECIPIENT} & set(entry.adversaries)
    return Adversary.SERVER if model else Adversary.RECIPIENT


def guess(entry: Entry, view: View) -> Guess:
    return entry.build(Budget.QUICK).guess(view, named_generator(7, "contract", entry.id))


def same(a: Guess, b: Guess) -> bool:
    if isinstance(a, MembershipGuess) and isinstance(b, MembershipGuess):
        return a.candidates == b.candidates and a.scores.tobytes() == b.scores.tobytes()
    if isinstance(a, IdentificationGuess) and isinstance(b, IdentificationGuess):
        return (a.pool, a.scores.tobytes()) == (b.pool, b.scores.tobytes())
    if isinstance(a, LabelCountGuess) and isinstance(b, LabelCountGuess):
        return (a.clients, a.shares, a.skipped) == (b.clients, b.shares, b.skipped) and all(
            a.counts[name].tobytes() == b.counts[name].tobytes() for name in a.clients
        )
    assert isinstance(a, ReconstructionGuess)
    assert isinstance(b, ReconstructionGuess)
    pairs = zip(a.reconstructions, b.reconstructions, strict=True)
    return a.skipped == b.skipped and all(
        x.observation == y.observation
        and x.records.tobytes() == y.records.tobytes()
        and x.labels.tobytes() == y.labels.tobytes()
        for x, y in pairs
    )


@pytest.mark.parametrize(("entry", "adversary"), ROWS, ids=NAMES)
def test_a_guess_is_the_same_again_without_the_secrets(
    entry: Entry,
    adversary: Adversary,
    tmp_path: Path,
    random_references: Adds,
    request: pytest.FixtureRequest,
) -> None:
    fixture = "perceptron" if entry.id in ON_PERCEPTRONS else "trained"
    run, cell = tmp_path / "run", 1 if entry.id in ON_PERCEPTRONS else 0
    shutil.copytree(request.getfixturevalue(fixture), run)

    def again() -> Guess:
        view = with_references(entry, view_of(run, adversary, cell=cell), random_references)
        return guess(entry, view)

    first = again()
    shutil.rmtree(run / "secrets")
    assert same(first, again())


@pytest.mark.parametrize("entry", ATTACKS.values(), ids=list(ATTACKS))
def test_a_view_that_lacks_what_an_attack_needs_is_refused_by_name(
    entry: Entry, trained: Path, random_references: Adds
) -> None:
    view = view_of(trained, of_another_kind(entry))
    with pytest.raises(ViewError, match=entry.id):
        guess(entry, with_references(entry, view, random_references))


@pytest.mark.parametrize("entry", [e for e in ATTACKS.values() if e.references], ids=lambda e: e.id)
def test_a_view_without_reference_models_is_refused_by_name(entry: Entry, trained: Path) -> None:
    with pytest.raises(ViewError, match=f"{entry.id} needs reference models"):
        guess(entry, view_of(trained, entry.adversaries[0]))


def scored(entry: Entry, view: View, overfit: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and who of the scored candidates is a member."""
    found = guess(entry, view)
    assert isinstance(found, MembershipGuess)
    places = {name: i for i, name in enumerate(overfit.candidates.ids)}
    return found.scores, overfit.member[[places[name] for name in found.candidates]]


@pytest.mark.parametrize(("entry", "adversary"), ON_THE_RELEASED_MODEL, ids=MODEL_NAMES)
def test_membership_attacks_break_an_overfit_model(
    entry: Entry, adversary: Adversary, overfit: Any
) -> None:
    from audit.stats import auc_interval

    scores, member = scored(entry, overfit.view(adversary), overfit)
    interval = auc_interval(scores[member], scores[~member], 0.999)
    assert interval.low > 0.5, interval


@pytest.mark.parametrize("trained", [False, True], ids=["untrained", "coin"])
@pytest.mark.parametrize(("entry", "adversary"), ON_THE_RELEASED_MODEL, ids=MODEL_NAMES)
def test_membership_attacks_are_at_chance_where_membership_means_nothing(
    entry: Entry, adversary: Adversary, trained: bool, overfit: Any
) -> None:
    """An untrained target with its nominal members, and a trained one with a coin's."""
    from audit.stats import auc_interval

    scores, member = scored(entry, overfit.view(adversary, trained=trained), overfit)
    if trained:
        member = named_generator(3, "null").permutation(len(scores)) < len(scores) // 2
    interval = auc_interval(scores[member], scores[~member], 0.999)
    assert interval.low <= 0.5 <= interval.high, interval


def test_an_unknown_attack_is_refused_and_a_baseline_comes_along() -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        select(["nonsense"])
    assert [entry.id for entry in select(["dlg"])] == ["prior-mean", "dlg"]
