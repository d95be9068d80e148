"""What an attack is: one pure step from a view to a guess; no truth, no disk, no settings."""

from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import ViewError
from audit.core.guesses import Guess
from audit.core.model import Weights
from audit.core.views import (
    Observation,
    QueryView,
    Recipe,
    Records,
    References,
    SecaggServerView,
    ServerView,
    View,
)

CLIP_SLACK = 1e-6
"""Opacus adds this to a norm before it divides."""

NOT_FINITE = "its update is not finite"
"""Why an observation is left out."""


class Budget(StrEnum):
    """How much computation an attack may spend."""

    QUICK = "quick"
    STANDARD = "standard"
    THOROUGH = "thorough"

    @property
    def references(self) -> int:
        """Reference federations that are trained for the attacks that need them."""
        return {"quick": 4, "standard": 16, "thorough": 64}[self.value]


class Attack(Protocol):
    """One attack; hyperparameters come in through its constructor."""

    def guess(self, view: View, rng: np.random.Generator) -> Guess:
        """Guess from a view; the same view and generator state give the same guess.

        Raises:
            ViewError: The view lacks what the attack needs; says what.
        """
        ...


def released_model(view: View, attack: str) -> Weights:
    """Return the released weights of a view that has them.

    Raises:
        ViewError: The view has no weights.
    """
    weights = getattr(view, "weights", None)
    if weights is None:
        raise ViewError(
            f"{attack} needs the released weights, which {type(view).__name__} does not have"
        )
    released: Weights = weights
    return released


def answers(view: View, attack: str, records: Records | None = None) -> NDArray[np.float64]:
    """Return what the released model says of each record.

    Args:
        view: The view.
        attack: Id of the attack that asks, for the error.
        records: The records; None: the candidates.

    Returns:
        Logits, or log-probabilities where only those are seen, shape (records, classes): either
        way their softmax is the model's answer.

    Raises:
        ViewError: The view has neither the released model nor an oracle of it.
    """
    inputs = (records or view.background.candidates).inputs
    if isinstance(view, QueryView):
        return np.log(np.maximum(view.oracle.probabilities(inputs), np.finfo(np.float64).tiny))
    return view.background.architecture.logits(released_model(view, attack), inputs)


def reference_models(view: View, attack: str) -> References:
    """Return the reference federations of a view.

    Raises:
        ViewError: The view has none.
    """
    found = view.background.references
    if found is None:
        raise ViewError(f"{attack} needs reference models, which this view does not have")
    return found


def probe_observations(view: View, attack: str, *, needed: bool = True) -> tuple[Observation, ...]:
    """Return the probes of a server's view.

    Args:
        view: The view.
        attack: Id of the attack that asks, for the error.
        needed: Whether there must be some.

    Raises:
        ViewError: The view is of another adversary, or has no probes though they are needed.
    """
    if not isinstance(view, ServerView | SecaggServerView):
        raise ViewError(
            f"{attack} needs the probes that a server sees, "
            f"which {type(view).__name__} does not have"
        )
    if needed and not view.probes:
        raise ViewError(f"{attack} needs probes, and this run recorded none (see `probes`)")
    return view.probes


def records_in(observation: Observation) -> int:
    """Return how many records a probe mixes, over all its clients."""
    return (observation.records or 0) * len(observation.clients)


def finite(observation: Observation) -> bool:
    """Say whether an update holds numbers only."""
    return all(bool(np.isfinite(part).all()) for part in observation.update.values())


def gradient_of(observation: Observation) -> dict[str, Any]:
    """Return the mean gradient behind a single step: minus the update over the learning rate."""
    return {
        name: -np.asarray(array, dtype=np.float64) / observation.learning_rate
        for name, array in observation.update.items()
    }


def clip_factors(recipe: Recipe, norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by what the recipe multiplies each record's gradient before it is summed.

    Args:
        recipe: Of the cell.
        norms: Of the gradients of the plain loss, shape (records,).
    """
    if recipe.max_grad_norm is None:
        return np.full_like(norms, recipe.loss_scale)
    return np.minimum(recipe.loss_scale, recipe.max_grad_norm / (norms + CLIP_SLACK))
