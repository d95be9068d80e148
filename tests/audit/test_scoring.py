import numpy as np
import pytest

from audit.core.guesses import Reconstruction, ReconstructionGuess
from audit.core.parcel import Parcel
from audit.core.randomness import named_generator
from audit.core.scores import Outcome, Score
from audit.scoring import Origin, score_reconstruction

ORIGIN = Origin(cell="eps-1", adversary="server", attack="some")
NAME = "round-001/probe-b2-r0"


def by_metric(scores: list[Score]) -> dict[str, Score]:
    return {score.metric: score for score in scores}


def victims() -> Parcel:
    rng = named_generator(2, "victims")
    return Parcel(
        arrays={
            f"{NAME}|{client}|{kind}": array
            for client in ("h1", "h2")
            for kind, array in (
                ("inputs", rng.uniform(-1, 1, (2, 1, 8, 8)).astype(np.float32)),
                ("labels", rng.integers(0, 10, 2)),
            )
        },
        fields={"range": [-1.0, 1.0]},
    )


def perfect(truth: Parcel, clients: tuple[str, ...], order: list[int]) -> ReconstructionGuess:
    records = np.concatenate([truth.arrays[f"{NAME}|{c}|inputs"] for c in clients])[order]
    labels = np.concatenate([truth.arrays[f"{NAME}|{c}|labels"] for c in clients])[order]
    one = Reconstruction(
        observation=NAME, clients=clients, records=records, labels=labels, objective=0.0
    )
    return ReconstructionGuess(reconstructions=(one,))


def test_a_perfect_reconstruction_scores_perfectly_in_any_order() -> None:
    truth = victims()
    guess = perfect(truth, ("h1", "h2"), [3, 1, 0, 2])
    found = score_reconstruction(guess, None, truth, ORIGIN, rng=named_generator(1, "b"))
    values = {m: s.value for m, s in by_metric(found.scores).items() if s.value is not None}
    assert values == {"ssim": 1.0, "psnr": 100.0, "mse": 0.0, "label_accuracy": 1.0}
    assert all(s.slice == "round-1/batch-2" for s in found.scores)
    assert {s.n for s in found.scores if s.value is not None} == {1}
    assert np.array_equal(
        found.panels.arrays[f"{NAME}|truth"], found.panels.arrays[f"{NAME}|reconstruction"]
    )


def test_the_baseline_is_the_chance_level() -> None:
    truth = victims()
    guess = perfect(truth, ("h1", "h2"), [0, 1, 2, 3])
    flat = Reconstruction(
        observation=NAME,
        clients=("h1", "h2"),
        records=np.zeros((4, 1, 8, 8), dtype=np.float32),
        labels=np.zeros(4, dtype=np.int64),
        objective=0.0,
    )
    baseline = ReconstructionGuess(reconstructions=(flat,))
    found = score_reconstruction(guess, baseline, truth, ORIGIN, rng=named_generator(1, "b"))
    mse = by_metric(found.scores)["mse"]
    expected = np.mean([(truth.arrays[f"{NAME}|{c}|inputs"] / 2) ** 2 for c in ("h1", "h2")])
    assert mse.chance == pytest.approx(expected, rel=1e-4)


def test_a_skipped_probe_is_recorded_with_its_reason() -> None:
    guess = ReconstructionGuess(reconstructions=(), skipped={f"{NAME}|h1": "too large"})
    found = score_reconstruction(guess, None, victims(), ORIGIN, rng=named_generator(1, "b"))
    assert {s.outcome for s in found.scores} == {Outcome.NOT_RUN}
    assert {s.reason for s in found.scores} == {"too large"}
    assert all(s.value is None for s in found.scores)


def test_nan_is_no_score() -> None:
    with pytest.raises(ValueError, match="null"):
        ORIGIN.score("auc", value=float("nan"))
    with pytest.raises(ValueError, match="unknown metric"):
        Score(cell="a", adversary="b", attack="c", metric="magic")
