"""Was a canary record trained on? Judged by the final model's answer alone.

A canary is a record that nothing but having been trained on explains: a wrong label, or a blank
image. The model's log-odds of its label say whether it was in.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.attack import Budget
from audit.core.errors import ViewError
from audit.core.guesses import MembershipGuess
from audit.core.views import CanaryView, View

SET_ASIDE = 4
"""One of so many runs only gives the threshold."""


@dataclass(frozen=True)
class OneRun:
    """Canaries of a single training run.

    Source: Steinke et al. 2023, arXiv:2305.08846, section 5: the canaries with the highest scores
    are guessed in, those with the lowest out, and the others are left out; their number is fixed
    beforehand.
    """

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Guess which canaries were in: a quarter of them in, a quarter out."""
        scores = _log_odds(view, "canary-records")
        assert isinstance(view, CanaryView)  # noqa: S101 - as above
        if view.cells != 1:
            raise ViewError(
                f"canary-records needs one audit run, this view has {view.cells}: see canary-runs"
            )
        order = rng.permutation(len(scores))  # ties are broken by chance
        ranked = order[np.argsort(scores[order], kind="stable")]
        each = max(1, len(scores) // 4) if len(scores) > 1 else 0
        asked = np.concatenate([ranked[:each], ranked[len(ranked) - each :]])
        sign = np.repeat([-1.0, 1.0], each)
        return MembershipGuess(
            candidates=tuple(view.canaries[i] for i in asked),
            scores=sign,
            note=f"{len(asked)} of {len(scores)} canaries are guessed about",
        )


@dataclass(frozen=True)
class ManyRuns:
    """A canary in many training runs, in or out by a coin in each.

    Source: the setting of Annamalai and De Cristofaro 2024, arXiv:2405.14106. Differs: the
    threshold comes from the first quarter of the runs: midway between the quartiles of their
    scores, which lie in the middle of runs without and with the canary. That needs no truth, and
    those runs are left out.
    """

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Guess in which of the other runs the canary was in."""
        del rng
        scores = _log_odds(view, "canary-runs")
        assert isinstance(view, CanaryView)  # noqa: S101 - as above
        if view.cells == 1:
            raise ViewError(
                "canary-runs needs many audit runs (audit.runs), this view has one: see "
                "canary-records"
            )
        if len(scores) != view.cells:
            raise ViewError(
                f"canary-runs needs one canary a run, this view has {len(scores)} in "
                f"{view.cells}: guesses about one run are not independent of each other"
            )
        aside = len(scores) // SET_ASIDE
        threshold = float(np.quantile(scores[:aside], [0.25, 0.75]).mean())
        return MembershipGuess(
            candidates=view.canaries[aside:],
            scores=scores[aside:] - threshold,
            note=f"{aside} of {len(scores)} runs gave the threshold only",
        )


def one_run(_: Budget) -> OneRun:
    """Return the audit of a single run."""
    return OneRun()


def many_runs(_: Budget) -> ManyRuns:
    """Return the audit of many runs."""
    return ManyRuns()


def _log_odds(view: View, attack: str) -> NDArray[np.float64]:
    """Return each canary's log-odds of its label by the final model of its run."""
    if not isinstance(view, CanaryView) or view.answers is None or view.labels is None:
        raise ViewError(
            f"{attack} needs the final models of audit cells with canary records, which this "
            f"{type(view).__name__} does not have"
        )
    rows = np.arange(len(view.labels))
    surely = np.minimum(view.answers[rows, view.labels], 0.0)
    others = np.maximum(-np.expm1(surely), np.finfo(np.float64).tiny)
    odds: NDArray[np.float64] = surely - np.log(others)
    return odds
