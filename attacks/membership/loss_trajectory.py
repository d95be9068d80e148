"""Loss trajectory: how a record's loss falls over the rounds tells whether it was trained on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from attacks.attack import Budget, reference_models
from audit.core.errors import ViewError
from audit.core.guesses import MembershipGuess
from audit.core.views import ParticipantView, References, View

Array = NDArray[np.float64]


class LossTrajectory:
    """Score a candidate by a classifier of trajectories, fitted on reference federations.

    A trajectory is the log-odds of the true label under the global model after each round. Each is
    taken relative to the mean trajectory of that candidate over the reference federations that did
    not train on it, the federation itself left out.

    Source:
        Liu et al. 2022, arXiv:2208.14933 (TrajectoryMIA). Differs: the trajectory is seen in the
        rounds' global models and not distilled from the released one; log-odds in place of the
        loss, calibrated for each candidate; a logistic regression in place of a perceptron; the
        reference federations train on halves of the candidates, not on data of their own.
    """

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Return the log-odds of membership of each candidate; ``rng`` is not used.

        Raises:
            ViewError: The view lacks every round's global model or the reference federations, or
                they have other rounds.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if not isinstance(view, ParticipantView):
            raise ViewError(
                "loss-trajectory needs the global model of every round as a participant sees it, "
                f"which {type(view).__name__} does not have"
            )
        references = reference_models(view, "loss-trajectory")
        labels = view.background.candidates.labels
        seen = _trajectories(view)
        known = _log_odds(references.logits.astype(np.float64), labels)
        if seen.shape != known.shape[1:]:
            raise ViewError(
                f"loss-trajectory needs references of the run's {len(seen)} rounds and "
                f"{seen.shape[1]} candidates, got {known.shape[1]} and {known.shape[2]}"
            )
        features, member = _examples(known, references)
        if len(np.unique(member)) < 2:
            raise ViewError(
                "loss-trajectory needs at least 4 reference models, so that each has another that "
                f"left the same candidate out; got {len(known)}"
            )
        classifier: Any = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        classifier.fit(features, member)
        relative = seen - _mean_over(known, ~references.trained_on)
        scores = classifier.decision_function(relative.T)
        return MembershipGuess(
            candidates=view.background.candidates.ids, scores=np.asarray(scores, dtype=np.float64)
        )


def _trajectories(view: ParticipantView) -> Array:
    """Return the candidates' log-odds after each round, shape (rounds, candidates)."""
    candidates = view.background.candidates
    logits = [
        view.background.architecture.logits(model, candidates.inputs) for model in view.models[1:]
    ]
    return _log_odds(np.stack(logits), candidates.labels)


def _examples(known: Array, references: References) -> tuple[Array, NDArray[np.bool_]]:
    """Return calibrated trajectories of all reference federations, and whether they are members'.

    A candidate that no other federation left out has nothing to be held against: passed over.
    """
    features, member = [], []
    for model, trained_on in enumerate(references.trained_on):
        outside = ~references.trained_on
        outside[model] = False
        usable = outside.any(axis=0)
        relative = known[model] - _mean_over(known, outside)
        features.append(relative[:, usable].T)
        member.append(trained_on[usable])
    return np.concatenate(features), np.concatenate(member)


def _mean_over(known: Array, chosen: NDArray[np.bool_]) -> Array:
    """Mean over the chosen federations of each candidate, shape (rounds, candidates)."""
    counts = np.maximum(chosen.sum(axis=0), 1)
    mean: Array = np.einsum("mtc,mc->tc", known, chosen.astype(np.float64)) / counts
    return mean


def _log_odds(logits: Array, labels: NDArray[np.int64]) -> Array:
    """Return log(p / (1 - p)) of the true label from logits of shape (..., candidates, classes)."""
    is_true = np.eye(logits.shape[-1], dtype=bool)[labels]
    true: Array = np.where(is_true, logits, 0.0).sum(axis=-1)
    others: Array = logsumexp(np.where(is_true, -np.inf, logits), axis=-1)
    odds: Array = true - others
    return odds


def build(budget: Budget) -> LossTrajectory:
    """Return the attack; every budget is the same but for the number of references."""
    del budget
    return LossTrajectory()
