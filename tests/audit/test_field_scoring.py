"""Fields of tables' records: what counts as right, the chance level, and a run from end to end."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from attacks.attack import Budget
from audit.core.fields import Field, FieldKind, continuous_fields
from audit.core.guesses import Reconstruction, ReconstructionGuess
from audit.core.loading import load_config
from audit.core.parcel import Parcel
from audit.core.randomness import named_generator
from audit.core.scores import Outcome, Score
from audit.formats.files import read_json_lines
from audit.pipeline.attack import AttackOptions, attack
from audit.pipeline.train import TrainOptions, train
from audit.scoring import FieldRule, Known, Origin, score_fields
from audit.scoring.typical import typical_record

ORIGIN = Origin(cell="eps-1", adversary="server", attack="some")
FIELDS = (
    Field(name="age", columns=(0,), kind=FieldKind.CONTINUOUS),
    Field(name="ward", columns=(1, 2, 3), kind=FieldKind.CATEGORICAL),
)
POPULATION = np.array([[-0.5, 1, -1, -1], [0.5, -1, 1, -1]], dtype=np.float32)
RULE = FieldRule.of(FIELDS, POPULATION)
TRUTH = np.array([[0.0, 1, -1, -1], [0.8, -1, -1, 1]], dtype=np.float32)


def probe(repeat: int, size: int = 2) -> str:
    return f"round-001/probe-b{size}-r{repeat}|h1"


def victims(repeats: int, size: int = 2) -> Parcel:
    return Parcel(
        arrays={
            f"{probe(i, size).partition('|')[0]}|h1|inputs": TRUTH[:size] for i in range(repeats)
        },
        fields={"range": [-1.0, 1.0]},
    )


def guessed(*versions: np.ndarray, size: int = 2) -> ReconstructionGuess:
    return ReconstructionGuess(
        reconstructions=tuple(
            Reconstruction(
                observation=probe(i, size),
                clients=("h1",),
                records=np.asarray(records, dtype=np.float32),
                labels=np.zeros(len(records), dtype=np.int64),
                objective=0.0,
            )
            for i, records in enumerate(versions)
        )
    )


def scored(guess: ReconstructionGuess, baseline: ReconstructionGuess | None = None) -> Score:
    found = score_fields(
        guess, baseline, victims(len(guess.reconstructions)), RULE, ORIGIN,
        rng=named_generator(1, "b"),
    )  # fmt: skip
    (score,) = found.scores
    kept = found.values[score.slice]["field_accuracy"]
    assert np.mean([np.mean(one) for one in kept.updates]) == score.value
    assert kept.chance == score.chance
    return score


def test_a_number_is_right_within_0_319_of_the_populations_standard_deviations() -> None:
    near, far = 0.318 * 0.5, 0.320 * 0.5
    values = [[near, 0.1, 0, 0], [-near, 0, 0.1, 0], [far, 1, -1, -1], [-far, -1, 1, -1]]
    right = RULE.right(np.array(values), np.repeat(TRUTH[:1], 4, axis=0))
    np.testing.assert_array_equal(right, [[1, 1], [1, 0], [0, 1], [0, 0]])


def test_a_constant_column_must_be_right_up_to_rounding() -> None:
    rule = FieldRule.of(continuous_fields(["a"]), np.full((3, 1), 0.25, np.float32))
    found = rule.right(np.array([[0.25 + 1e-7], [0.251]]), np.full((2, 1), 0.25))
    np.testing.assert_array_equal(found, [[1], [0]])
    with pytest.raises(ValueError, match="population is empty"):
        FieldRule.of(FIELDS, POPULATION[:0])


def test_records_are_matched_before_they_are_compared() -> None:
    score = scored(guessed(TRUTH[::-1]))
    assert (score.value, score.slice, score.n) == (1.0, "round-1/batch-2", 1)
    assert (score.low, score.high, score.better) == (0.0, 1.0, "up")


def test_the_baseline_is_matched_alike_and_is_the_chance_level() -> None:
    mean = np.repeat(POPULATION.mean(axis=0)[None], 2, axis=0)
    score = scored(guessed(TRUTH), guessed(mean))
    # Age 0 and the first ward are right for one record, nothing for the other.
    assert score.chance == 0.5
    assert scored(guessed(mean), guessed(mean)).value == 0.5


def test_intervals_resample_updates_and_other_probe_sizes_stand_apart() -> None:
    wrong = np.array([[1.0, -1, 1, -1], [-0.9, -1, 1, -1]])
    score = scored(guessed(TRUTH, wrong, TRUTH, wrong))
    assert (score.value, score.n) == (0.5, 4)
    assert score.low is not None and score.high is not None
    assert score.low < 0.1 and score.high > 0.9
    both = ReconstructionGuess(
        reconstructions=(
            *guessed(TRUTH).reconstructions,
            *guessed(TRUTH[:1], size=1).reconstructions,
        ),
        skipped={probe(0, 8): "8 records: too many", probe(1, 2): "every restart diverged"},
    )
    truth = Parcel(
        arrays={**victims(1).arrays, **victims(1, 1).arrays}, fields={"range": [-1.0, 1.0]}
    )
    found = score_fields(both, None, truth, RULE, ORIGIN, rng=named_generator(1, "b"))
    median = "best baseline: the median record"
    assert [(s.slice, s.outcome, (s.reason or "").partition(";")[0]) for s in found.scores] == [
        ("round-1/batch-1", Outcome.EXECUTED, median),
        ("round-1/batch-2", Outcome.EXECUTED, median),
        ("round-1/batch-8", Outcome.NOT_RUN, "8 records: too many"),
    ]


SKEWED = np.array(
    [[-1, 1, -1, -1], [-1, -1, 1, -1], [-0.9, -1, -1, 1], [-0.9, -1, 1, -1], [3, -1, 1, -1]],
    dtype=np.float32,
)


def test_the_typical_record_is_of_medians_and_of_the_most_frequent_categories() -> None:
    np.testing.assert_allclose(typical_record(FIELDS, SKEWED), [-0.9, -1, 1, -1], rtol=1e-6)
    constant = np.full((3, 4), 0.5, np.float32)
    np.testing.assert_allclose(typical_record(FIELDS, constant), [0.5] * 4)


def test_the_median_record_is_the_chance_level_where_it_beats_the_mean() -> None:
    rule = FieldRule.of(FIELDS, SKEWED)
    truth = np.array([[-0.95, -1, 1, -1], [-1, -1, 1, -1]], dtype=np.float32)
    arrays = {f"{probe(0).partition('|')[0]}|h1|inputs": truth}
    mean = guessed(np.repeat(SKEWED.mean(axis=0)[None], 2, axis=0))
    found = score_fields(
        mean,
        mean,
        Parcel(arrays=arrays, fields={"range": [-1.0, 3.0]}),
        rule,
        ORIGIN,
        rng=named_generator(1, "b"),
    )
    (score,) = found.scores
    assert (score.value, score.chance) == (0.5, 1.0)
    assert (
        score.reason == "best baseline: the median record; the median record 1, the mean record 0.5"
    )


def test_fields_stand_beside_all_baselines_that_never_saw_the_update() -> None:
    names = [probe(i).partition("|")[0] for i in range(3)]
    truth = Parcel(
        arrays={f"{name}|h1|inputs": TRUTH for name in names}
        | {f"{name}|h1|labels": np.array([0, 1]) for name in names}
        | {f"{name}|h1|places": np.array([0, 1]) for name in names}
        | {f"{name}|h1|decoys": np.array([[2], [2]]) for name in names},
        fields={"range": [-1.0, 1.0]},
    )
    scale = (POPULATION + 1) / 2
    known = Known(
        population=scale,
        labels=np.array([0, 1]),
        pool=np.concatenate([(TRUTH + 1) / 2, scale[:1]]),
        fields=FIELDS,
    )
    wrong = np.array([[1.0, -1, 1, -1], [-0.9, -1, 1, -1]])
    guess = dataclasses.replace(
        guessed(TRUTH, TRUTH, TRUTH), controls=guessed(wrong, wrong, wrong).reconstructions
    )
    (score,) = score_fields(
        guess, None, truth, RULE, ORIGIN, rng=named_generator(1, "b"), known=known
    ).scores
    assert score.value == 1.0
    # Every update holds the same records here, so what was made of another one is right as well.
    assert (score.reason or "").startswith("best baseline: the attack on another update; ")
    for name, value in {
        "the attack on another update": 1,
        "the mean record": 0.5,
        "the median record": 0.5,
        "the class mean": 0.25,
        "another record of the class": 0.25,
        "the attack on a random gradient": 0,
    }.items():
        assert f"{name} {value:.3g}" in (score.reason or "")


CONFIG = """
name: own
data:
  name: csv
  path: own.csv
  ranges: {age: [0, 120], pulse: [20, 200]}
  categories: {ward: [icu, surgery, other]}
  holdout_fraction: 0.5
  auxiliary_fraction: 0.5
partition: {clients: 2}
model: {name: mlp, options: {hidden: 32}}
schedule: {rounds: 1, local_steps: 1, batch_size: 10, learning_rate: 0.25}
privacy: {epsilons: [.inf], nominal_records: 20}
probes: {batch_sizes: [1, 8], repeats: 2}
"""


def test_a_mixed_table_is_read_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    lines = ["age,ward,pulse,label"]
    for i in range(100):
        ward = ("icu", "surgery", "other")[rng.integers(3)]
        lines.append(f"{rng.normal(60, 15):.1f},{ward},{rng.normal(80, 12):.1f},{i % 2}")
    (tmp_path / "own.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "own.yaml").write_text(CONFIG)
    monkeypatch.setenv("AUDIT_DATA", str(tmp_path))
    run = train(load_config(str(tmp_path / "own.yaml"), []), tmp_path / "run", TrainOptions())
    report = attack(
        run, AttackOptions(only=("tabular",), adversaries=("server",), budget=Budget.QUICK)
    )
    assert report.failed == {}
    found = {
        (s["attack"], s["slice"]): s
        for s in read_json_lines(run.path / "scores.jsonl")
        if s["metric"] == "field_accuracy"
    }
    one = found["tabular", "round-1/batch-1"]
    assert one["value"] > 0.9 > one["chance"]
    assert one["chance"] >= found["prior-mean", "round-1/batch-1"]["value"]
    assert one["n"] == 4  # two probes of each of two hospitals
    large = found["tabular", "round-1/batch-8"]
    assert (large["value"], large["outcome"]) == (None, "not_run")
    assert "8 records" in large["reason"]
