"""Attribute inference by asking the model: which value gives the answer that the patient got?"""

import numpy as np
from numpy.typing import NDArray

from attacks.attack import Budget
from attacks.attribute.imputation import impute
from attacks.attribute.knowledge import log_odds, query_view
from audit.core.guesses import AttributeGuess
from audit.core.views import QueryView, View

MOST_VALUES = {Budget.QUICK: 16, Budget.STANDARD: 64, Budget.THOROUGH: 256}
UNMOVED = 1e-4
"""Log-odds: where no value moves the answer by more, float32 arithmetic decides, not the value."""


class AnswerMatch:
    """Complete each candidate with values seen in the population, and keep the one that fits.

    Args:
        values: How many values are tried at most: evenly spaced quantiles of the population's.

    Source:
        Model inversion, Fredrikson et al. 2014 (USENIX Security, "Privacy in Pharmacogenetics").
        Differs: the answer to the complete record is known exactly, so no error model and no prior
        is needed; where the answer does not depend on the attribute, imputation decides.
    """

    def __init__(self, values: int) -> None:
        self._values = values

    def guess(self, view: View, rng: np.random.Generator) -> AttributeGuess:
        """Return the category whose values come closest; ``rng`` is not used.

        Raises:
            ViewError: The view hides no attribute, or shows it.
        """
        name = "attribute-match"
        shown = query_view(view, name)
        imputed = impute(shown, name)
        nearest, moved = self._distances(shown)
        total = nearest.sum(axis=0)
        nearer = np.divide(nearest[0], total, out=np.full(len(total), 0.5), where=total > 0)
        scores = np.where(moved & (total > 0), nearer, imputed.scores)
        return AttributeGuess(
            candidates=imputed.candidates,
            categories=(scores > 0.5).astype(np.int64),
            scores=scores,
        )

    def _distances(self, view: QueryView) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the least distance to the known answer, and whether the value matters at all.

        Returns:
            Log-odds, of shape (2 categories, candidates), and shape (candidates,).
        """
        hidden, background = view.hidden, view.background
        assert hidden is not None  # noqa: S101  # query_view has seen to it
        column = hidden.attribute.column
        seen = background.population.inputs[:, column]
        levels = np.linspace(0, 1, min(self._values, len(seen)))
        values = np.unique(np.quantile(seen, levels, method="nearest"))
        answers = []
        for value in values:
            records = background.candidates.inputs.copy()
            records[:, column] = value
            answers.append(log_odds(view.oracle.probabilities(records)))
        asked = np.stack(answers)  # values, candidates, classes - 1
        distance = np.linalg.norm(asked - log_odds(hidden.answers), axis=2)
        above = values > hidden.attribute.threshold
        moved = np.ptp(asked, axis=0).max(axis=1) > UNMOVED
        return np.stack([distance[~above].min(axis=0), distance[above].min(axis=0)]), moved


def build(budget: Budget) -> AnswerMatch:
    """Return the attack; a larger budget tries more values."""
    return AnswerMatch(MOST_VALUES[budget])
