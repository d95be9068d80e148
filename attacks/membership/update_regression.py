"""Regression attack: which candidates' gradients, added up, make the update?

The cosine and the gradient difference take other records' gradients for independent noise. They
are not: they share most of their directions, and what two candidates share says nothing of either.
A regression of the update on all candidates' gradients at once takes that out.
"""

import numpy as np

from attacks.attack import Budget, clip_factors
from attacks.membership.updates import (
    Array,
    Round,
    combined,
    evenly_spread,
    noise_variance,
)
from audit.core.guesses import MembershipGuess
from audit.core.model import Weights
from audit.core.views import Background, View

MISFIT = 0.01
"""Ridge penalty for what the linear model leaves out, over the mean squared gradient norm."""

CONVERGED = 1e-8
"""Share of the squared slope at which the regression stops before its budget is used."""

ITERATIONS = {Budget.QUICK: 10, Budget.STANDARD: 20, Budget.THOROUGH: 40}
"""Steps of conjugate gradients in each round; each is two passes over the candidates."""


class UpdateRegression:
    """Score a candidate by its coefficient in a ridge regression of the updates on gradients.

    To first order an update is the sum of its records' clipped gradients: a coefficient is about 1
    for a member and 0 for another candidate. The penalty is the variance of the DP noise, which the
    recipe tells, plus a small share of the gradients' mean squared norm.

    Args:
        budget: How many rounds are looked at, and how long the regression is iterated.

    Source:
        This project's own, inspired by Leemann, Pawelczyk and Kasneci 2023, "Gaussian membership
        inference privacy", arXiv:2306.07273, whose gradient likelihood ratio attack (GLiR) whitens
        an update by the covariance of the gradients and adds log p-values of a noncentral
        chi-squared over steps. Differs: a ridge regression, in which the candidates' own gradients
        take the place of background data, so that their parts are estimated jointly; every step of
        a round counts as one at the broadcast model; coefficients are averaged over rounds, the
        largest over clients is taken, and no p-value is computed.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Return each candidate's largest mean coefficient over clients; ``rng`` is not used.

        Raises:
            ViewError: The view has no updates of rounds.
        """
        rounds = evenly_spread(view, "update-regression", self._budget)
        steps = ITERATIONS[self._budget]
        scored = ((one, _coefficients(view.background, one, steps)) for one in rounds)
        return combined(view, scored, lambda against: against.max(axis=1))


def _coefficients(background: Background, one: Round, steps: int) -> Array:
    """Regress the sums of a round on all gradients, shape (candidates, updates).

    Conjugate gradients on the normal equations (CGLS): no gradient is ever kept.
    """
    recipe, records = background.recipe, background.candidates
    model = background.architecture
    priors = recipe.class_priors

    def products(directions: list[Weights]) -> Array:
        found = model.gradient_products(
            one.weights,
            records.inputs,
            records.labels,
            directions,
            class_priors=priors,
            norms=False,
        )
        return factor * found.products

    def sums(coefficients: Array) -> list[Weights]:
        weighted = factor * coefficients
        return list(
            model.gradient_sums(
                one.weights, records.inputs, records.labels, weighted, class_priors=priors
            )
        )

    norms = model.gradient_products(
        one.weights, records.inputs, records.labels, one.sums[:1], class_priors=priors
    ).norms[:, None]
    factor = clip_factors(recipe, norms)
    penalty = MISFIT * float(np.mean((factor * norms) ** 2)) + noise_variance(
        recipe, clients=len(one.senders[0])
    )
    penalty = max(penalty, np.finfo(np.float64).tiny)

    left = list(one.sums)
    slope = products(left)
    coefficients, direction = np.zeros_like(slope), slope
    size = first = (slope**2).sum(axis=0)
    for _ in range(steps):
        if (size <= CONVERGED * first).all():
            break
        image = sums(direction)
        curvature = _squares(image) + penalty * (direction**2).sum(axis=0)
        step = _ratio(size, curvature)
        coefficients = coefficients + step * direction
        left = [_minus(a, s, b) for a, s, b in zip(left, step, image, strict=True)]
        slope = products(left) - penalty * coefficients
        old, size = size, (slope**2).sum(axis=0)
        direction = slope + _ratio(size, old) * direction
    return coefficients


def _squares(vectors: list[Weights]) -> Array:
    return np.array(
        [sum(np.square(a, dtype=np.float64).sum() for a in vector.values()) for vector in vectors]
    )


def _minus(vector: Weights, step: float, other: Weights) -> Weights:
    return {name: (a - step * other[name]).astype(np.float32) for name, a in vector.items()}


def _ratio(over: Array, under: Array) -> Array:
    """Divide, and give 0 where there is nothing left to divide."""
    return np.divide(over, under, out=np.zeros_like(over), where=under > 0)


def build(budget: Budget) -> UpdateRegression:
    """Return the attack."""
    return UpdateRegression(budget)
