"""Attribute inference: blind to the attribute, ahead of imputation only where a model tells."""

import dataclasses
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from attacks.attack import Budget
from attacks.entry import Family
from attacks.registry import ATTACKS
from audit.core.adversaries import Adversary
from audit.core.attributes import HiddenAttribute, SensitiveAttribute
from audit.core.config import ModelConfig
from audit.core.errors import MissingEvidenceError, ViewError
from audit.core.guesses import AttributeGuess
from audit.core.loading import load_config
from audit.core.randomness import named_generator
from audit.core.scores import Outcome, Score
from audit.core.views import Background, QueryView, Recipe, Records
from audit.disclosure import CountedOracle, Disclosure
from audit.formats.files import read_json_lines
from audit.pipeline.attack import AttackOptions, attack
from audit.pipeline.train import TrainOptions, train
from audit.scoring import ATTRIBUTE_METRICS, Origin, score_attribute
from audit.store.run import RunDirectory
from audit.vault import Vault
from training.models import architecture, load_weights, to_weights

ENTRIES = [entry for entry in ATTACKS.values() if entry.family is Family.ATTRIBUTE]
ATTACK = pytest.mark.parametrize("attack", [entry.id for entry in ENTRIES if entry.baseline])
ENTRY = pytest.mark.parametrize("name", [entry.id for entry in ENTRIES])
COLUMN, STEPS = 2, 25
ORIGIN = Origin(cell="eps-inf", adversary="query", attack="attribute-art")


def guess(name: str, view: QueryView) -> AttributeGuess:
    found = ATTACKS[name].build(Budget.QUICK).guess(view, named_generator(7, name))
    assert isinstance(found, AttributeGuess)
    return found


class World:
    """Patients with a yes-or-no attribute that no other field tells, and that the label needs.

    The label depends on the attribute, blurred, so the label alone tells it badly. A perceptron is
    trained on 150 members, and stopped before it knows them by heart: of those its answer would be
    the label once more, which imputation has too.
    """

    def __init__(self, classes: int) -> None:
        rng = named_generator(5, "patients")
        inputs = rng.normal(size=(900, 6)).astype(np.float32)
        inputs[:, COLUMN] = rng.choice([-1.0, 1.0], 900)
        drive = inputs[:, COLUMN] + inputs[:, 0] + rng.normal(0, 1.5, 900)
        cuts = np.quantile(drive, np.arange(1, classes) / classes)
        self.inputs, self.labels = inputs, np.digitize(drive, cuts).astype(np.int64)
        self.secret = (inputs[:, COLUMN] > 0).astype(np.int64)
        self.built = architecture(ModelConfig(name="mlp"), (6,), classes)
        module = self.built.build()
        load_weights(module, self.built.initial(1))
        optimizer = torch.optim.SGD(module.parameters(), lr=0.2, momentum=0.9)
        x, y = torch.from_numpy(inputs[:150]), torch.from_numpy(self.labels[:150])
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(x), y).backward()
            optimizer.step()
        self.weights = to_weights(module)

    def view(self, *, blind: bool = False, constant: bool = False) -> QueryView:
        """Candidates are the first 600, of whom 150 are members; the rest is public."""
        weights = {name: array.copy() for name, array in self.weights.items()}
        if blind:
            first = next(name for name, array in weights.items() if array.shape[1:] == (6,))
            weights[first][:, COLUMN] = 0
        if constant:
            weights = {name: np.zeros_like(array) for name, array in weights.items()}
        oracle = CountedOracle(self.built, weights)
        attribute = SensitiveAttribute(name="smoker", column=COLUMN, threshold=0.0)
        partial = self.inputs[:600].copy()
        partial[:, COLUMN] = np.nan
        hidden = HiddenAttribute(
            attribute=attribute,
            answers=CountedOracle(self.built, weights).probabilities(self.inputs[:600]),
            population=self.secret[600:],
        )
        background = Background(
            architecture=self.built,
            recipe=Recipe(
                rounds=1,
                local_steps=STEPS,
                expected_batch_size=150.0,
                sample_rate=1.0,
                learning_rate=0.2,
                momentum=0.9,
                noise_multiplier=None,
                max_grad_norm=None,
            ),
            candidates=self.records(partial, self.labels[:600], "candidate"),
            population=self.records(self.inputs[600:], self.labels[600:], "population"),
            record_range=(-5.0, 5.0),
        )
        return QueryView(background=background, oracle=oracle, hidden=hidden)

    @staticmethod
    def records(inputs: np.ndarray, labels: np.ndarray, kind: str) -> Records:
        ids = tuple(f"{kind}-{i}" for i in range(len(labels)))
        return Records(ids=ids, inputs=inputs, labels=labels)

    def scores(self, name: str, view: QueryView) -> dict[tuple[str, str], Score]:
        one, other = guess(name, view), guess("attribute-imputation", view)
        category = {pseudonym: int(self.secret[i]) for i, pseudonym in enumerate(one.candidates)}
        member = {pseudonym: i < 150 for i, pseudonym in enumerate(one.candidates)}
        found = score_attribute(one, other, category, member, ORIGIN)
        return {(score.metric, score.slice): score for score in found}


@pytest.fixture(scope="module", params=[2, 3], ids=["two classes", "three classes"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@ATTACK
def test_a_model_that_uses_the_attribute_gives_it_away(attack: str, world: World) -> None:
    scores = world.scores(attack, world.view())
    for name in ("members", "nonmembers"):
        advantage = scores["attribute_advantage", name]
        assert advantage.low is not None
        assert advantage.low > 0, advantage


@ATTACK
def test_a_model_that_does_not_use_the_attribute_adds_nothing_to_imputation(
    attack: str, world: World
) -> None:
    scores = world.scores(attack, world.view(blind=True))
    for name in ("members", "nonmembers"):
        advantage = scores["attribute_advantage", name]
        assert advantage.low is not None and advantage.high is not None
        assert advantage.low < 0 < advantage.high, advantage


@ATTACK
def test_a_model_that_always_says_the_same_leaves_imputation_as_it_was(
    attack: str, world: World
) -> None:
    view = world.view(constant=True)
    one, other = guess(attack, view), guess("attribute-imputation", view)
    assert np.array_equal(one.categories, other.categories)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)


def test_imputation_never_asks_the_model(world: World) -> None:
    view = world.view()
    first = guess("attribute-imputation", view)
    assert view.oracle.queries == 0
    assert view.hidden is not None
    turned = dataclasses.replace(view.hidden, answers=view.hidden.answers[::-1])
    second = guess("attribute-imputation", dataclasses.replace(view, hidden=turned))
    assert first.scores.tobytes() == second.scores.tobytes()
    guess("attribute-art", view)
    assert view.oracle.queries == 300, "the answers to the candidates were given"


def test_matching_finds_what_an_answer_was_given_for(world: World) -> None:
    """The exact answer is a fingerprint of the value: nearly everyone's is found."""
    found = world.scores("attribute-match", world.view())
    for name in ("members", "nonmembers"):
        assert (found["attribute_accuracy", name].value or 0) > 0.98


@ENTRY
def test_categories_follow_the_scores_in_the_order_of_the_candidates(
    name: str, world: World
) -> None:
    view = world.view()
    found = guess(name, view)
    assert found.candidates == view.background.candidates.ids
    assert np.array_equal(found.categories, found.scores > 0.5)


@ENTRY
def test_a_view_that_shows_or_lacks_the_attribute_is_refused_by_name(
    name: str, world: World, trained: Path
) -> None:
    view = world.view()
    complete = World.records(world.inputs[:600], world.labels[:600], "candidate")
    shown = dataclasses.replace(view.background, candidates=complete)
    with pytest.raises(ViewError, match=f"{name}: the candidates show column {COLUMN}"):
        guess(name, dataclasses.replace(view, background=shown))
    run = RunDirectory.open(trained)
    disclosure = Disclosure(run, run.config, run.config.cells[0])
    for adversary in (Adversary.QUERY, Adversary.RECIPIENT, Adversary.SERVER):
        with pytest.raises(ViewError, match=f"{name} needs a hidden attribute"):
            guess(name, disclosure.view(adversary))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tabular configuration, one short cell; tests must not change it."""
    settings = ["privacy.epsilons=[.inf]", "schedule.rounds=2", "probes.repeats=0"]
    out = tmp_path_factory.mktemp("runs") / "patients"
    train(load_config("breast_cancer", settings), out, TrainOptions())
    return out


def disclosure(path: Path) -> Disclosure:
    run = RunDirectory.open(path)
    return Disclosure(run, run.config, run.config.cells[0])


def test_the_view_hides_the_attribute_and_nothing_else(patients: Path) -> None:
    view = disclosure(patients).attribute_view(Adversary.QUERY)
    complete = disclosure(patients).view(Adversary.QUERY)
    assert isinstance(view, QueryView) and isinstance(complete, QueryView)
    assert view.hidden is not None and complete.hidden is None
    attribute = view.hidden.attribute
    assert attribute.name == "mean symmetry"
    partial, whole = view.background.candidates.inputs, complete.background.candidates.inputs
    assert np.isnan(partial[:, attribute.column]).all()
    others = np.delete(np.arange(partial.shape[1]), attribute.column)
    assert np.array_equal(partial[:, others], whole[:, others])
    assert np.isfinite(view.background.population.inputs).all()
    np.testing.assert_allclose(view.hidden.answers, complete.oracle.probabilities(whole))
    assert view.oracle.queries == 0
    category = Vault(patients / "secrets").attributes()
    truth = [category[name] for name in view.background.candidates.ids]
    assert truth == attribute.categories(whole).tolist()


def test_other_adversaries_have_no_such_view(patients: Path) -> None:
    with pytest.raises(MissingEvidenceError, match="recipient: no view of it hides"):
        disclosure(patients).attribute_view(Adversary.RECIPIENT)


def test_guesses_are_the_same_without_the_secrets(patients: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(patients, copy)

    def both() -> list[AttributeGuess]:
        view = disclosure(copy).attribute_view(Adversary.QUERY)
        assert isinstance(view, QueryView)
        return [guess(entry.id, view) for entry in ENTRIES]

    first = both()
    shutil.rmtree(copy / "secrets")
    for one, other in zip(first, both(), strict=True):
        assert one.candidates == other.candidates
        assert one.scores.tobytes() == other.scores.tobytes()


def test_an_attack_on_patients_is_scored_beside_its_baseline(
    patients: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(patients, copy)
    report = attack(RunDirectory.open(copy), AttackOptions(only=("attribute-art",)))
    assert not report.failed
    scores = [Score.model_validate(line) for line in read_json_lines(copy / "scores.jsonl")]
    assert {s.outcome for s in scores} == {Outcome.EXECUTED}
    counted = Counter((s.attack, s.metric) for s in scores)
    assert counted == {
        ("attribute-imputation", "attribute_accuracy"): 2,
        ("attribute-art", "attribute_accuracy"): 2,
        ("attribute-art", "attribute_advantage"): 2,
        ("attribute-art", "attribute_advantage_gap"): 1,
    }
    found = {(s.attack, s.metric, s.slice): s for s in scores}
    for name in ("members", "nonmembers"):
        baseline = found["attribute-imputation", "attribute_accuracy", name].value
        accuracy = found["attribute-art", "attribute_accuracy", name]
        assert accuracy.chance == baseline
        assert accuracy.value is not None and baseline is not None
        advantage = found["attribute-art", "attribute_advantage", name].value
        assert advantage == pytest.approx(accuracy.value - baseline)


def test_a_run_without_a_sensitive_attribute_says_so(trained: Path) -> None:
    lines = read_json_lines(trained / "scores.jsonl")
    scores = [s for s in map(Score.model_validate, lines) if s.metric in ATTRIBUTE_METRICS]
    assert {s.attack for s in scores} == {entry.id for entry in ENTRIES}
    assert {s.outcome for s in scores} == {Outcome.NOT_RUN}
    assert {s.reason for s in scores} == {"this run names no sensitive attribute (data.sensitive)"}
    assert not (trained / "secrets" / "attributes.json").exists()
