"""Training rounds under inversion: what they are taken for, what it costs, whom it names."""

import dataclasses

import inversion_probes as probes
import numpy as np
import pytest

from attacks.inversion.fedavg import FedAvgInversion
from attacks.inversion.inverting_gradients import CosineMatching
from attacks.inversion.rounds import size_of_round
from audit.core.guesses import Reconstruction, ReconstructionGuess
from audit.core.randomness import named_generator
from audit.core.scores import Outcome
from audit.core.views import Records
from audit.scoring import Origin, apart, score_rounds
from audit.vault import MembershipTruth

ORIGIN = Origin(cell="eps-1", adversary="server", attack="fedavg-unrolled")
RNG = named_generator(3, "rounds")
INPUTS = RNG.random((240, 1, 8, 8)).astype(np.float32)
CANDIDATES = Records(ids=tuple(map(str, range(240))), inputs=INPUTS, labels=np.arange(240) % 2)
HOSPITAL = {str(i): ("h1" if i % 4 < 2 else "h2") if i < 120 else None for i in range(240)}
TRUTH = MembershipTruth(
    member={name: hospital is not None for name, hospital in HOSPITAL.items()},
    hospital=HOSPITAL,
    groups={},
)


def rebuilt(records: np.ndarray, client: str, number: int = 1) -> Reconstruction:
    return Reconstruction(
        observation=f"round-{number:03d}|{client}",
        clients=(client,),
        records=records.astype(np.float32),
        labels=np.zeros(len(records), dtype=np.int64),
        objective=0.0,
    )


def scored(*found: Reconstruction, skipped=None):
    guess = ReconstructionGuess(reconstructions=found, skipped=skipped or {})
    scores = score_rounds(guess, CANDIDATES, TRUTH, ORIGIN, rng=named_generator(1, "r"))
    return {(s.slice, s.metric): s for s in scores}


def of(client: str) -> np.ndarray:
    return INPUTS[[int(i) for i, hospital in HOSPITAL.items() if hospital == client]]


def test_a_hospitals_own_records_are_named_and_another_hospitals_are_not() -> None:
    both = scored(rebuilt(of("h1"), "h1"), rebuilt(of("h2"), "h2"))
    score = both["round-1/training", "identification_rate_10"]
    assert (score.value, score.n, score.chance, score.reason) == (1.0, 2, 0.1, None)
    other = scored(rebuilt(of("h2"), "h1"), rebuilt(of("h1"), "h2"))
    score = other["round-1/training", "identification_rate_10"]
    assert score.value is not None and score.value < 0.25
    assert score.reason == "not recovered by this attack"
    # 60 of a class that no hospital trained on are too few for 99 decoys.
    hundred = both["round-1/training", "identification_rate_100"]
    assert (hundred.outcome, hundred.value) == (Outcome.NOT_RESOLVABLE, None)


def test_reconstructions_without_information_are_at_chance() -> None:
    hits = []
    for repeat in range(60):
        drawn = named_generator(repeat, "null").random((30, 1, 8, 8))
        found = scored(rebuilt(drawn, "h1"), rebuilt(drawn, "h2"))
        hits.append(found["round-1/training", "identification_rate_10"].value)
    assert np.mean(hits) == pytest.approx(0.1, abs=0.02)


def test_a_round_that_was_left_out_says_why_and_probes_stand_apart() -> None:
    found = scored(skipped={"round-002|h1": "a round would cost too much"})
    score = found["round-2/training", "identification_rate_10"]
    assert (score.outcome, score.reason) == (Outcome.NOT_RUN, "a round would cost too much")
    probe = dataclasses.replace(rebuilt(of("h1"), "h1"), observation="round-001/probe-b1-r0|h1")
    guess = ReconstructionGuess(
        reconstructions=(probe, rebuilt(of("h1"), "h1")), skipped={"round-002": "x"}
    )
    of_probes, of_rounds = apart(guess)
    assert of_probes.reconstructions == (probe,) and of_probes.skipped == {}
    assert len(of_rounds.reconstructions) == 1 and of_rounds.skipped == {"round-002": "x"}


@pytest.mark.parametrize(
    ("steps", "batch", "rate", "records", "mini"),
    [
        (22, 32, 32 / 360, 352, 32),  # about two epochs
        (20, 128, 128 / 18_333, 2560, 128),  # less than one: every record is new
        (1, 180, 0.5, 180, None),
        (3, 180, 0.5, 540, 180),
        (4, 100, 1.0, 100, None),  # every step is on all of them
    ],
)
def test_a_round_is_taken_for_epochs_of_whole_batches(steps, batch, rate, records, mini) -> None:
    view, _ = probes.made(updates=1)
    recipe = dataclasses.replace(
        view.background.recipe,
        local_steps=steps,
        expected_batch_size=float(batch),
        sample_rate=rate,
    )
    size = size_of_round(recipe, 1)
    assert (size.records, size.batch, size.uses) == (records, mini, steps * batch)


def rounds_of(view, numbers=(1, 2, 3)):
    """The view's updates as rounds, of which there are no probes."""
    recipe = dataclasses.replace(
        view.background.recipe, local_steps=4, expected_batch_size=2.0, sample_rate=0.5
    )
    return dataclasses.replace(
        view,
        background=dataclasses.replace(view.background, recipe=recipe),
        probes=(),
        rounds=tuple(
            dataclasses.replace(
                one, name=f"round-{n:03d}", round=n, records=None, batch=None, order=None
            )
            for n, one in zip(numbers, view.probes, strict=True)
        ),
    )


@pytest.mark.parametrize("unrolled", [True, False])
def test_the_first_and_last_round_are_rebuilt_where_that_is_affordable(unrolled) -> None:
    made, _ = probes.made(updates=3, batch=4, mini=2, steps=4)
    view = rounds_of(made)
    attack = FedAvgInversion(
        unrolled=unrolled,
        solver=CosineMatching(iterations=10),
        restarts=1,
        most_records=4,
        most_numbers=1e12,
    )
    found = attack.guess(view, named_generator(1, "r"))
    assert [one.observation for one in found.reconstructions] == ["round-001", "round-003"]
    assert {len(one.records) for one in found.reconstructions} == {4}
    assert (
        attack.training_work(view.background, hospitals=1, observations=2, parameters=1).iterations
        == 20
    )
    dear = dataclasses.replace(attack, most_numbers=1e3)
    left = dear.guess(view, named_generator(1, "r"))
    assert left.reconstructions == ()
    assert set(left.skipped) == {"round-001", "round-003"}
    assert all("more than the 1e+03 allowed" in reason for reason in left.skipped.values())
    assert (
        dear.training_work(view.background, hospitals=1, observations=2, parameters=10**6).passes
        == 0
    )
