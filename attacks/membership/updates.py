"""What the attacks on updates share: a round's updates as sums of gradients, and scores of them."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.attack import Budget, clip_factors
from audit.core.errors import ViewError
from audit.core.guesses import MembershipGuess
from audit.core.model import Weights
from audit.core.views import Observation, Recipe, SecaggServerView, ServerView, View

Array = NDArray[np.float64]

ROUNDS = {Budget.QUICK: 3, Budget.STANDARD: 5, Budget.THOROUGH: None}
"""Rounds that an attack looks at, evenly spread from the first to the last; None: all."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """The updates of one round, which all start from the same model.

    Args:
        weights: The global model that was broadcast.
        senders: Whose records each update mixes; one client in the server's view.
        sums: To first order the sum of the clipped gradients of all records behind an update, at
            the broadcast model; one for each update.
    """

    weights: Weights
    senders: tuple[tuple[str, ...], ...]
    sums: tuple[Weights, ...]


@dataclass(frozen=True, kw_only=True)
class Held:
    """Candidates' clipped gradients, held against the updates of one round.

    Args:
        products: Inner product of a candidate's gradient with an update's sum of gradients, shape
            (candidates, updates).
        norms: Of the candidates' gradients, shape (candidates, 1).
        lengths: Of the sums, shape (1, updates).
    """

    products: Array
    norms: Array
    lengths: Array


def evenly_spread(view: View, attack: str, budget: Budget) -> list[Round]:
    """Return the rounds of a server's view that a budget allows.

    Raises:
        ViewError: The view has no updates of rounds.
    """
    if not isinstance(view, ServerView | SecaggServerView):
        raise ViewError(
            f"{attack} needs the updates of each round, which {type(view).__name__} does not have"
        )
    by_round: dict[int, list[Observation]] = defaultdict(list)
    for observation in view.rounds:
        by_round[observation.round].append(observation)
    if not by_round:
        raise ViewError(f"{attack} needs the updates of each round, and no round was completed")
    numbers = sorted(by_round)
    count = min(ROUNDS[budget] or len(numbers), len(numbers))
    chosen = np.unique(np.linspace(0, len(numbers) - 1, count).round().astype(int))
    return [_round(view, by_round[numbers[i]]) for i in chosen]


def noise_variance(recipe: Recipe, clients: int = 1) -> float:
    """Return the variance of the DP noise in each coordinate of a sum of gradients."""
    if recipe.noise_multiplier is None or recipe.max_grad_norm is None:
        return 0.0
    repeats = step_repeats(recipe)
    steps = float((repeats**2).sum()) / (recipe.sample_rate * float(repeats.sum())) ** 2
    return clients * steps * (recipe.noise_multiplier * recipe.max_grad_norm) ** 2


def length(weights: Weights) -> float:
    """Return the Euclidean norm of a vector in parameter space."""
    return float(np.sqrt(sum(np.square(a, dtype=np.float64).sum() for a in weights.values())))


def held(view: View, rounds: list[Round]) -> Iterator[tuple[Round, Held]]:
    """Hold every candidate's gradient against the updates of each round."""
    background = view.background
    for one in rounds:
        found = background.architecture.gradient_products(
            one.weights,
            background.candidates.inputs,
            background.candidates.labels,
            one.sums,
            class_priors=background.recipe.class_priors,
        )
        norms = found.norms[:, None]
        factor = clip_factors(background.recipe, norms)
        lengths = np.array([[length(total) for total in one.sums]])
        yield (
            one,
            Held(products=factor * found.products, norms=factor * norms, lengths=lengths),
        )


def combined(
    view: View, scored: Iterator[tuple[Round, Array]], pool: Callable[[Array], Array]
) -> MembershipGuess:
    """Join scores of rounds into a guess: the mean over rounds, then one number over clients.

    Args:
        view: The view; its candidates are scored.
        scored: Each round with its scores, shape (candidates, updates).
        pool: Makes one score, shape (candidates,), of those against each sender, shape
            (candidates, senders).

    Returns:
        Scores, and the sender whose updates fit a candidate best where each update is of one
        client.
    """
    found: dict[tuple[str, ...], list[Array]] = defaultdict(list)
    for one, scores in scored:
        for sender, column in zip(one.senders, scores.T, strict=True):
            found[sender].append(column)
    senders = sorted(found)
    against = np.stack([np.mean(found[sender], axis=0) for sender in senders], axis=1)
    alone = len(senders) > 1 and all(len(sender) == 1 for sender in senders)
    best = tuple(senders[i][0] for i in against.argmax(axis=1)) if alone else None
    return MembershipGuess(
        candidates=view.background.candidates.ids, scores=pool(against), hospitals=best
    )


def _round(view: View, observations: list[Observation]) -> Round:
    return Round(
        weights=observations[0].weights,
        senders=tuple(observation.clients for observation in observations),
        sums=tuple(_sum_of_gradients(view.background.recipe, o) for o in observations),
    )


def _sum_of_gradients(recipe: Recipe, observation: Observation) -> Weights:
    """Undo what the recipe does to a sum of gradients.

    Every step adds a record's gradient with the sampling rate as its probability, divided by the
    expected batch, and momentum repeats it in the steps that follow.
    """
    a_record = step_repeats(recipe).sum() * recipe.sample_rate / recipe.expected_batch_size
    factor = -len(observation.shares) / (a_record * observation.learning_rate)
    return {
        name: (factor * np.asarray(array, dtype=np.float64)).astype(np.float32)
        for name, array in observation.update.items()
    }


def step_repeats(recipe: Recipe) -> Array:
    """Return how often the update contains the gradient of each step, momentum counted."""
    held = np.cumsum(recipe.momentum ** np.arange(recipe.local_steps, dtype=np.float64))
    return held[::-1]
