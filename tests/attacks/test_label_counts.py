"""Label counts come out of exact gradients, and of nothing else."""

import dataclasses

import numpy as np
import pytest
from label_probes import BATCHES, PLAIN, Digits
from numpy.typing import NDArray

from attacks.attack import Budget
from attacks.inversion.labels import counts as label_counts
from attacks.inversion.labels import prior as label_prior
from audit.core.errors import ViewError
from audit.core.guesses import LabelCountGuess
from audit.core.randomness import named_generator
from audit.core.views import (
    Observation,
    RecipientView,
    Records,
    SecaggServerView,
    ServerView,
)
from training.dp_sgd import train_locally
from training.local_plan import LocalPlan
from training.randomness import NoiseStream


def attack(view: ServerView | SecaggServerView) -> LabelCountGuess:
    return label_counts.build(Budget.QUICK).guess(view, named_generator(1))


def prior(view: ServerView | SecaggServerView) -> LabelCountGuess:
    return label_prior.build(Budget.QUICK).guess(view, named_generator(1))


@pytest.fixture(scope="module")
def untrained() -> Digits:
    return Digits(0)


@pytest.fixture(scope="module")
def half_trained() -> Digits:
    return Digits(30, model="simple-cnn")


@pytest.fixture(scope="module")
def trained_well() -> Digits:
    return Digits(400)


@pytest.mark.parametrize("size", BATCHES)
def test_an_untrained_model_gives_all_labels_away(untrained: Digits, size: int) -> None:
    seen = untrained.view(size)
    assert seen.recovered(attack(seen.view)).mean() > 0.98
    assert seen.recovered(prior(seen.view)).mean() < 0.9


@pytest.mark.parametrize("size", BATCHES)
def test_early_in_training_most_labels_are_recovered(half_trained: Digits, size: int) -> None:
    seen = half_trained.view(size)
    assert seen.recovered(attack(seen.view)).mean() > 0.95


def test_of_one_record_the_label_is_always_certain(trained_well: Digits) -> None:
    seen = trained_well.view(1)
    assert seen.recovered(attack(seen.view)).mean() > 0.9


def test_a_trained_model_gives_labels_away_in_small_batches_only(trained_well: Digits) -> None:
    gains = {}
    for size in BATCHES[1:]:
        seen = trained_well.view(size)
        found, without = (seen.recovered(g(seen.view)).mean() for g in (attack, prior))
        gains[size] = found - without
    assert gains[4] > 0.2
    assert max(abs(gains[64]), abs(gains[128])) < 0.06, gains


@pytest.mark.parametrize("size", [4, 64])
def test_clipping_alone_hides_no_label(untrained: Digits, size: int) -> None:
    clipped = dataclasses.replace(PLAIN, max_grad_norm=0.1, noise_multiplier=0.0, loss_scale=2.0)
    seen = untrained.view(size, clipped)
    assert seen.recovered(attack(seen.view)).mean() > 0.98


def test_a_model_without_a_last_bias_gives_its_labels_away_too() -> None:
    digits = Digits(0, model="hog", bias=False)
    seen = digits.view(16)
    assert seen.recovered(attack(seen.view)).mean() > 0.95


@pytest.mark.parametrize("size", [1, 16, 128])
def test_under_much_dp_noise_the_answer_is_the_prior_s(untrained: Digits, size: int) -> None:
    strong = dataclasses.replace(PLAIN, max_grad_norm=1.0, noise_multiplier=11.5)
    seen = untrained.view(size, strong)
    gain = seen.recovered(attack(seen.view)) - seen.recovered(prior(seen.view))
    assert abs(gain.mean()) <= 2.5 * gain.std() / len(gain) ** 0.5 + 1e-9


@pytest.mark.parametrize("size", [1, 16, 128])
def test_a_gradient_of_noise_shows_no_label(untrained: Digits, size: int) -> None:
    seen = untrained.view(size)
    rng = named_generator(8, "noise")
    probes = tuple(
        dataclasses.replace(
            probe,
            update={
                n: (rng.standard_normal(u.shape) * np.std(u)).astype(np.float32)
                for n, u in probe.update.items()
            },
        )
        for probe in seen.view.probes
    )
    guess = attack(dataclasses.replace(seen.view, probes=probes))
    gain = seen.recovered(guess) - seen.recovered(prior(seen.view))
    assert gain.mean() <= 2.5 * gain.std() / len(gain) ** 0.5 + 1e-9


def test_another_batch_s_gradient_says_nothing_of_this_one(untrained: Digits) -> None:
    seen = untrained.view(16, repeats=40)
    other = untrained.view(16, repeats=40)
    guess = attack(other.view)
    gain = seen.recovered(guess) - seen.recovered(prior(seen.view))
    assert gain.mean() <= 2.5 * gain.std() / len(gain) ** 0.5


def test_a_sum_of_hospitals_shows_their_labels_together(untrained: Digits) -> None:
    clients = ("hospital-1", "hospital-2")
    rows = [untrained.drawn(8) for _ in clients]
    parts = [untrained.probe("one", chosen, PLAIN) for chosen in rows]
    mean = {n: (parts[0].update[n] + parts[1].update[n]) / 2 for n in parts[0].update}
    both = dataclasses.replace(
        parts[0], name="sum", clients=clients, shares=(0.5, 0.5), update=mean
    )
    view = SecaggServerView(
        background=untrained.background(PLAIN), models=(), rounds=(), probes=(both,), wire=()
    )
    found = attack(view)
    assert found.clients == {"sum": clients}
    true = np.bincount(untrained.labels[np.concatenate(rows)], minlength=10)
    assert np.array_equal(found.counts["sum"], true)


def skewed_rounds(digits: Digits, noise: float | None) -> tuple[ServerView, NDArray[np.float64]]:
    """Four rounds of a hospital that has mostly 0 to 3, and one that has mostly 4 to 9."""
    recipe = dataclasses.replace(
        PLAIN,
        rounds=4,
        local_steps=4,
        momentum=0.5,
        noise_multiplier=noise,
        max_grad_norm=None if noise is None else 1.0,
    )
    plan = LocalPlan(
        steps=4,
        sample_rate=0.2,
        expected_batch_size=64.0,
        learning_rate=0.5,
        momentum=0.5,
        noise_multiplier=noise,
        max_grad_norm=recipe.max_grad_norm,
    )
    few = digits.labels < 4
    own = np.arange(150, len(few))
    parts = (own[few[own]][:300], own[~few[own]][:300])
    weights, rounds = digits.weights, []
    for number in range(1, 5):
        updates = []
        for name, part in zip(("a", "b"), parts, strict=True):
            streams = [
                NoiseStream(named_generator(4, name, str(number), kind).bytes(32))
                for kind in ("sampling", "noise")
            ]
            done = train_locally(
                digits.built.module(weights),
                digits.inputs[part],
                digits.labels[part],
                plan,
                sampling=streams[0],
                noise=streams[1],
            )
            updates.append(digits.built.unflatten(done.update))
            rounds.append(
                Observation(
                    name=f"round-00{number}|{name}",
                    round=number,
                    clients=(name,),
                    shares=(1.0,),
                    records=None,
                    weights=weights,
                    update=updates[-1],
                    learning_rate=0.5,
                )
            )
        weights = {n: w + (updates[0][n] + updates[1][n]) / 2 for n, w in weights.items()}
    view = ServerView(
        background=digits.background(recipe), models=(), rounds=tuple(rounds), probes=()
    )
    shares = [np.bincount(digits.labels[part], minlength=10) / len(part) for part in parts]
    return view, np.array(shares)


@pytest.mark.parametrize("noise", [None, 1.0], ids=["no DP", "DP"])
def test_rounds_show_what_classes_a_hospital_has(untrained: Digits, noise: float | None) -> None:
    view, truth = skewed_rounds(untrained, noise)

    def agreement(guess: LabelCountGuess) -> list[float]:
        found = [guess.counts[f"rounds|{name}"] for name in ("a", "b")]
        return [float(np.minimum(f / f.sum(), t).sum()) for f, t in zip(found, truth, strict=True)]

    assert min(agreement(attack(view))) > 0.8
    assert max(agreement(prior(view))) < 0.7


def test_an_update_that_is_no_number_is_skipped_with_the_reason(untrained: Digits) -> None:
    seen = untrained.view(4, repeats=2)
    broken = dataclasses.replace(
        seen.view.probes[0],
        update={n: np.full_like(u, np.nan) for n, u in seen.view.probes[0].update.items()},
    )
    guess = attack(dataclasses.replace(seen.view, probes=(broken, seen.view.probes[1])))
    assert guess.skipped == {broken.name: "its update is not finite"}
    assert list(guess.counts) == [seen.view.probes[1].name]


def test_a_class_that_the_population_lacks_is_never_guessed(untrained: Digits) -> None:
    seen = untrained.view(16, repeats=3)
    population = seen.view.background.population
    kept = population.labels != 7
    less = Records(
        ids=tuple(np.array(population.ids)[kept]),
        inputs=population.inputs[kept],
        labels=population.labels[kept],
    )
    background = dataclasses.replace(seen.view.background, population=less)
    for guess in (attack, prior):
        found = guess(dataclasses.replace(seen.view, background=background))
        assert all(counts[7] == 0 and counts.sum() == 16 for counts in found.counts.values())


def test_views_that_lack_something_are_refused_by_name(untrained: Digits) -> None:
    view = untrained.view(4, repeats=1).view
    nobody = Records(
        ids=(), inputs=np.zeros((0, 1, 8, 8), dtype=np.float32), labels=np.zeros(0, dtype=np.int64)
    )
    alone = dataclasses.replace(view.background, population=nobody)
    for module, name in ((label_counts, "label-counts"), (label_prior, "label-prior")):
        for lacking in (
            dataclasses.replace(view, probes=()),
            dataclasses.replace(view, background=alone),
            RecipientView(background=view.background, weights=untrained.weights),
        ):
            with pytest.raises(ViewError, match=name):
                module.build(Budget.QUICK).guess(lacking, named_generator(1))
