"""What no inversion attack can work on: a named refusal, or a reason beside the observation."""

import dataclasses

import inversion_probes as probes
import numpy as np
import pytest

from attacks.attack import NOT_FINITE, Budget
from attacks.registry import ATTACKS
from audit.core.config import ModelConfig
from audit.core.errors import ViewError
from audit.core.fields import continuous_fields
from audit.core.guesses import IdentificationGuess, LabelCountGuess, ReconstructionGuess
from audit.core.randomness import named_generator
from audit.core.views import ServerView
from training.models import TorchArchitecture, architecture

SEARCHES = ("dlg", "idlg", "inverting-gradients", "bayes-inversion", "tabular")
SEVERAL_STEPS = ("fedavg-unrolled", "fedavg-naive")
ON_FIRST_LAYERS = ("first-layer", "spear")
EVERY = (*SEARCHES, *SEVERAL_STEPS, *ON_FIRST_LAYERS, "candidate-identification", "label-counts")
SHAPE, FLAT = (1, 8, 8), (64,)


def view_for(attack: str, *, batch: int = 1, built: TorchArchitecture | None = None) -> ServerView:
    """Return a view on which the attack would work, but for what a test breaks."""
    options = {"activation": "relu"} if attack in ON_FIRST_LAYERS else {}
    built = built or architecture(ModelConfig(name="mlp", options=options), SHAPE, 10)
    steps = 2 if attack in SEVERAL_STEPS else 1
    view, _ = probes.made(updates=1, batch=batch, built=built, steps=steps)
    if attack != "tabular":
        return view
    flat = architecture(ModelConfig(name="mlp"), FLAT, 10) if built.name == "mlp" else built
    background = dataclasses.replace(
        view.background,
        architecture=flat,
        fields=continuous_fields([str(i) for i in range(64)]),
        population=dataclasses.replace(
            view.background.population,
            inputs=view.background.population.inputs.reshape(-1, 64),
        ),
    )
    return dataclasses.replace(view, background=background)


def guess(
    attack: str, view: ServerView
) -> ReconstructionGuess | IdentificationGuess | LabelCountGuess:
    return ATTACKS[attack].build(Budget.QUICK).guess(view, named_generator(1, "bad", attack))


def named_in(found: ReconstructionGuess | IdentificationGuess | LabelCountGuess) -> int:
    """How many observations it says something of."""
    if isinstance(found, ReconstructionGuess):
        return len(found.reconstructions)
    return len(found.observations if isinstance(found, IdentificationGuess) else found.counts)


def with_update(view: ServerView, value: float) -> ServerView:
    """Replace one number of every part of the update."""
    (one,) = view.probes
    update = {name: part.copy() for name, part in one.update.items()}
    for part in update.values():
        part.flat[0] = value
    return dataclasses.replace(view, probes=(dataclasses.replace(one, update=update),))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("attack", EVERY)
def test_an_update_that_is_not_finite_is_left_out_by_name(attack: str, value: float) -> None:
    view = with_update(view_for(attack), value)
    found = guess(attack, view)
    assert found.skipped == {view.probes[0].name: NOT_FINITE}
    assert named_in(found) == 0


@pytest.mark.parametrize("attack", [*SEARCHES, *SEVERAL_STEPS])
def test_more_records_than_a_budget_allows_are_left_out_by_name(attack: str) -> None:
    view = view_for(attack, batch=9)
    found = guess(attack, view)
    assert "9 records: more than the" in found.skipped[view.probes[0].name]
    assert named_in(found) == 0


@pytest.mark.parametrize("attack", [*SEARCHES, *SEVERAL_STEPS])
def test_a_model_without_a_gradient_path_is_refused_by_name(attack: str) -> None:
    shape = FLAT if attack == "tabular" else SHAPE
    built = architecture(ModelConfig(name="inversion_probes:detached"), shape, 10)
    view = view_for(attack)
    weights = built.initial(1)
    (one,) = view.probes
    view = dataclasses.replace(
        view,
        background=dataclasses.replace(view.background, architecture=built),
        probes=(dataclasses.replace(one, weights=weights, update=weights),),
    )
    with pytest.raises(ViewError, match=f"{attack} needs a gradient path"):
        guess(attack, view)


@pytest.mark.parametrize("attack", ON_FIRST_LAYERS)
def test_a_model_without_the_needed_layer_is_refused_by_name(attack: str) -> None:
    built = architecture(ModelConfig(name="simple-cnn"), SHAPE, 10)
    with pytest.raises(ViewError, match=attack):
        guess(attack, view_for(attack, built=built))


@pytest.mark.parametrize("attack", [*SEARCHES, *SEVERAL_STEPS, "first-layer"])
def test_a_random_gradient_of_the_same_length_is_inverted_beside(attack: str) -> None:
    found = guess(attack, view_for(attack))
    assert isinstance(found, ReconstructionGuess)
    (one,), (control,) = found.reconstructions, found.controls
    assert control.observation == one.observation
    assert not np.array_equal(control.records, one.records)
