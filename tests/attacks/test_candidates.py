"""Candidate identification: exact where the mechanism's own best is known, at chance on noise."""

import dataclasses
from dataclasses import dataclass

import inversion_probes as probes
import numpy as np
import pytest
from scipy.stats import binomtest, norm

from attacks.attack import Budget, gradient_of
from attacks.inversion.candidates import build
from attacks.inversion.others import others
from audit.core.config import ModelConfig
from audit.core.errors import ViewError
from audit.core.model import GradientProducts
from audit.core.randomness import named_generator
from audit.core.views import Background, Observation, Records, ServerView
from audit.stats import reconstruction_bound
from training.models import architecture


def ranks(view: ServerView, victims: list[np.ndarray], among: int) -> np.ndarray:
    """Whether each victim ranks before the first others of its class."""
    guess = build(Budget.QUICK).guess(view, named_generator(1, "candidates"))
    assert guess.observations == tuple(one.name for one in view.probes)
    places = {name: i for i, name in enumerate(guess.pool)}
    hits = []
    for scores, indices in zip(guess.scores, victims, strict=True):
        for index in indices:
            same = probes.POOL[
                (probes.LABELS[probes.POOL] == probes.LABELS[index])
                & ~np.isin(probes.POOL, indices)
            ]
            decoys = [places[f"pool-{i}"] for i in same[: among - 1]]
            hits.append(scores[places[f"pool-{index}"]] > scores[decoys].max())
    return np.array(hits)


def test_without_noise_the_record_is_always_named():
    for norm_ in (None, 0.2):
        view, victims = probes.made(updates=30, max_grad_norm=norm_)
        assert ranks(view, victims, 100).all()


def test_most_records_of_a_batch_are_named_and_through_a_sum_too():
    view, victims = probes.made(updates=15, batch=4)
    assert ranks(view, victims, 100).mean() > 0.5
    view, victims = probes.made(updates=15, hospitals=3)
    assert ranks(view, victims, 100).mean() > 0.5


@pytest.mark.parametrize(("shape", "least"), [({"batch": 4}, 0.75), ({"hospitals": 3}, 0.8)])
def test_other_records_are_told_apart_by_how_the_population_spreads(shape, least):
    built = architecture(ModelConfig(name="simple-cnn"), (1, 8, 8), 10)
    view, victims = probes.made(updates=12, built=built, **shape)
    assert ranks(view, victims, 100).mean() > least


def test_where_noise_is_far_larger_than_others_it_is_the_closed_form():
    view, _ = probes.made(updates=6, batch=4, noise_multiplier=400.0, max_grad_norm=1.0)
    background, weights = view.background, view.probes[0].weights
    mean = others(background, weights).mean
    guess = build(Budget.QUICK).guess(view, named_generator(1, "candidates"))
    for scores, one in zip(guess.scores, view.probes, strict=True):
        rest = {n: (g - 0.75 * mean[n]).astype(np.float32) for n, g in gradient_of(one).items()}
        pool = background.pool
        found = background.architecture.gradient_products(weights, pool.inputs, pool.labels, [rest])
        factors = np.minimum(1, 1 / found.norms)
        plain = factors * found.products[:, 0] - (factors * found.norms) ** 2 / 8
        assert np.corrcoef(scores, plain)[0, 1] > 0.999


def test_the_spread_of_others_is_measured_on_other_records_than_its_directions():
    view, _ = probes.made(updates=1)
    background, weights = view.background, view.probes[0].weights
    found = others(background, weights)
    names = list(found.mean)
    basis = np.stack([np.concatenate([d[n].ravel() for n in names]) for d in found.directions])
    assert np.allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-3)
    new = probes.records(probes.POOL[:300])
    products = background.architecture.gradient_products(
        weights, new.inputs, new.labels, [*found.directions, found.mean]
    ).products
    centre = basis @ np.concatenate([found.mean[n].ravel() for n in names])
    seen = np.square(products[:, :-1] - centre).mean(axis=0)
    assert found.variances.sum() == pytest.approx(seen.sum(), rel=0.15)
    top = np.argsort(-found.variances)[:5]
    assert found.variances[top] == pytest.approx(seen[top], rel=0.5)


def test_several_steps_are_named_as_well():
    view, victims = probes.made(updates=20, steps=4)
    assert ranks(view, victims, 100).mean() > 0.8


def test_noise_that_blinds_pixels_still_lets_it_name_records_but_never_above_the_bound():
    view, victims = probes.made(updates=150, noise_multiplier=0.5, max_grad_norm=1.0)
    hits = ranks(view, victims, 10)
    bound = reconstruction_bound(0.1, noise_multiplier=0.5, sample_rate=1.0, steps=1)
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(0.999)
    assert interval.low > 0.1 and interval.low <= bound


@pytest.mark.parametrize(("updates", "batch"), [(200, 1), (60, 4)])
def test_noise_alone_is_at_chance(updates, batch):
    view, victims = probes.made(updates=updates, batch=batch)
    hits = ranks(probes.drowned(view), victims, 10)
    assert binomtest(int(hits.sum()), len(hits), 0.1).pvalue > 0.001


@dataclass(frozen=True)
class Orthogonal:
    """An architecture whose records' gradients are unit vectors at right angles."""

    count: int
    classes: int = 2

    def gradient_products(self, weights, inputs, labels, directions, **_):
        which = inputs[:, 0].astype(int)
        along = np.stack([d["w"][which] for d in directions], axis=1) if directions else None
        products = np.zeros((len(which), 0)) if along is None else along
        return GradientProducts(products=products, norms=np.ones(len(which)))

    def gradient_sums(self, weights, inputs, labels, coefficients, **_):
        return [{"w": np.zeros(self.count, dtype=np.float32)} for _ in coefficients.T]


@pytest.mark.parametrize(("count", "noise"), [(2, 0.6), (2, 2.0), (10, 0.7)])
def test_orthogonal_candidates_are_named_as_often_as_is_possible(count, noise):
    rng, trials = named_generator(2, "orthogonal", str(count)), 4000
    pool = Records(
        ids=tuple(map(str, range(count))),
        inputs=np.arange(count, dtype=np.float32)[:, None],
        labels=np.zeros(count, dtype=np.int64),
    )
    view, _ = probes.made(updates=1)
    recipe = dataclasses.replace(view.background.recipe, max_grad_norm=1.0, noise_multiplier=noise)
    background = Background(
        architecture=Orthogonal(count),  # type: ignore[arg-type]
        recipe=recipe,
        candidates=pool,
        population=pool,
        record_range=(0.0, 1.0),
        pool=pool,
    )
    weights = {"w": np.zeros(count, dtype=np.float32)}
    seen = noise * rng.standard_normal((trials, count))
    seen[:, 0] += 1
    made = tuple(
        Observation(
            name=f"round-001/probe-b1-r{i}",
            round=1,
            clients=("h",),
            shares=(1.0,),
            records=1,
            weights=weights,
            update={"w": -row.astype(np.float32)},
            learning_rate=1.0,
        )
        for i, row in enumerate(seen)
    )
    guess = build(Budget.QUICK).guess(
        ServerView(background=background, models=(weights,), rounds=(), probes=made),
        named_generator(1, "x"),
    )
    hits = int((guess.scores.argmax(axis=1) == 0).sum())
    grid = np.linspace(-8, 10, 4001)
    exact = float(np.trapezoid(norm.pdf(grid, 1 / noise) * norm.cdf(grid) ** (count - 1), grid))
    if count == 2:
        assert exact == pytest.approx(norm.cdf(1 / (noise * 2**0.5)), rel=1e-4)
    interval = binomtest(hits, trials).proportion_ci(0.999)
    assert interval.low <= exact <= interval.high


def test_a_run_without_a_pool_is_refused_and_noise_without_numbers_left_out():
    view, _ = probes.made(updates=2)
    bare = dataclasses.replace(view.background, pool=None)
    with pytest.raises(ViewError, match="pool of candidates"):
        build(Budget.QUICK).guess(
            dataclasses.replace(view, background=bare), named_generator(1, "x")
        )
    broken = dataclasses.replace(
        view.probes[0], update={n: u * np.nan for n, u in view.probes[0].update.items()}
    )
    guess = build(Budget.QUICK).guess(
        dataclasses.replace(view, probes=(broken, view.probes[1])), named_generator(1, "x")
    )
    assert guess.skipped == {broken.name: "its update is not finite"}
    assert guess.observations == (view.probes[1].name,)
