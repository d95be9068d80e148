"""Dummies that change places find their batches, and stay where nothing is gained."""

from dataclasses import replace

import inversion_probes as probes
import numpy as np
import pytest
import torch

from attacks.attack import gradient_of
from attacks.inversion.batch_order import Layout, layout_of
from attacks.inversion.exchange import AT_ONCE, Exchange, reordered, tries
from attacks.inversion.fedavg import FedAvgInversion, UnrolledTraining, smooth_matching
from attacks.inversion.problem import Problem
from audit.core.randomness import named_generator

HOT = np.eye(10, dtype=np.float32)


def problem_of(view, victims) -> tuple[Problem, torch.Tensor]:
    """Return the problem of a view's probes, and their true records in their true places."""
    count = len(victims[0])
    sent = UnrolledTraining(view.background, view.probes[0])
    records = torch.from_numpy(np.stack([probes.INPUTS[v] for v in victims]))
    problem = Problem(
        background=view.background,
        sent=sent,
        targets=torch.stack([sent.target(gradient_of(one)) for one in view.probes]),
        labels=torch.from_numpy(np.stack([HOT[probes.LABELS[v]] for v in victims])),
        shares=torch.full((len(victims), count), 1 / count),
        noise=0.0,
        start=torch.rand(records.shape),
        layout=layout_of(view.probes, restarts=1, in_steps=True),
    )
    return problem, records


def misfit(problem: Problem, records: torch.Tensor) -> torch.Tensor:
    return (problem.gradients(records) - problem.targets).norm(dim=1)


@pytest.mark.parametrize("hospitals", [1, 2])
def test_true_records_go_back_to_their_places(hospitals):
    view, victims = probes.made(updates=3, batch=4, mini=2, steps=2, hospitals=hospitals)
    problem, true = problem_of(view, victims)
    dummies = 4 * hospitals
    wrong = torch.arange(dummies).repeat(3, 1)
    for row, steps in zip(wrong, problem.layout.places, strict=True):
        a, b = int(steps[0]), int(steps[dummies - 1])  # of different batches
        row[[a, b]] = row[[b, a]]
    moved = replace(problem, labels=reordered(problem.labels, wrong))
    exchange = Exchange(problem.layout, 100)
    order = torch.arange(dummies).repeat(3, 1)
    for _ in range(4):  # of 28 pairs some are tried at a time
        now = replace(moved, labels=reordered(moved.labels, order))
        step = exchange.best(now, reordered(reordered(true, wrong), order), misfit)
        order = torch.gather(order, 1, step)
    back = torch.gather(wrong, 1, order)
    found = misfit(replace(problem, labels=reordered(problem.labels, back)), reordered(true, back))
    assert float(misfit(problem, true).max()) < 1e-3
    assert float(found.max()) < 1e-3, back
    assert float(misfit(moved, reordered(true, wrong)).min()) > 5e-3


def test_what_fits_best_as_it_is_stays():
    view, victims = probes.made(updates=3, batch=4, mini=2, steps=2)
    problem, true = problem_of(view, victims)
    order = Exchange(problem.layout, 100).best(problem, true, misfit)
    assert float(misfit(replace(problem, labels=reordered(problem.labels, order)),
                        reordered(true, order)).max()) < 1e-3  # fmt: skip
    far = Exchange(problem.layout, 100).best(problem, true, lambda p, r: r.new_ones(len(r)))
    assert torch.equal(far, torch.arange(4).repeat(3, 1))


@pytest.mark.parametrize(
    ("layout", "groups"),
    [
        (Layout(hospitals=2, epochs=1, records=3, in_batches=True), {(0, 6)}),
        (
            Layout(hospitals=2, epochs=2, records=3, in_batches=True),
            {(0, 3), (3, 6), (6, 9), (9, 12)},
        ),
        (Layout(hospitals=1, epochs=3, records=400, in_batches=True),
         {(0, 400), (400, 800), (800, 1200)}),
    ],
)  # fmt: skip
def test_pairs_are_of_one_group_and_every_pair_comes_up(layout, groups):
    seen: set[tuple[int, ...]] = set()

    def loss(problem, _):
        seen.add(tuple(int(label) for label in problem.labels[0, :, 0]))
        return torch.zeros(1)

    exchange = Exchange(layout, 100)
    dummies = layout.dummies
    problem = Problem(
        background=None, sent=None, targets=torch.zeros(1, 1), shares=torch.zeros(1, 1),
        labels=torch.arange(dummies)[None, :, None], noise=0.0, start=torch.zeros(1),
        layout=layout,
    )  # fmt: skip
    for _ in range(20):
        exchange.best(problem, torch.zeros(1, dummies, 1), loss)
    pairs = set()
    for order in seen - {tuple(range(dummies))}:
        moved = [place for place, label in enumerate(order) if place != label]
        assert len(moved) == 2
        assert any(low <= min(moved) and max(moved) < high for low, high in groups)
        pairs.add(tuple(moved))
    size = layout.among
    possible = len(groups) * size * (size - 1) // 2
    assert len(pairs) == possible if possible < 20 else len(pairs) > 15 * AT_ONCE


def test_it_is_due_in_mini_batches_alone_and_not_at_the_end():
    batches = Layout(hospitals=1, epochs=1, records=4, in_batches=True)
    whole = Layout(hospitals=1, epochs=1, records=4)
    due = [done for done in range(100) if Exchange(batches, 100).due(done)]
    assert due == [10, 20, 30, 40, 50, 60, 70, 80]
    assert not any(Exchange(whole, 100).due(done) for done in range(100))
    single = Layout(hospitals=1, epochs=2, records=1, in_batches=True)
    assert not any(Exchange(single, 100).due(done) for done in range(100))
    assert tries(100, 4) == len(due) * 7
    assert tries(100, 100) == len(due) * (1 + AT_ONCE)
    assert tries(5, 4) == 0


def test_records_are_rebuilt_better_where_they_may_change_batches(monkeypatch):
    view, victims = probes.made(updates=6, batch=6, mini=2, steps=3)
    attack = FedAvgInversion(
        unrolled=True, solver=smooth_matching(200), restarts=1, most_records=6, deals=1
    )

    def error() -> float:
        found = attack.guess(view, named_generator(1, "exchange")).reconstructions
        pairs = zip(found, victims, strict=True)
        return float(np.mean([probes.error(one.records, probes.INPUTS[v]) for one, v in pairs]))

    free = error()
    monkeypatch.setattr(Exchange, "due", lambda *_: False)
    assert free < 0.7 * error()
