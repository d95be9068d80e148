"""Tables' records: categories read from a file, rebuilt from an exact gradient, scored by field."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from attacks.attack import Budget, gradient_of
from attacks.inversion.tabular import build
from audit.core.config import DataConfig, ModelConfig
from audit.core.errors import ConfigError, DataError, ViewError
from audit.core.fields import Field, FieldKind, of_parcel_fields, to_parcel_fields
from audit.core.guesses import ReconstructionGuess
from audit.core.parcel import Parcel
from audit.core.randomness import named_generator
from audit.core.views import Background, Observation, Recipe, Records, ServerView
from audit.scoring import FieldRule, Origin, score_fields
from training.data.configured import data_spec
from training.data.dataset import Dataset
from training.data.loaders import load_dataset
from training.dp_sgd import train_locally
from training.local_plan import LocalPlan
from training.models import architecture
from training.randomness import NoiseStream

WARDS, SEXES = ("icu", "surgery", "medicine"), ("f", "m")
ORIGIN = Origin(cell="eps-inf", adversary="server", attack="tabular")
RANGES = {"age": (0, 100), "weight": (0, 200), "pressure": (50, 250), "rate": (20, 220)}


def written(folder: Path, *, ward: str | None = None) -> DataConfig:
    """Write a table of 240 made-up patients with two categories and four numbers."""
    rng = named_generator(3, "patients")
    rows = [
        {
            **{name: f"{rng.uniform(low, high):.3f}" for name, (low, high) in RANGES.items()},
            "ward": ward if ward and i == 7 else WARDS[int(rng.integers(3))],
            "sex": SEXES[int(rng.integers(2))],
            "label": str(int(rng.integers(2))),
        }
        for i in range(240)
    ]
    with (folder / "wards.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return DataConfig(
        name="csv",
        path="wards.csv",
        classes=2,
        ranges={name: (float(low), float(high)) for name, (low, high) in RANGES.items()},
        categories={"ward": WARDS, "sex": SEXES},
    )


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("table")
    return load_dataset(data_spec(written(folder)), folder, False)


def view_of(dataset: Dataset, *, batch: int, updates: int = 3, noise: float | None = None):  # type: ignore[no-untyped-def]
    """Return a server's view of single steps of the project's own training, and the records."""
    built = architecture(
        ModelConfig(name="mlp", options={"hidden": 48}), dataset.shape, dataset.classes
    )
    weights, people = built.initial(2), np.arange(120)
    rng = named_generator(5, "victims", str(batch))
    drawn = rng.permutation(np.arange(120, len(dataset.y)))[: batch * updates]
    victims = np.split(drawn, updates)
    plan = LocalPlan(
        steps=1,
        sample_rate=1.0,
        expected_batch_size=float(batch),
        learning_rate=0.5,
        momentum=0.0,
        noise_multiplier=noise,
        max_grad_norm=None if noise is None else 1.0,
    )
    probes = []
    for number, part in enumerate(victims):
        stream = NoiseStream(named_generator(6, "noise", str(number)).bytes(32))
        done = train_locally(
            built.module(weights),
            dataset.inputs(part),
            dataset.y[part],
            plan,
            sampling=stream,
            noise=stream,
        )
        probes.append(
            Observation(
                name=f"round-001/probe-b{batch}-r{number}",
                round=1,
                clients=("h",),
                shares=(1.0,),
                records=batch,
                weights=weights,
                update=built.unflatten(done.update),
                learning_rate=0.5,
            )
        )
    known = Records(
        ids=tuple(map(str, people)), inputs=dataset.inputs(people), labels=dataset.y[people]
    )
    background = Background(
        architecture=built,
        recipe=Recipe(
            rounds=1,
            local_steps=1,
            expected_batch_size=float(batch),
            sample_rate=1.0,
            learning_rate=0.5,
            momentum=0.0,
            noise_multiplier=noise,
            max_grad_norm=None if noise is None else 1.0,
        ),
        candidates=known,
        population=known,
        record_range=dataset.scale.output_range,
        fields=dataset.fields,
    )
    view = ServerView(background=background, models=(weights,), rounds=(), probes=tuple(probes))
    return view, victims


def guess(view: ServerView, budget: Budget = Budget.QUICK) -> ReconstructionGuess:
    return build(budget).guess(view, named_generator(1, "tabular"))


def fields_right(found: ReconstructionGuess, victims: list[np.ndarray], dataset: Dataset) -> float:
    arrays = {}
    for one, part in zip(found.reconstructions, victims, strict=True):
        arrays[f"{one.observation}|h|inputs"] = dataset.inputs(part)
        arrays[f"{one.observation}|h|labels"] = dataset.y[part]
    truth = Parcel(arrays=arrays, fields={"range": list(dataset.scale.output_range)})
    rule = FieldRule.of(dataset.fields, dataset.inputs(np.arange(120)))
    (score,) = score_fields(found, None, truth, rule, ORIGIN, rng=named_generator(1, "b"))
    assert score.value is not None and score.metric == "field_accuracy"
    return score.value


def test_categories_become_one_hot_columns_that_belong_together(patients: Dataset) -> None:
    assert [f.name for f in patients.fields] == [*RANGES, "ward", "sex"]
    ward = patients.fields[4]
    assert (ward.kind, len(ward.columns)) == (FieldKind.CATEGORICAL, 3)
    hot = patients.x[:, list(ward.columns)]
    assert (hot.sum(axis=1) == 1).all() and patients.x.shape[1] == 4 + 3 + 2
    assert of_parcel_fields(to_parcel_fields(patients.fields)) == patients.fields


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"categories": {"wards": WARDS}}, "wards"),
        ({"categories": {"ward": ("icu",)}}, "at least 2"),
        ({"categories": {"ward": (*WARDS, "icu")}}, "each once"),
    ],
)
def test_categories_that_fit_no_column_are_refused(tmp_path: Path, changes, said) -> None:  # type: ignore[no-untyped-def]
    config = written(tmp_path).model_copy(update=changes)
    with pytest.raises((DataError, ConfigError), match=said):
        load_dataset(data_spec(config), tmp_path, False)


def test_a_value_in_no_list_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'ward' has 'attic'.*9"):
        load_dataset(data_spec(written(tmp_path, ward="attic")), tmp_path, False)


@pytest.mark.parametrize(("batch", "least"), [(1, 0.99), (4, 0.9)])
def test_an_exact_gradient_gives_the_fields_away(patients: Dataset, batch, least) -> None:  # type: ignore[no-untyped-def]
    view, victims = view_of(patients, batch=batch)
    assert fields_right(guess(view), victims, patients) >= least


def test_patients_of_the_embedded_table_are_read_field_by_field() -> None:
    cancer = load_dataset(data_spec(DataConfig(name="breast_cancer")), Path(), False)
    view, victims = view_of(cancer, batch=1)
    assert fields_right(guess(view), victims, cancer) > 0.95


def test_noise_gives_no_more_than_the_prior(patients: Dataset) -> None:
    view, victims = view_of(patients, batch=1, updates=8)
    rng = named_generator(7, "drowned")

    def noise(one: Observation) -> Observation:
        length = np.sqrt(sum((g**2).sum() for g in gradient_of(one).values()))
        drawn = {n: rng.standard_normal(u.shape) for n, u in one.update.items()}
        norm = np.sqrt(sum((d**2).sum() for d in drawn.values()))
        return dataclasses.replace(
            one, update={n: (d * length / norm).astype(np.float32) for n, d in drawn.items()}
        )

    blind = dataclasses.replace(view, probes=tuple(noise(one) for one in view.probes))
    people = patients.inputs(np.arange(120))
    typical = ReconstructionGuess(
        reconstructions=tuple(
            dataclasses.replace(one, records=people.mean(axis=0, keepdims=True))
            for one in guess(view).reconstructions
        )
    )
    prior = fields_right(typical, victims, patients)
    assert fields_right(guess(blind), victims, patients) < prior + 0.25
    assert fields_right(guess(view), victims, patients) > prior + 0.4


def test_dp_noise_hides_the_fields(patients: Dataset) -> None:
    view, victims = view_of(patients, batch=1, updates=8, noise=5.0)
    assert fields_right(guess(view), victims, patients) < 0.6


def test_the_same_generator_gives_the_same_guess(patients: Dataset) -> None:
    view, _ = view_of(patients, batch=1, updates=1)
    first, second = guess(view), guess(view)
    assert first.reconstructions[0].records.tobytes() == second.reconstructions[0].records.tobytes()


def test_what_cannot_be_worked_on_is_left_out_with_the_reason(patients: Dataset) -> None:
    view, _ = view_of(patients, batch=1, updates=1)
    (one,) = view.probes
    images = dataclasses.replace(view.background, fields=())
    for changed, said in (
        (dataclasses.replace(view, background=images), "no tables"),
        (
            dataclasses.replace(
                view,
                probes=(
                    dataclasses.replace(one, update={n: u * np.nan for n, u in one.update.items()}),
                ),
            ),
            "not finite",
        ),
        (dataclasses.replace(view, probes=(dataclasses.replace(one, records=500),)), "500 records"),
        (dataclasses.replace(view, probes=(dataclasses.replace(one, steps=3),)), "3 local steps"),
    ):
        assert said in next(iter(guess(changed).skipped.values()))
    with pytest.raises(ViewError, match="tabular"):
        guess(dataclasses.replace(view, probes=()))


def test_a_field_is_right_within_the_tolerance_or_by_its_largest_column() -> None:
    fields = (
        Field(name="age", columns=(0,), kind=FieldKind.CONTINUOUS),
        Field(name="sex", columns=(1, 2), kind=FieldKind.CATEGORICAL),
    )
    people = np.array([[0.0, 1, 0], [2.0, 0, 1]], dtype=np.float32)  # deviation of 1
    rule = FieldRule.of(fields, people)
    truth = np.array([[1.0, 1, 0]] * 4)
    rebuilt = np.array([[1.3, 0.6, 0.4], [1.35, 0.6, 0.4], [0.7, 0.4, 0.6], [1.0, 1, 0]])
    assert rule.right(rebuilt, truth).tolist() == [[1, 1], [0, 1], [1, 0], [1, 1]]
    with pytest.raises(ValueError, match="population is empty"):
        FieldRule.of(fields, people[:0])
    with pytest.raises(ValueError, match=r"expected each of 4 columns once|2 columns"):
        from audit.core.fields import check_fields

        check_fields(fields, 4)
