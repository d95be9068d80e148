"""What an answer says of the true label, and what reference models say of it with and without.

Shared by the attacks that compare the released model with reference models. Everything is in
log-odds of the true label, log(p / (1 - p)), which keeps its precision where p is near 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from attacks.attack import answers, reference_models
from audit.core.errors import ViewError
from audit.core.views import View

MIN_VARIANCE = 1e-6
"""Floor under a variance of log-odds: a standard deviation of 0.001."""


def log_odds(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the log-odds of the true label.

    Args:
        logits: Logits or log-probabilities, shape (..., records, classes).
        labels: True classes, shape (records,).

    Returns:
        The true label's logit minus the log of the others' summed exponentials, shape
        (..., records); log(p / (1 - p)) without ever forming 1 - p.

    Source:
        Carlini et al. 2022, arXiv:2112.03570, section VI ("logit scaling", the stable form).

    Example:
        >>> import numpy as np
        >>> float(log_odds(np.array([[60.0, 0.0]]), np.array([0]))[0])
        60.0
    """
    others = np.array(logits, dtype=np.float64)
    true = np.broadcast_to(labels[:, None], (*others.shape[:-1], 1))
    picked = np.take_along_axis(others, true, axis=-1)[..., 0]
    np.put_along_axis(others, true, -np.inf, axis=-1)
    odds: NDArray[np.float64] = picked - logsumexp(others, axis=-1)
    return odds


def log_probability(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the log-probability of the true label, shape (..., records); precise near 0."""
    return -np.logaddexp(0.0, -log_odds(logits, labels))


@dataclass(frozen=True, kw_only=True)
class Side:
    """Reference models on one side of a candidate: those that trained on it, or the others.

    Args:
        count: Models on this side, shape (candidates,).
        mean: Their mean log-odds, shape (candidates,).
        squares: Summed squared deviations from that mean, log-odds squared, shape (candidates,).
    """

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @property
    def variance(self) -> NDArray[np.float64]:
        """Unbiased variance of each candidate, log-odds squared, shape (candidates,)."""
        return np.maximum(self.squares / (self.count - 1), MIN_VARIANCE)

    @property
    def pooled_variance(self) -> float:
        """Unbiased variance within candidates, one for all of them, log-odds squared."""
        return max(float(self.squares.sum() / (self.count - 1).sum()), MIN_VARIANCE)


def side(odds: NDArray[np.float64], among: NDArray[np.bool_]) -> Side:
    """Summarise the models on one side of each candidate.

    Args:
        odds: Log-odds of every reference model, shape (models, candidates).
        among: True where a model is on this side of a candidate, same shape.

    Raises:
        ValueError: A candidate has fewer than two models on this side: no spread can be seen.
    """
    count = among.sum(axis=0)
    if count.min() < 2:
        raise ValueError(f"a candidate has {count.min()} models on this side: expected at least 2")
    mean = np.where(among, odds, 0.0).sum(axis=0) / count
    squares = np.where(among, (odds - mean) ** 2, 0.0).sum(axis=0)
    return Side(count=count, mean=mean, squares=squares)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The released model's log-odds of each candidate, beside both sides' reference models.

    Args:
        target: Shape (candidates,), log-odds.
        inside: Reference models that trained on the candidate.
        outside: Reference models that did not.
    """

    target: NDArray[np.float64]
    inside: Side
    outside: Side


def evidence(view: View, attack: str) -> Evidence:
    """Return what a view says of its candidates, in log-odds.

    Args:
        view: The view.
        attack: Id of the attack that asks, for the error.

    Raises:
        ViewError: The view has no model, no reference models, or fewer than two that trained on
            some candidate or fewer than two that did not.
    """
    labels = view.background.candidates.labels
    target = log_odds(answers(view, attack), labels)
    references = reference_models(view, attack)
    require_both_sides(references.trained_on, attack, least=2)
    odds = log_odds(references.logits[:, -1], labels)
    return Evidence(
        target=target,
        inside=side(odds, references.trained_on),
        outside=side(odds, ~references.trained_on),
    )


def require_both_sides(trained_on: NDArray[np.bool_], attack: str, *, least: int) -> None:
    """Refuse reference models that leave a candidate without enough of them on either side.

    Raises:
        ViewError: Fewer than ``least`` models trained on some candidate, or did not.
    """
    inside = trained_on.sum(axis=0)
    fewest, outside = int(inside.min()), len(trained_on) - int(inside.max())
    if min(fewest, outside) < least:
        raise ViewError(
            f"{attack} needs at least {least} reference models that trained on each candidate and "
            f"{least} that did not; a candidate here has {fewest}, and one has {outside}"
        )
