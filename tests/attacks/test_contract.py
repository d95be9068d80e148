"""Every attack keeps the contract: pure, blind to the truth, and refusing a view it cannot use."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from attacks.attack import Budget
from attacks.registry import ATTACKS, Entry, Family, select
from audit.core.adversaries import Adversary
from audit.core.errors import ConfigError, ViewError
from audit.core.guesses import Guess, MembershipGuess, ReconstructionGuess
from audit.core.randomness import named_generator
from audit.core.views import View
from audit.disclosure import Disclosure
from audit.store.run import RunDirectory

ROWS = [
    (entry, adversary)
    for entry in ATTACKS.values()
    if entry.family is not Family.ATTRIBUTE  # a view of its own: test_attribute.py
    and not entry.references  # these have their own tests, with references
    for adversary in entry.adversaries
]
ON_MODELS = [
    entry
    for entry in ATTACKS.values()
    if entry.family is Family.MEMBERSHIP and Adversary.RECIPIENT in entry.adversaries
]
NAMES = [f"{entry.id}-{adversary}" for entry, adversary in ROWS]


def of_another_kind(entry: Entry) -> Adversary:
    """A view on which an attack cannot run."""
    on_servers = Adversary.SERVER in entry.adversaries
    return Adversary.RECIPIENT if on_servers else Adversary.SERVER


def view_of(path: Path, adversary: Adversary, *, cell: int = 0) -> View:
    run = RunDirectory.open(path)
    view = Disclosure(run, run.config, run.config.cells[cell]).view(adversary)
    if isinstance(getattr(view, "probes", None), tuple):  # one probe is enough for a contract
        view = dataclasses.replace(view, probes=view.probes[:1])  # type: ignore[call-arg]
    return view


def guess(entry: Entry, view: View) -> Guess:
    return entry.build(Budget.QUICK).guess(view, named_generator(7, "contract", entry.id))


def same(a: Guess, b: Guess) -> bool:
    if isinstance(a, MembershipGuess) and isinstance(b, MembershipGuess):
        return a.candidates == b.candidates and a.scores.tobytes() == b.scores.tobytes()
    assert isinstance(a, ReconstructionGuess)
    assert isinstance(b, ReconstructionGuess)
    pairs = zip(a.reconstructions, b.reconstructions, strict=True)
    return a.skipped == b.skipped and all(
        x.observation == y.observation
        and x.records.tobytes() == y.records.tobytes()
        and x.labels.tobytes() == y.labels.tobytes()
        for x, y in pairs
    )


@pytest.mark.parametrize(("entry", "adversary"), ROWS, ids=NAMES)
def test_a_guess_is_the_same_again_without_the_secrets(
    entry: Entry, adversary: Adversary, run_copy: Path
) -> None:
    first = guess(entry, view_of(run_copy, adversary))
    shutil.rmtree(run_copy / "secrets")
    assert same(first, guess(entry, view_of(run_copy, adversary)))


@pytest.mark.parametrize("entry", ATTACKS.values(), ids=list(ATTACKS))
def test_a_view_that_lacks_what_an_attack_needs_is_refused_by_name(
    entry: Entry, trained: Path
) -> None:
    with pytest.raises(ViewError, match=entry.id):
        guess(entry, view_of(trained, of_another_kind(entry)))


@pytest.mark.parametrize(
    "entry",
    ON_MODELS,
    ids=lambda e: e.id,
)
def test_membership_attacks_break_an_overfit_model(entry: Entry, overfit: "Overfit") -> None:
    from audit.stats import auc_interval

    scores, member = overfit.scores(entry)
    interval = auc_interval(scores[member], scores[~member], 0.999)
    assert interval.low > 0.5, interval


@pytest.mark.parametrize(
    "entry",
    ON_MODELS,
    ids=lambda e: e.id,
)
def test_membership_attacks_are_at_chance_where_membership_means_nothing(
    entry: Entry, overfit: "Overfit"
) -> None:
    from audit.stats import auc_interval

    scores, _ = overfit.scores(entry, trained=False)
    coin = named_generator(3, "null").permutation(len(scores)) < len(scores) // 2
    interval = auc_interval(scores[coin], scores[~coin], 0.999)
    assert interval.low <= 0.5 <= interval.high, interval


def test_an_unknown_attack_is_refused_and_a_baseline_comes_along() -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        select(["nonsense"])
    assert [entry.id for entry in select(["dlg"])] == ["prior-mean", "dlg"]


class Overfit:
    """A model trained to memorise forty digits with random labels: the positive control."""

    def __init__(self) -> None:
        import torch
        from sklearn.datasets import load_digits

        from audit.core.config import ModelConfig
        from training.models import architecture, load_weights, to_weights

        digits = load_digits()
        rng = named_generator(11, "overfit")
        chosen = rng.permutation(len(digits.target))[:240]
        self.inputs = (digits.images[chosen, None] / 8 - 1).astype(np.float32)
        self.labels = rng.integers(0, 10, size=240)
        self.member = np.arange(240) < 120
        self.built = architecture(ModelConfig(name="mlp"), (1, 8, 8), 10)
        self.untrained = self.built.initial(1)
        module = self.built.build()
        load_weights(module, self.untrained)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.5, momentum=0.9)
        x = torch.from_numpy(self.inputs[self.member])
        y = torch.from_numpy(self.labels[self.member])
        for _ in range(300):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(x), y).backward()
            optimizer.step()
        self.weights = to_weights(module)

    def scores(self, entry: Entry, *, trained: bool = True) -> tuple[np.ndarray, np.ndarray]:
        from audit.core.views import Background, Recipe, RecipientView, Records

        records = Records(ids=tuple(map(str, range(240))), inputs=self.inputs, labels=self.labels)
        recipe = Recipe(
            rounds=1,
            local_steps=300,
            expected_batch_size=120.0,
            sample_rate=1.0,
            learning_rate=0.5,
            momentum=0.9,
            noise_multiplier=None,
            max_grad_norm=None,
        )
        view = RecipientView(
            background=Background(
                architecture=self.built,
                recipe=recipe,
                candidates=records,
                population=records,
                record_range=(-1.0, 1.0),
            ),
            weights=self.weights if trained else self.untrained,
        )
        found = guess(entry, view)
        assert isinstance(found, MembershipGuess)
        return found.scores, self.member


@pytest.fixture(scope="module")
def overfit() -> Overfit:
    return Overfit()
