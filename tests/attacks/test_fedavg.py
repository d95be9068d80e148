"""Updates of several local steps: imitating the training rebuilds what one gradient does not."""

import dataclasses

import inversion_probes as probes
import numpy as np
import pytest
import torch

from attacks.attack import Budget, gradient_of
from attacks.inversion import fedavg
from attacks.inversion.batch_order import dealt, layout_of
from attacks.inversion.dummies import DummyGradients
from attacks.inversion.fedavg import FedAvgInversion, UnrolledTraining
from attacks.inversion.inverting_gradients import CosineMatching
from attacks.inversion.labels.reader import LabelReader
from audit.core.errors import ViewError
from audit.core.randomness import named_generator

HOT = np.eye(10, dtype=np.float32)


def sets(victims: list[np.ndarray], shares: np.ndarray) -> tuple[torch.Tensor, ...]:
    x = torch.from_numpy(np.stack([probes.INPUTS[v] for v in victims]))
    y = torch.from_numpy(np.stack([HOT[probes.LABELS[v]] for v in victims]))
    return x, y, torch.from_numpy(np.tile(shares, (len(victims), 1))).float()


@pytest.mark.parametrize(
    ("steps", "momentum", "norm", "hospitals"),
    [(1, 0.0, None, 1), (4, 0.0, None, 1), (3, 0.5, None, 2), (3, 0.5, 0.3, 1), (2, 0.9, 0.3, 3)],
)
def test_unrolled_training_is_what_hospitals_really_send(steps, momentum, norm, hospitals):
    view, victims = probes.made(
        updates=2, batch=2, steps=steps, momentum=momentum, max_grad_norm=norm, hospitals=hospitals
    )
    sent = UnrolledTraining(view.background, view.probes[0])
    shares = np.full(2 * hospitals, 1 / (2 * hospitals))
    with torch.no_grad():
        found = sent(*sets(victims, shares))
    for one, row in zip(view.probes, found, strict=True):
        target = sent.target(gradient_of(one))
        assert float((row - target).norm() / target.norm()) < 1e-3


@pytest.mark.parametrize(
    ("steps", "momentum", "norm", "hospitals"),
    [(2, 0.0, None, 1), (6, 0.5, None, 2), (4, 0.0, 0.3, 1), (6, 0.9, 0.3, 3)],
)
def test_unrolled_mini_batches_in_a_known_order_are_what_hospitals_really_send(
    steps, momentum, norm, hospitals
):
    view, victims = probes.made(
        updates=2,
        batch=4,
        mini=2,
        steps=steps,
        momentum=momentum,
        max_grad_norm=norm,
        hospitals=hospitals,
    )
    sent = UnrolledTraining(view.background, view.probes[0])
    x, y, shares = sets(victims, np.full(4 * hospitals, 1 / (4 * hospitals)))
    layout = layout_of(view.probes, restarts=1, in_steps=True)
    assert layout.dummies == 4 * hospitals
    with torch.no_grad():
        found = sent(*layout.used(x, y), shares)
        other = sent(*layout.used(x.flip(1), y.flip(1)), shares)
    for one, row, wrong in zip(view.probes, found, other, strict=True):
        target = sent.target(gradient_of(one))
        assert float((row - target).norm() / target.norm()) < 1e-3
        assert float((wrong - target).norm() / target.norm()) > 5e-3


def test_an_unknown_order_has_a_dummy_an_epoch_and_true_records_in_any_order_agree():
    view, victims = probes.made(updates=1, batch=4, mini=2, steps=6, hospitals=2, known=False)
    assert view.probes[0].order is None
    rng = np.random.default_rng(1)
    read = probes.LABELS[victims[0]][None]
    layout = layout_of(view.probes, restarts=3, in_steps=True)
    labels = dealt(read.repeat(3, axis=0), layout, rng=rng)
    assert (layout.dummies, labels.shape) == (24, (3, 24))
    by_epoch = labels.reshape(3, 2, 3, 4)
    assert (np.sort(by_epoch, axis=3) == np.sort(by_epoch[:, :, :1], axis=3)).all()
    order = np.concatenate([h * 4 + rng.permutation(4) for h in (0, 1) for _ in range(3)])
    x = torch.from_numpy(probes.INPUTS[victims[0][order]])[None]
    kinds = probes.LABELS[victims[0][order]]
    hot = torch.from_numpy(HOT[kinds])[None]
    assert float(layout.disagreement(x, hot)) == pytest.approx(0, abs=1e-10)
    assert float(layout.disagreement(torch.rand(x.shape), hot)) > 0.01
    merged, of = layout.merged(x[0], kinds)
    assert np.allclose(
        merged.numpy(), probes.INPUTS[victims[0][order[[*range(4), *range(12, 16)]]]]
    )
    assert (of == kinds[[*range(4), *range(12, 16)]]).all()


def test_mini_batches_are_rebuilt_and_a_naive_gradient_rebuilds_none():
    view, victims = probes.made(updates=4, batch=4, mini=2, steps=2)
    found = rebuilt(view, victims, unrolled=True)
    assert found < probes.prior_error(victims) / 4
    assert found < rebuilt(view, victims, unrolled=False) / 2
    assert rebuilt(probes.drowned(view), victims, unrolled=True) > probes.prior_error(victims)


def test_epochs_of_an_unknown_order_are_rebuilt_better_by_imitating_them():
    view, victims = probes.made(updates=4, batch=4, mini=2, steps=4, known=False)
    found = rebuilt(view, victims, unrolled=True)
    assert found < rebuilt(view, victims, unrolled=False)


def test_labels_of_several_epochs_are_read():
    view, victims = probes.made(updates=12, batch=8, mini=4, steps=10)
    reader = LabelReader(view.background, view.probes[0].weights)
    right = []
    for one, chosen in zip(view.probes, victims, strict=True):
        found = np.bincount(reader.labels(one, 8), minlength=10)
        true = np.bincount(probes.LABELS[chosen], minlength=10)
        right.append(np.minimum(found, true).sum() / 8)
    assert np.mean(right) > 0.9


def test_dummies_send_what_hospitals_send():
    for norm in (None, 0.2):
        view, victims = probes.made(updates=2, batch=3, max_grad_norm=norm)
        dummies = DummyGradients(view.background, view.probes[0].weights)
        found = dummies(*sets(victims, np.full(3, 1 / 3)))
        for one, row in zip(view.probes, found, strict=True):
            target = dummies.target(gradient_of(one))
            assert float((row - target).norm() / target.norm()) < 1e-3


def attack(*, unrolled: bool) -> FedAvgInversion:
    return FedAvgInversion(
        unrolled=unrolled,
        solver=CosineMatching(iterations=200),
        restarts=1,
        most_records=4,
        deals=16,
    )


def rebuilt(view, victims, *, unrolled: bool) -> float:
    found = attack(unrolled=unrolled).guess(view, named_generator(1, "fedavg"))
    return float(
        np.mean(
            [
                probes.error(one.records, probes.INPUTS[v])
                for one, v in zip(found.reconstructions, victims, strict=True)
            ]
        )
    )


def test_imitating_training_rebuilds_and_beats_the_naive_way():
    view, victims = probes.made(updates=3, batch=2, steps=4)
    unrolled = rebuilt(view, victims, unrolled=True)
    assert unrolled < probes.prior_error(victims) / 2
    assert unrolled < 0.7 * rebuilt(view, victims, unrolled=False)


@pytest.mark.parametrize("unrolled", [True, False])
def test_one_record_in_two_steps_is_read_either_way(unrolled):
    view, victims = probes.made(updates=3, steps=2)
    assert rebuilt(view, victims, unrolled=unrolled) < probes.prior_error(victims) / 4


@pytest.mark.parametrize("unrolled", [True, False])
def test_noise_gives_no_record(unrolled):
    view, victims = probes.made(updates=3, steps=3)
    assert rebuilt(probes.drowned(view), victims, unrolled=unrolled) > probes.prior_error(victims)


@pytest.mark.parametrize(
    ("build", "name"), [(fedavg.unrolled, "unrolled"), (fedavg.naive, "naive")]
)
def test_single_steps_are_left_to_other_attacks(build, name):
    single, _ = probes.made(updates=1)
    with pytest.raises(ViewError, match=f"fedavg-{name} needs probes of several local steps"):
        build(Budget.QUICK).guess(single, named_generator(1, "fedavg"))
    several, _ = probes.made(updates=1, steps=2)
    both = dataclasses.replace(
        several,
        probes=(dataclasses.replace(single.probes[0], name="round-001/single"), *several.probes),
    )
    found = build(Budget.QUICK).guess(both, named_generator(1, "fedavg"))
    assert found.skipped == {"round-001/single": "a single step: see inverting-gradients"}
    assert len(found.reconstructions) == 1
