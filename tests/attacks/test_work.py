"""What searches declare beforehand is what they compute."""

import inversion_probes as probes
import pytest
import torch

from attacks.attack import Budget
from attacks.inversion import bayes, dlg, fedavg, inverting_gradients, tabular
from attacks.inversion.bayes import Posterior
from attacks.inversion.exact import first_layer
from attacks.inversion.fedavg import FedAvgInversion
from attacks.inversion.inverting_gradients import CosineMatching
from attacks.inversion.problem import Problem
from attacks.inversion.work import ProbeSize, Searching
from audit.core.randomness import named_generator


def size_of(one) -> ProbeSize:
    return ProbeSize(
        records=one.records, hospitals=len(one.clients), steps=one.steps, batch=one.batch
    )


@pytest.fixture
def computed(monkeypatch) -> list[tuple[int, bool]]:
    """Sets of each gradient that a search takes, and whether it is differentiated."""
    seen: list[tuple[int, bool]] = []
    whole = Problem.gradients

    def gradients(problem, records):
        seen.append((len(records), torch.is_grad_enabled()))
        return whole(problem, records)

    monkeypatch.setattr(Problem, "gradients", gradients)
    return seen


@pytest.mark.parametrize(
    ("attack", "made"),
    [
        (
            inverting_gradients.searched(CosineMatching(iterations=7), restarts=2, most_records=4),
            {"batch": 2},
        ),
        (bayes.searched(Posterior(iterations=5), restarts=3, most_records=4), {"hospitals": 2}),
        (
            FedAvgInversion(
                unrolled=False, solver=CosineMatching(iterations=6), restarts=2, most_records=4
            ),
            {"batch": 2, "steps": 3},
        ),
        (
            FedAvgInversion(
                unrolled=True,
                solver=CosineMatching(iterations=30),
                restarts=2,
                most_records=4,
                deals=5,
            ),
            {"batch": 4, "mini": 2, "steps": 4},
        ),
    ],
    ids=["cosine", "bayes", "naive", "unrolled"],
)
def test_a_search_makes_the_iterations_that_it_declares(attack, made, computed):
    view, _ = probes.made(updates=3, **made)
    declared = attack.work(view.background, [size_of(one) for one in view.probes])
    attack.guess(view, named_generator(1, "work"))
    assert sum(sets for sets, again in computed if again) == declared.iterations
    uses = size_of(view.probes[0]).in_all
    if getattr(attack, "unrolled", False):
        uses *= 2  # epochs
    assert declared.passes == declared.iterations * uses
    # Besides those that are declared, each search takes its last loss, or two.
    compared = sum(sets for sets, again in computed if not again)
    assert compared <= declared.plain // uses + 2 * declared.searches
    assert (declared.plain > 0) is (compared > 2 * declared.searches)


def test_what_is_skipped_costs_nothing():
    view, _ = probes.made(updates=1)
    large = ProbeSize(records=1000, hospitals=1, steps=1, batch=None)
    several = ProbeSize(records=1, hospitals=1, steps=2, batch=None)
    for build in (inverting_gradients.build, bayes.build, dlg.build):
        attack = build(Budget.QUICK)
        assert attack.work(view.background, [large, several]).passes == 0
    single = ProbeSize(records=1, hospitals=1, steps=1, batch=None)
    assert fedavg.unrolled(Budget.QUICK).work(view.background, [single]).passes == 0
    assert tabular.build(Budget.QUICK).work(view.background, [single]).passes == 0
    assert dlg.build(Budget.QUICK).work(view.background, [single]).passes > 0
    assert not isinstance(first_layer.build(Budget.QUICK), Searching)
