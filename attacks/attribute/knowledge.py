"""What both attacks on a hidden attribute know, as columns for ART, and what ART's answer means."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import ViewError
from audit.core.guesses import AttributeGuess
from audit.core.views import Background, QueryView, Records, View

ATTACK_MODEL = "lr"
"""Logistic regression, for the attack and its baseline alike: convex, so the same view gives the
same guess without a seed, and it learns from the few dozen records that a population may have. A
forest drawn anew for each of the two would differ by more than a released model's answer adds."""


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """Known columns of the population and of the candidates, standardised by the population's.

    Args:
        categories: Of the population, 0 or 1, shape (population,).
        population: Shape (population, columns).
        candidates: Shape (candidates, columns).
        ids: Pseudonyms of the candidates.
    """

    categories: NDArray[np.int64]
    population: NDArray[np.float64]
    candidates: NDArray[np.float64]
    ids: tuple[str, ...]

    @property
    def labelled(self) -> NDArray[np.float64]:
        """The population with its category as column 0, as ART wants the attacked feature."""
        return np.column_stack([self.categories, self.population])

    def answer(self, inferred: NDArray[Any], chances: NDArray[Any]) -> AttributeGuess:
        """Return ART's categories, and the probabilities of both behind them, as a guess."""
        return AttributeGuess(
            candidates=self.ids,
            categories=np.asarray(inferred).round().astype(np.int64),
            scores=np.asarray(chances, dtype=np.float64)[:, 1],
        )


def query_view(view: View, attack: str) -> QueryView:
    """Return a view that hides an attribute of its candidates.

    Raises:
        ViewError: It asks about no attribute, or shows what is to be guessed.
    """
    if not isinstance(view, QueryView) or view.hidden is None:
        raise ViewError(
            f"{attack} needs a hidden attribute and the model's answers, "
            f"which this {type(view).__name__} does not have"
        )
    column = view.hidden.attribute.column
    if not np.isnan(view.background.candidates.inputs[:, column]).all():
        raise ViewError(f"{attack}: the candidates show column {column}, which is to be guessed")
    return view


def knowledge(view: QueryView, attack: str, *, answered: bool) -> Knowledge:
    """Return what is known of each record: its other features, its label, and maybe an answer.

    Args:
        view: Of an adversary that guesses an attribute.
        attack: Named in an error.
        answered: Whether the released model's answers come last: the log-odds of each class but
            the first, against the first, of the complete record. Without them the model is not
            asked.

    Raises:
        ViewError: The view hides no attribute, or shows it.
    """
    hidden = query_view(view, attack).hidden
    assert hidden is not None  # noqa: S101  # query_view has seen to it
    background = view.background
    column = hidden.attribute.column
    population = _columns(background, background.population, column)
    candidates = _columns(background, background.candidates, column)
    if answered:
        asked = view.oracle.probabilities(background.population.inputs)
        population = np.column_stack([population, log_odds(asked)])
        candidates = np.column_stack([candidates, log_odds(hidden.answers)])
    mean, spread = population.mean(axis=0), population.std(axis=0)
    spread[spread == 0] = 1.0
    return Knowledge(
        categories=hidden.population,
        population=(population - mean) / spread,
        candidates=(candidates - mean) / spread,
        ids=background.candidates.ids,
    )


def _columns(background: Background, records: Records, column: int) -> NDArray[np.float64]:
    """Return all features but one, and the label as an indicator of each class but the first."""
    one_hot = np.eye(background.architecture.classes)[records.labels][:, 1:]
    return np.column_stack([np.delete(records.inputs.astype(np.float64), column, 1), one_hot])


def log_odds(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log-odds of each class but the first, against the first; of probabilities."""
    logs = np.log(np.maximum(chances, np.finfo(np.float64).tiny))
    odds: NDArray[np.float64] = logs[:, 1:] - logs[:, :1]
    return odds
