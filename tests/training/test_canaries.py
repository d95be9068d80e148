"""Gradient canaries go the way of any record, and touch nothing but their own column."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

from audit.core.errors import ViewError
from training.canaries import (
    LENGTH,
    Canaries,
    GradientTap,
    Push,
    along_canaries,
    canary_columns,
    canary_sign,
    canary_step,
    last_linear,
)
from training.dp_sgd import Laboratory, train_locally
from training.features.fixed import FixedFeatures, trained_part
from training.local_plan import LocalPlan
from training.models import TorchArchitecture, mlp, simple_cnn, to_weights
from training.randomness import NoiseStream

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(40, 1, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 3, 40).astype(np.int64)
NO_COLUMNS = np.zeros(0, dtype=np.int64)


def fixed_features() -> nn.Module:
    head = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    return FixedFeatures(nn.AvgPool2d(2), head, key="pooled-for-canaries")


MODELS = {
    "every gradient": lambda: simple_cnn((1, 8, 8), 3),
    "only the norms": lambda: mlp((1, 8, 8), 3, hidden=6),
    "fixed features": fixed_features,
}


@pytest.fixture(params=MODELS)
def build(request) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return MODELS[request.param]()

    return made


def plan(**changed) -> LocalPlan:
    options = {
        "steps": 3,
        "sample_rate": 1.0,
        "expected_batch_size": 16.0,
        "learning_rate": 0.5,
        "momentum": 0.5,
        "noise_multiplier": 0.7,
        "max_grad_norm": 0.3,
    }
    return LocalPlan(**{**options, **changed})


def train(build, local: LocalPlan, columns, *, sign=1.0, records=40, sampling=b"s" * 32, push=None):
    """Return the trained module and the update by parameter name."""
    module = build()
    before = to_weights(module)
    train_locally(
        module,
        INPUTS[:records],
        LABELS[:records],
        local,
        sampling=NoiseStream(sampling),
        noise=NoiseStream(b"n" * 32),
        laboratory=Laboratory(columns=np.array(columns, dtype=np.int64), sign=sign, push=push),
    )
    return module, {name: after - before[name] for name, after in to_weights(module).items()}


def step(local: LocalPlan) -> float:
    return canary_step(
        local_steps=local.steps,
        learning_rate=local.learning_rate,
        momentum=local.momentum,
        expected_batch_size=local.expected_batch_size,
        private_norm=local.max_grad_norm,
    )


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"momentum": 0.0, "steps": 1},
        {"loss_scale": 7.0},
        {"noise_multiplier": None, "max_grad_norm": None},
    ],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_canary_is_clipped_once_and_moves_its_own_column_by_a_known_step(build, changed, sign):
    local = plan(**changed)
    _, without = train(build, local, [])
    _, with_it = train(build, local, [2], sign=sign)
    name, head = last_linear(build())
    moved = {k: with_it[k] - without[k] for k in without}
    expected = np.zeros((head.out_features, head.in_features))
    expected[:, 2] = sign * step(local) / head.out_features**0.5
    np.testing.assert_allclose(moved.pop(f"{name}.weight"), expected, rtol=1e-3, atol=2e-5)
    for rest in moved.values():  # the bias by a thousandth
        np.testing.assert_allclose(rest, 0, atol=2e-3 * step(local))


def test_real_records_hold_nothing_along_canaries_whatever_the_weights(build):
    built = Architecture(build)
    for seed in (b"1" * 32, b"2" * 32):
        local = plan(noise_multiplier=None, max_grad_norm=None, sample_rate=0.4, steps=9)
        _, update = train(build, local, [], sampling=seed)
        assert max(np.abs(part).max() for part in update.values()) > 0.1
        np.testing.assert_allclose(along_canaries(built, [update]), 0, atol=2e-6)


def test_canaries_of_one_step_share_neither_clipping_nor_a_direction(build):
    built, local = Architecture(build), plan()
    width = canary_columns(trained_part(build(), INPUTS[:1])[0])
    few = along_canaries(built, [train(build, local, [1])[1]])[0] / step(local)
    many = along_canaries(built, [train(build, local, range(width))[1]])[0] / step(local)
    others = np.arange(width) != 1
    assert many[1] == pytest.approx(few[1], abs=2e-3)
    np.testing.assert_allclose((many - few)[others], 1.0, atol=2e-3)


def made_push(build, copies: int) -> Push:
    width = canary_columns(trained_part(build(), INPUTS[:1])[0])
    way = np.random.default_rng(7).normal(size=width)
    return Push(direction=(way / np.linalg.norm(way)).astype(np.float32), copies=copies)


@pytest.mark.parametrize("changed", [{}, {"loss_scale": 7.0}, {"momentum": 0.0, "steps": 1}])
def test_a_push_moves_its_direction_by_one_step_for_each_copy_and_nothing_else(build, changed):
    local, push = plan(**changed), made_push(build, 5)
    _, without = train(build, local, [])
    _, with_it = train(build, local, [], push=push)
    name, head = last_linear(build())
    moved = {k: with_it[k] - without[k] for k in without}
    expected = np.tile(push.direction, (head.out_features, 1)) / head.out_features**0.5
    found = moved.pop(f"{name}.weight") / (5 * step(local))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    for rest in moved.values():  # the bias by a thousandth
        np.testing.assert_allclose(rest, 0, atol=2e-3 * 5 * step(local))


def test_a_push_moves_no_prediction_and_no_canary_of_a_column(build):
    local, push = plan(), made_push(build, 200)
    plain, alone = train(build, local, [1])
    pushed, both = train(build, local, [1], push=push)
    with torch.no_grad():
        said = [m.eval()(torch.from_numpy(INPUTS)).softmax(1).numpy() for m in (plain, pushed)]
    np.testing.assert_allclose(said[1], said[0], atol=5e-4)
    built = Architecture(build)
    added = (along_canaries(built, [both]) - along_canaries(built, [alone]))[0] / step(local)
    np.testing.assert_allclose(added, 200 * push.direction, atol=0.2)


def test_each_copy_of_a_push_is_sampled_for_itself():
    def wide() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    local = plan(steps=1, sample_rate=0.25, momentum=0.0, noise_multiplier=1e-9)
    push, built = made_push(wide, 400), Architecture(wide)
    counts = []
    for i in range(60):
        _, update = train(wide, local, [], push=push, sampling=i.to_bytes(32, "little"))
        counts.append(along_canaries(built, [update])[0] @ push.direction / step(local))
    np.testing.assert_allclose(counts, np.round(counts), atol=0.05)
    assert np.mean(counts) == pytest.approx(100, abs=4 * 75**0.5 / 60**0.5)
    assert np.std(counts) == pytest.approx(75**0.5, rel=0.35)


def test_a_push_comes_back_from_disk_and_is_absent_where_there_was_none(tmp_path):
    def wide() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    push = made_push(wide, 9)
    for given in (push, None):
        plain = Canaries.of_gradients(NO_COLUMNS, (1, 8, 8))
        Canaries(columns=plain.columns, inputs=plain.inputs, labels=plain.labels, push=given).save(
            tmp_path
        )
        found = Canaries.load(tmp_path)
        assert found is not None
        if given is None:
            assert found.push is None
        else:
            assert found.push is not None and found.push.copies == 9
            assert found.push.direction.tobytes() == push.direction.tobytes()


@pytest.mark.parametrize("direction", [np.ones(64), np.eye(63)[0]], ids=["long", "elsewhere"])
def test_a_direction_that_is_no_unit_vector_over_the_columns_is_refused(direction):
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(ValueError, match="expected a unit vector over 64 columns"):
        GradientTap(module, sign=1.0, length=1.0, direction=direction.astype(np.float32))


def test_no_prediction_moves_however_many_canaries_there_are(build):
    width = canary_columns(trained_part(build(), INPUTS[:1])[0])
    plain, _ = train(build, plan(), [])
    crowded, _ = train(build, plan(), range(width))
    with torch.no_grad():
        said = [m.eval()(torch.from_numpy(INPUTS)).softmax(1).numpy() for m in (plain, crowded)]
    np.testing.assert_allclose(said[1], said[0], atol=2e-5)


def test_each_canary_is_sampled_for_itself():
    # Without noise a canary's reading counts the batches that it was in: a binomial number.
    def wide() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    local = plan(steps=50, sample_rate=0.3, momentum=0.0, noise_multiplier=1e-9, loss_scale=1.0)
    counts = []
    for key in (b"a", b"b", b"c", b"d"):
        _, update = train(wide, local, range(64), sampling=key * 32)
        along = along_canaries(Architecture(wide), [update])[0] / step(local) * local.steps
        np.testing.assert_allclose(along, along.round(), atol=2e-2)
        counts.append(along.round())
    counts = np.stack(counts)
    deviation = np.sqrt(50 * 0.3 * 0.7)
    assert counts.mean() == pytest.approx(15, abs=4 * deviation / np.sqrt(counts.size))
    assert counts.std() == pytest.approx(deviation, rel=0.2)


def test_with_full_batches_scores_are_gaussian_and_as_far_apart_as_the_mechanism_says():
    def wide() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    local = plan(steps=1, momentum=0.0, noise_multiplier=2.0)
    inside, scores = np.arange(64) % 2 == 0, []
    for i in range(150):
        module = wide()
        before = to_weights(module)
        train_locally(
            module,
            INPUTS,
            LABELS,
            local,
            sampling=NoiseStream(bytes(32)),
            noise=NoiseStream(i.to_bytes(32, "little")),
            laboratory=Laboratory(columns=np.flatnonzero(inside)),
        )
        update = {name: after - before[name] for name, after in to_weights(module).items()}
        scores.append(along_canaries(Architecture(wide), [update])[0] / step(local))
    scores = np.stack(scores)
    assert scores[:, inside].mean() - scores[:, ~inside].mean() == pytest.approx(1, abs=0.15)
    assert scores[:, inside].std() == pytest.approx(2.0, rel=0.05)
    assert scores[:, ~inside].std() == pytest.approx(2.0, rel=0.05)
    for part, mean in ((scores[:, inside], 1.0), (scores[:, ~inside], 0.0)):
        assert kstest(part.ravel(), "norm", args=(mean, 2.0)).pvalue > 1e-3
    # Independent of each other: correlations between canaries are those of independent noise.
    off = np.corrcoef(scores.T)[~np.eye(64, dtype=bool)]
    assert off.std() == pytest.approx(1 / np.sqrt(len(scores)), rel=0.1)
    assert abs(off.mean()) < 5e-3


def test_canaries_push_to_and_fro():
    assert [canary_sign(number) for number in (1, 2, 3, 4)] == [-1, 1, -1, 1]


def test_without_dp_a_canary_has_its_whole_length():
    local = plan(noise_multiplier=None, max_grad_norm=None, steps=1, momentum=0.0)
    assert step(local) == pytest.approx(0.5 * LENGTH / 16)


def test_a_model_that_ends_otherwise_has_no_room_for_canaries():
    with pytest.raises(ViewError, match="Conv2d: gradient canaries need a linear"):
        last_linear(nn.Sequential(nn.Linear(4, 4), nn.Conv2d(1, 1, 1)))


class Architecture(TorchArchitecture):
    """An architecture around a function that builds the module."""

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        super().__init__(name="test", options={}, classes=3, input_shape=(1, 8, 8))
        object.__setattr__(self, "_build", build)

    def build(self) -> nn.Module:
        return self._build()
