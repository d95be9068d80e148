"""Tables' records are read off an exact gradient, and off nothing else."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from attacks.attack import Budget
from attacks.inversion.prior import PriorMean
from attacks.inversion.table_dummies import Labelled, TableDummies
from attacks.inversion.tabular import build
from audit.core.config import ModelConfig
from audit.core.errors import ViewError
from audit.core.fields import Field, FieldKind
from audit.core.guesses import ReconstructionGuess
from audit.core.parcel import Parcel
from audit.core.randomness import named_generator
from audit.core.scores import Score
from audit.core.views import Background, Observation, Recipe, Records, ServerView
from audit.scoring import FieldRule, Origin, score_fields
from training.data.dataset import Dataset
from training.data.loaders import load_dataset
from training.data.spec import DataSpec
from training.models import architecture

POPULATION = 60
RATE = 0.25
ORIGIN = Origin(cell="eps-inf", adversary="server", attack="tabular")


def mixed_table(folder: Path) -> Dataset:
    """300 patients with four numbers and two categories."""
    rng = np.random.default_rng(3)
    wards, sexes = ("icu", "surgery", "other"), ("f", "m")
    lines = ["ward,age,weight,sex,pulse,lactate,label"]
    for _ in range(300):
        age, ward, sex = rng.normal(60, 15), rng.choice(wards, p=(0.2, 0.3, 0.5)), rng.choice(sexes)
        numbers = age, rng.normal(75, 12), rng.normal(80, 10), rng.gamma(2, 1)
        a, b, c, d = (f"{value:.2f}" for value in numbers)
        lines.append(f"{ward},{a},{b},{sex},{c},{d},{int(rng.random() < age / 120)}")
    (folder / "own.csv").write_text("\n".join(lines) + "\n")
    spec = DataSpec(
        name="csv",
        path=str(folder / "own.csv"),
        ranges={"age": (0, 120), "weight": (0, 200), "pulse": (20, 200), "lactate": (0, 20)},
        categories={"ward": wards, "sex": sexes},
    )
    return load_dataset(spec, folder)


class Victims:
    """One hospital's probe of the first records after the population, and what a server sees."""

    def __init__(self, data: Dataset, *, count: int = 1, first: int = POPULATION, **recipe: float):
        self.data = data
        chosen = np.arange(first, first + count)
        self.inputs, self.labels = data.inputs(chosen), data.y[chosen]
        self.name = f"round-001/probe-b{count}-r0|hospital-1"
        built = architecture(ModelConfig(name="mlp", options={"hidden": 32}), data.shape, 2)
        weights = built.initial(1)
        self.clip = recipe.get("max_grad_norm")
        module = built.module(weights)
        update = {n: np.zeros(p.shape, np.float32) for n, p in module.named_parameters()}
        for x, y in zip(self.inputs, self.labels, strict=True):
            module.zero_grad()
            logits = module(torch.from_numpy(x[None]))
            torch.nn.functional.cross_entropy(logits, torch.tensor([y])).backward()
            grads = {n: p.grad.numpy() for n, p in module.named_parameters()}  # type: ignore[union-attr]
            norm = np.sqrt(sum(float((g**2).sum()) for g in grads.values()))
            factor = 1.0 if self.clip is None else min(1.0, self.clip / norm)
            for name, gradient in grads.items():
                update[name] -= np.float32(RATE * factor / count) * gradient
        known = Records(
            ids=tuple(map(str, range(POPULATION))),
            inputs=data.inputs(slice(0, POPULATION)),
            labels=data.y[:POPULATION],
        )
        self.view = ServerView(
            background=Background(
                architecture=built,
                recipe=Recipe(
                    rounds=1,
                    local_steps=1,
                    expected_batch_size=1.0,
                    sample_rate=1.0,
                    learning_rate=RATE,
                    momentum=0.0,
                    noise_multiplier=recipe.get("noise_multiplier"),
                    max_grad_norm=self.clip,
                ),
                candidates=known,
                population=known,
                record_range=data.scale.output_range,
                fields=data.fields,
            ),
            models=(),
            rounds=(),
            probes=(
                Observation(
                    name=self.name,
                    round=1,
                    clients=("hospital-1",),
                    shares=(1.0,),
                    records=count,
                    weights=weights,
                    update=update,
                    learning_rate=RATE,
                ),
            ),
        )

    def with_update(self, change: Callable[[np.ndarray], np.ndarray]) -> ServerView:
        (probe,) = self.view.probes
        update = {name: change(part).astype(np.float32) for name, part in probe.update.items()}
        return dataclasses.replace(self.view, probes=(dataclasses.replace(probe, update=update),))

    def score(self, guess: ReconstructionGuess) -> Score:
        session = self.name.partition("|")[0]
        low, high = self.data.scale.output_range
        truth = Parcel(
            arrays={
                f"{session}|hospital-1|inputs": self.inputs,
                f"{session}|hospital-1|labels": self.labels,
            },
            fields={"range": [low, high]},
        )
        prior = PriorMean().guess(self.view, named_generator(1, "prior"))
        rule = FieldRule.of(self.data.fields, self.view.background.population.inputs)
        found = score_fields(guess, prior, truth, rule, ORIGIN, rng=named_generator(1, "boot"))
        (score,) = found.scores
        return score


def attacked(view: ServerView, budget: Budget = Budget.QUICK) -> ReconstructionGuess:
    alone = dataclasses.replace(build(budget), controls=False)
    return alone.guess(view, named_generator(1, "tabular"))


@pytest.fixture(scope="module")
def cancer() -> Dataset:
    return load_dataset(DataSpec(name="breast_cancer"), Path())


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return mixed_table(tmp_path_factory.mktemp("mixed"))


@pytest.mark.parametrize("first", [POPULATION, 200])
@pytest.mark.parametrize("table", ["cancer", "mixed"])
def test_a_single_record_is_read_off_an_exact_gradient(
    table: str, first: int, request: pytest.FixtureRequest
) -> None:
    victims = Victims(request.getfixturevalue(table), first=first)
    guess = attacked(victims.view)
    score = victims.score(guess)
    assert score.value is not None and score.chance is not None
    assert score.value >= 0.9 > score.chance
    assert guess.reconstructions[0].labels.tolist() == victims.labels.tolist()


def test_four_mixed_records_are_read_off_their_mean_gradient(mixed: Dataset) -> None:
    victims = Victims(mixed, count=4)
    score = victims.score(attacked(victims.view, Budget.STANDARD))
    assert score.value is not None and score.chance is not None
    assert score.value >= 0.9 > score.chance + 0.3


def test_clipping_alone_does_not_stop_it(mixed: Dataset) -> None:
    victims = Victims(mixed, count=2, max_grad_norm=0.3)
    score = victims.score(attacked(victims.view))
    assert score.value is not None and score.value >= 0.9


def test_categories_come_back_as_exactly_one_category(mixed: Dataset) -> None:
    noisy = Victims(mixed, count=2).with_update(
        lambda part: named_generator(4, str(part.shape)).standard_normal(part.shape) * part.std()
    )
    (found,) = attacked(noisy).reconstructions
    for field in mixed.fields:
        if field.kind is FieldKind.CATEGORICAL:
            part = found.records[:, list(field.columns)]
            assert set(np.unique(part)) == {-1.0, 1.0}
            assert ((part == 1).sum(axis=1) == 1).all()
    assert np.abs(found.records).max() <= 1


@pytest.mark.parametrize("table", ["cancer", "mixed"])
def test_a_gradient_of_noise_gives_no_more_than_the_baseline(
    table: str, request: pytest.FixtureRequest
) -> None:
    data = request.getfixturevalue(table)
    excess = []
    for i in range(8):
        victims = Victims(data, first=100 + i)
        rng = named_generator(5, "noise", str(i))
        blind = victims.with_update(lambda part, r=rng: r.standard_normal(part.shape) * part.std())
        score = victims.score(attacked(blind))
        assert score.value is not None and score.chance is not None
        excess.append(score.value - score.chance)
    assert np.mean(excess) < 0.1


def test_another_records_gradient_gives_that_records_fields(mixed: Dataset) -> None:
    victims, other = Victims(mixed), Victims(mixed, first=200)
    score = victims.score(attacked(other.view))
    assert score.value is not None and score.value < 0.9


def test_under_known_noise_it_falls_back_to_the_population(cancer: Dataset) -> None:
    victims = Victims(cancer, max_grad_norm=1.0, noise_multiplier=4.0)
    rng = named_generator(6, "dp")
    noisy = victims.with_update(lambda part: part + 4 * RATE * rng.standard_normal(part.shape))
    score = victims.score(attacked(noisy))
    assert score.value is not None
    assert score.value == pytest.approx(score.chance, abs=0.1)


def test_the_same_generator_gives_the_same_guess(mixed: Dataset) -> None:
    view = Victims(mixed, count=2).view
    first, again = attacked(view), attacked(view)
    assert first.reconstructions[0].records.tobytes() == again.reconstructions[0].records.tobytes()
    assert first.reconstructions[0].objective == again.reconstructions[0].objective


def test_what_it_cannot_work_on_is_skipped_with_the_reason(mixed: Dataset) -> None:
    victims = Victims(mixed)
    (probe,) = victims.view.probes
    images = dataclasses.replace(victims.view.background, fields=())

    def skipped(view: ServerView) -> str:
        guess = attacked(view)
        assert not guess.reconstructions
        return guess.skipped[victims.name]

    assert "no tables" in skipped(dataclasses.replace(victims.view, background=images))
    assert "not finite" in skipped(victims.with_update(lambda part: part * np.nan))
    assert "zero" in skipped(victims.with_update(lambda part: part * 0))
    large = dataclasses.replace(probe, records=100)
    assert "100 records" in skipped(dataclasses.replace(victims.view, probes=(large,)))
    round_ = dataclasses.replace(probe, records=None)
    assert "not known" in skipped(dataclasses.replace(victims.view, probes=(round_,)))


def test_a_view_without_probes_or_population_is_refused_by_name(mixed: Dataset) -> None:
    view = Victims(mixed).view
    with pytest.raises(ViewError, match="tabular needs probes"):
        attacked(dataclasses.replace(view, probes=()))
    nobody = Records(ids=(), inputs=mixed.inputs([])[:0], labels=mixed.y[:0])
    with pytest.raises(ViewError, match="tabular needs a population"):
        attacked(
            dataclasses.replace(
                view, background=dataclasses.replace(view.background, population=nobody)
            )
        )


def test_versions_are_put_in_one_order_and_pooled() -> None:
    fields = (
        Field(name="a", columns=(0,), kind=FieldKind.CONTINUOUS),
        Field(name="b", columns=(1, 2), kind=FieldKind.CATEGORICAL),
    )
    dummies = TableDummies(fields, np.zeros((3, 3), np.float32), low=-1.0, high=1.0)
    versions = np.array(
        [
            [[0.5, 0.2, -0.2], [-0.5, -0.9, 0.9]],
            [[-0.4, -0.8, 0.8], [0.6, 0.1, -0.1]],
            [[2.0, -0.9, 0.9], [-0.6, -0.7, 0.7]],
        ]
    )
    found = dummies.pooled(Labelled(records=versions, labels=np.array([[0, 1], [1, 0], [0, 1]])))
    np.testing.assert_allclose(found.records, [[0.6, -1, 1], [-0.5, -1, 1]])
    assert found.labels.tolist() == [0, 1]
