"""Audits keep the attacks' contract: pure, blind to the truth, refusing a view they cannot use."""

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from attacks.attack import Budget
from attacks.auditing import gradient_canary
from attacks.auditing.noise_seed import NoiseSeed, first_normals
from attacks.entry import Canary, Entry, Family
from attacks.registry import ATTACKS
from audit.core.adversaries import Adversary
from audit.core.errors import ViewError
from audit.core.randomness import named_generator
from audit.core.views import CanaryView, Leftovers, RecipientView
from audit.disclosure import Disclosure
from audit.store.run import RunDirectory
from training.randomness import NoiseStream

ROWS = [entry for entry in ATTACKS.values() if entry.canary in {Canary.GRADIENT, Canary.OUTLIER}]


def view_of(path: Path, entry: Entry) -> CanaryView:
    run = RunDirectory.open(path)
    cell = run.config.cells[0]
    kept = sorted(p.name for p in (path / "audit_cells" / cell.id / "canaries").iterdir())
    return Disclosure(run, run.config, cell).canary_view(
        entry.adversaries[0], tuple(kept), outliers=entry.canary is Canary.OUTLIER
    )


def complete(entry: Entry, view: CanaryView) -> CanaryView:
    """The smoke run makes several steps in a round: leftovers are made up."""
    if entry.id != "canary-noise-seed":
        return view
    count, rng = len(view.canaries), np.random.default_rng(3)
    first = rng.normal(size=(1, 3, 3, 16))
    first[0, 1, 2] = first_normals(np.array([named_seed_of(entry)]))[0]
    left = Leftovers(
        first=first,
        places=np.stack([np.zeros(count, int), np.arange(count) % 3], axis=1),
        columns=np.arange(count),
        signs=np.array([-1.0, 1.0, -1.0]),
        shapes=((10, count),),
    )
    return dataclasses.replace(view, leftovers=left)


def named_seed_of(entry: Entry) -> int:
    return int(named_generator(7, "contract", entry.id).integers(2**32))


def guess(entry: Entry, view):
    return entry.build(Budget.QUICK).guess(view, named_generator(7, "contract", entry.id))


def test_every_audit_is_in_this_contract():
    assert {e.id for e in ATTACKS.values() if e.family is Family.AUDIT} >= {e.id for e in ROWS}
    assert len(ROWS) == 6


@pytest.mark.parametrize("entry", ROWS, ids=lambda e: e.id)
def test_a_guess_is_the_same_again_without_the_secrets(entry: Entry, run_copy: Path) -> None:
    first = guess(entry, complete(entry, view_of(run_copy, entry)))
    shutil.rmtree(run_copy / "secrets")
    again = guess(entry, complete(entry, view_of(run_copy, entry)))
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


def noise_view(trained: Path, draw) -> CanaryView:
    """What is left of 20 updates of one hospital; ``draw`` gives each update's noise."""
    known = view_of(trained, ATTACKS["canary-update"])
    recipe = dataclasses.replace(known.background.recipe, noise_multiplier=2.0, sample_rate=1.0)
    shape, present = (4, 8), np.arange(8) % 2
    noise = [draw(i).reshape(shape) for i in range(20)]
    along = np.stack([present - 2.0 * n.sum(axis=0) / 2 for n in noise])
    return dataclasses.replace(
        known,
        background=dataclasses.replace(known.background, recipe=recipe),
        canaries=tuple(f"{cell}-{column}" for cell in range(20) for column in range(8)),
        updates=along.reshape(160, 1),
        leftovers=Leftovers(
            first=np.stack([n.ravel()[:16] for n in noise]).reshape(20, 1, 1, 16),
            places=np.stack([np.repeat(np.arange(20), 8), np.zeros(160, int)], axis=1),
            columns=np.tile(np.arange(8), 20),
            signs=np.array([1.0]),
            shapes=(shape,),
        ),
    )


def test_noise_of_a_seed_that_is_tried_is_taken_off_and_canaries_stand_bare(trained: Path) -> None:
    start = int(named_generator(1).integers(2**32))

    def torch_noise(i: int) -> np.ndarray:
        seed = (start + 1000 * i) % 2**32
        return torch.randn(32, generator=torch.Generator().manual_seed(seed)).double().numpy()

    view = noise_view(trained, torch_noise)
    found = NoiseSeed(seeds=10_000).guess(view, named_generator(1))
    assert "10 of 20 updates" in found.note
    assert len(found.candidates) == 80
    inside = np.array([int(name[-1]) % 2 == 1 for name in found.candidates])
    np.testing.assert_allclose(found.scores, np.where(inside, 0.5, -0.5), atol=1e-4)
    assert found.coincidence.chance < 1e-5


def test_cryptographic_noise_is_in_no_table_of_seeds(trained: Path) -> None:
    view = noise_view(trained, lambda i: NoiseStream(i.to_bytes(32, "big")).gaussian(32))
    found = NoiseSeed(seeds=200_000).guess(view, named_generator(1))
    assert found.candidates == () and found.coincidence.chance == 1.0
    assert "0 of 20 updates" in found.note


def test_the_search_says_when_it_would_probably_have_found_nothing() -> None:
    few, many = NoiseSeed(seeds=2**18), NoiseSeed(seeds=2**24)
    assert few._coincidence(60, found=False).least == 1.0  # one in 270
    assert many._coincidence(700, found=False).least < 1e-3
    assert many._coincidence(700, found=True).chance == many._coincidence(700, found=False).least


def test_numbers_come_as_near_to_others_as_the_search_takes_them_to() -> None:
    # The leading term of the chi squared law, which the stated chance rests on.
    from scipy.stats import chi2

    from attacks.auditing.noise_seed import NEAR

    near = (NEAR / 4) ** 8 / math.factorial(8)
    assert near == pytest.approx(chi2.cdf(NEAR / 2, 16), rel=0.1)
    assert near >= chi2.cdf(NEAR / 2, 16)


@pytest.mark.parametrize("seed", [0, 1, 5, 123_456_789, 2**31, 2**32 - 1])
def test_the_first_numbers_of_a_seed_are_torchs_own(seed: int) -> None:
    drawn = torch.randn(1000, generator=torch.Generator().manual_seed(seed))[:16].numpy()
    np.testing.assert_allclose(first_normals(np.array([seed]))[0], drawn, atol=1e-5)
