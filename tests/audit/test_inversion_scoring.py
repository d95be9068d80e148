"""Reconstructions beside baselines, identification beside decoys and bounds, and who does best."""

import numpy as np
import pytest

from audit.core.adversaries import Adversary
from audit.core.guesses import IdentificationGuess, Reconstruction, ReconstructionGuess
from audit.core.parcel import Parcel
from audit.core.randomness import named_generator
from audit.core.scores import Outcome, Score
from audit.scoring import (
    Claimed,
    Known,
    Origin,
    SliceValues,
    judge,
    score_identification,
    score_reconstruction,
    score_strongest_inversion,
)
from audit.scoring.probes import size_of
from audit.stats import reconstruction_bound

ORIGIN = Origin(cell="eps-1", adversary="server", attack="some")
CLAIMED = Claimed(epsilon=1.0, delta=1e-5, noise_multiplier=3.0, sample_rate=1.0, steps=1)
UPDATES, POOL = 12, 120
RNG = named_generator(4, "inversion-scoring")
PICTURES = RNG.random((POOL, 1, 8, 8)).astype(np.float32)
KNOWN = Known(
    population=RNG.random((50, 1, 8, 8)).astype(np.float32),
    labels=np.arange(50) % 2,
    pool=PICTURES,
)


def name(update: int) -> str:
    return f"round-001/probe-b1-r{update}"


def truth(*, decoys: int = 99) -> Parcel:
    """Single-record updates; the victim of update i is record i of a pool of one class."""
    arrays: dict[str, np.ndarray] = {}
    for i in range(UPDATES):
        others = np.setdiff1d(np.arange(POOL), [i])[:99].copy()
        others[decoys:] = -1
        arrays |= {
            f"{name(i)}|h|inputs": PICTURES[i : i + 1],
            f"{name(i)}|h|labels": np.array([1]),
            f"{name(i)}|h|places": np.array([i]),
            f"{name(i)}|h|decoys": others[None],
        }
    return Parcel(arrays=arrays, fields={"range": [0.0, 1.0]})


def rebuilt(pictures: np.ndarray, label: int = 1) -> tuple[Reconstruction, ...]:
    return tuple(
        Reconstruction(
            observation=name(i),
            clients=("h",),
            records=pictures[i : i + 1],
            labels=np.array([label]),
            objective=0.0,
        )
        for i in range(UPDATES)
    )


def scored(guess: ReconstructionGuess, **options: object) -> dict[str, Score]:
    found = score_reconstruction(
        guess,
        None,
        options.pop("victims", truth()),  # type: ignore[arg-type]
        ORIGIN,
        rng=named_generator(1, "b"),
        known=KNOWN,
        **options,  # type: ignore[arg-type]
    )
    return {score.metric: score for score in found.scores}


def test_a_perfect_reconstruction_is_named_and_beats_every_baseline() -> None:
    guess = ReconstructionGuess(
        reconstructions=rebuilt(PICTURES), controls=rebuilt(1 - PICTURES, label=0)
    )
    found = scored(guess)
    named = found["identification_rate_100"]
    assert (named.value, named.n, named.method) == (1.0, UPDATES, "clopper-pearson")
    assert named.chance == pytest.approx(0.01, abs=0.1)
    gain = found["ssim_over_baseline"]
    assert gain.low is not None and gain.low > 0.5
    assert gain.value == pytest.approx(1 - (found["ssim"].chance or 0), abs=1e-6)


def test_a_guess_that_is_the_class_mean_gains_nothing() -> None:
    mean = KNOWN.population[KNOWN.labels == 1].mean(axis=0)
    found = scored(ReconstructionGuess(reconstructions=rebuilt(np.repeat(mean[None], POOL, 0))))
    gain = found["ssim_over_baseline"]
    assert gain.value is not None and gain.value <= 1e-6
    assert found["mse"].chance is not None
    assert found["mse"].value is not None and found["mse"].value >= found["mse"].chance - 1e-9
    assert "best baseline: the " in (found["mse"].reason or "")


def test_what_the_attack_makes_of_another_update_is_a_baseline_that_counts() -> None:
    # Every update "rebuilds" the same picture, which is near all: only another's shows it.
    same = np.repeat(PICTURES[:UPDATES].mean(axis=0)[None], POOL, axis=0)
    found = scored(ReconstructionGuess(reconstructions=rebuilt(same)))
    assert found["ssim_over_baseline"].value == pytest.approx(0, abs=1e-6)
    assert (found["ssim"].reason or "").startswith("best baseline: the attack on another update;")


def test_a_baseline_that_is_told_the_class_does_not_compete_for_labels() -> None:
    found = scored(ReconstructionGuess(reconstructions=rebuilt(PICTURES, label=1)))
    assert found["label_accuracy"].value == 1.0
    assert found["label_accuracy"].chance == 1.0  # another update's label is right here, too
    found = scored(
        ReconstructionGuess(reconstructions=rebuilt(PICTURES, label=1)[:1]), victims=truth()
    )
    assert found["label_accuracy"].chance == 0.0  # only the population's most frequent is left


def test_what_was_left_out_is_said_beside_what_was_measured() -> None:
    found = scored(
        ReconstructionGuess(
            reconstructions=rebuilt(PICTURES)[:2],
            skipped={name(i): "not recovered by this attack" for i in range(2, UPDATES)},
        )
    )
    for metric in ("mse", "identification_rate_100", "ssim_over_baseline"):
        said = found[metric].reason or ""
        assert f"10 of {UPDATES} observations left out: not recovered by this attack" in said
    assert found["mse"].n == 2


def test_a_class_without_enough_decoys_is_not_resolvable() -> None:
    found = scored(ReconstructionGuess(reconstructions=rebuilt(PICTURES)), victims=truth(decoys=40))
    assert found["identification_rate_10"].value == 1.0
    hundred = found["identification_rate_100"]
    assert hundred.outcome is Outcome.NOT_RESOLVABLE and "41 candidates" in (hundred.reason or "")


def guessed(right: int) -> IdentificationGuess:
    """Name the record of the first so many updates, and a decoy of all others."""
    scores = np.zeros((UPDATES, POOL))
    for i in range(UPDATES):
        scores[i, i if i < right else POOL // 2] = 1
    return IdentificationGuess(
        observations=tuple(name(i) for i in range(UPDATES)),
        clients=(("h",),) * UPDATES,
        pool=tuple(map(str, range(POOL))),
        scores=scores,
    )


def identified(right: int, bound: float | None = 0.05):  # type: ignore[no-untyped-def]
    bounds = (
        {}
        if bound is None
        else {name(i): {"identification_rate_100": bound} for i in range(UPDATES)}
    )
    return score_identification(
        guessed(right), truth(), CLAIMED, ORIGIN, bounds=bounds, rng=named_generator(1, "b")
    )


def test_names_are_counted_exactly_and_set_beside_the_bound() -> None:
    found = identified(3)
    score = next(s for s in found.scores if s.metric == "identification_rate_100")
    assert (score.value, score.chance, score.bound, score.n) == (0.25, 0.01, 0.05, UPDATES)


def test_a_rate_above_the_bound_is_evidence_against_the_probes_claim() -> None:
    from scipy.stats import binom

    sound, broken = identified(1).record, identified(9).record
    assert sound is not None and broken is not None
    assert sound.p_value == pytest.approx(binom.sf(0, UPDATES, 0.05))
    assert broken.p_value == pytest.approx(binom.sf(8, UPDATES, 0.05))
    assert broken.p_value is not None and broken.p_value < 1e-6
    assert broken.about == "probe" and broken.lower_bound > 1.0
    assert broken.lower_bound <= broken.ceiling
    assert identified(3, bound=None).record is None  # without DP nothing is claimed
    (judged,) = judge([broken])  # no test of a swapped truth, which would cost power for nothing
    assert (judged.tests, judged.adjusted_p_value) == (1, broken.p_value)
    assert judged.reversal_p_value is None and judged.adjusted_reversal_p_value is None


def test_the_implied_epsilon_rarely_exceeds_the_truth_where_the_best_attack_is_made() -> None:
    rng, over, noise, trials = named_generator(7, "implied"), 0, 0.8, 200
    from audit.stats import epsilon_of_mu

    true = epsilon_of_mu(1 / noise, 1e-5)
    bound = reconstruction_bound(0.01, noise_multiplier=noise, sample_rate=1.0, steps=1)
    for _ in range(trials):
        scores = noise * rng.standard_normal((UPDATES, POOL))
        scores[np.arange(UPDATES), np.arange(UPDATES)] += 1
        guess = IdentificationGuess(
            observations=tuple(name(i) for i in range(UPDATES)),
            clients=(("h",),) * UPDATES,
            pool=tuple(map(str, range(POOL))),
            scores=scores,
        )
        found = score_identification(
            guess,
            truth(),
            CLAIMED,
            ORIGIN,
            bounds={name(i): {"identification_rate_100": bound} for i in range(UPDATES)},
            rng=rng,
        )
        assert found.record is not None
        over += found.record.lower_bound > true
    assert over / trials <= 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5


@pytest.mark.parametrize(
    ("observation", "slice_name"),
    [
        ("round-001/probe-b4-r0|hospital-1", "round-1/batch-4"),
        ("round-012/probe-b16-s5-r1", "round-12/batch-16/steps-5"),
        ("round-001/probe-b8-m4-e5-r1", "round-1/batch-8/mini-4/epochs-5"),
        ("round-001/probe-b8-m4-e5-open-r1|h", "round-1/batch-8/mini-4/epochs-5/order-known"),
    ],
)
def test_probes_are_grouped_by_size_and_steps(observation: str, slice_name: str) -> None:
    assert size_of(observation) == slice_name


def test_the_strongest_attack_has_an_interval_that_allows_for_the_choice() -> None:
    def rate(hits: int) -> SliceValues:
        return SliceValues(updates=tuple((float(i < hits),) for i in range(20)), chance=0.01)

    measured = {
        (Adversary.SERVER, attack): {
            "round-1/batch-1": {"identification_rate_100": rate(hits)},
            "round-1/batch-4": {"identification_rate_100": rate(20)},
        }
        for attack, hits in {"a": 3, "b": 12, "c": 0}.items()
    }
    (found,) = score_strongest_inversion(measured, "eps-1", rng=named_generator(1, "b"))
    assert (found.by, found.value, found.slice) == ("b", 0.6, "round-1/batch-1")
    from audit.stats import clopper_pearson_interval

    alone = clopper_pearson_interval(12, 20, 0.95)
    assert found.low is not None and found.high is not None
    assert found.low < alone.low and found.high > alone.high
    assert "largest of 3" in found.method


def test_label_counts_and_fields_have_a_strongest_attack_too() -> None:
    def values(part: float, records: int) -> SliceValues:
        return SliceValues(updates=((part,) * records,) * 6, chance=0.3)

    measured = {
        (Adversary.SERVER, "label-counts"): {
            "round-1/batch-4": {"label_accuracy": values(0.75, 1)}
        },
        (Adversary.SERVER, "tabular"): {
            "round-1/batch-4": {
                "label_accuracy": values(0.5, 4),
                "field_accuracy": values(0.9, 4),
            }
        },
    }
    found = score_strongest_inversion(measured, "eps-1", rng=named_generator(1, "b"))
    assert {s.metric: (s.by, s.value, s.chance, s.n) for s in found} == {
        "label_accuracy": ("label-counts", 0.75, 0.3, 6),
        "field_accuracy": ("tabular", 0.9, 0.3, 6),
    }
    labels = next(s for s in found if s.metric == "label_accuracy")
    assert "largest of 2" in (labels.method or "")


def test_the_joint_interval_covers_the_largest_rate() -> None:
    rng, rates, held = named_generator(9, "joint"), (0.2, 0.25, 0.3), 0
    for _ in range(200):
        measured = {
            (Adversary.SERVER, str(i)): {
                "round-1/batch-1": {
                    "identification_rate_10": SliceValues(
                        updates=tuple((float(h),) for h in rng.random(30) < rate)
                    )
                }
            }
            for i, rate in enumerate(rates)
        }
        (found,) = score_strongest_inversion(measured, "eps-1", rng=rng)
        assert found.low is not None and found.high is not None
        held += found.low <= max(rates) <= found.high
    assert held / 200 > 0.95 - 3 * (0.05 * 0.95 / 200) ** 0.5
