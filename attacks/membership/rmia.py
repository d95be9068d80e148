"""RMIA: is the record's answer raised above its average more than those of population records?"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import rankdata

from attacks.attack import Budget, answers, reference_models
from attacks.membership.likelihood import log_probability, require_both_sides
from audit.core.guesses import MembershipGuess
from audit.core.views import View

GAMMA = 2.0
"""How many times a population record's ratio must be exceeded to count as dominated."""


def rmia_scores(
    ratio: NDArray[np.float64], population: NDArray[np.float64], *, gamma: float = GAMMA
) -> NDArray[np.float64]:
    """Score each candidate by how many population records it dominates.

    Args:
        ratio: log p(x | released) - log p(x) of each candidate, nats, shape (candidates,).
        population: The same of each population record z, shape (population,).
        gamma: Least factor by which x's ratio must exceed z's.

    Returns:
        Dominated share of the population, from 0 to just above 1, shape (candidates,); higher
        means more likely a member. Candidates of one share are spread, within less than one
        record's share, by the rank of their ratio; equal ratios stay tied.

    Source:
        Zarifzadeh et al. 2024, arXiv:2312.03262, and gamma from the authors' code. Differs:
        plain softmax in place of their SM-Taylor softmax, one query, plain means; the spread
        within a share. As every candidate meets the same z, the share never decreases with x's
        ratio: the ROC is that of the ratio, and z and gamma decide only what a threshold means.
    """
    dominated = np.searchsorted(np.sort(population), ratio - np.log(gamma), side="right")
    within = rankdata(ratio) / (len(ratio) + 1)  # above 0 and below 1
    scores: NDArray[np.float64] = (dominated + within) / len(population)
    return scores


def log_average_of_sides(
    log_chances: NDArray[np.float64], trained_on: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return log p(x): half the models' average with x, half that without.

    Args:
        log_chances: Log-probability of the true label by model, shape (models, candidates).
        trained_on: True where a model trained on a candidate, same shape; both sides not empty.

    Returns:
        Nats, shape (candidates,).
    """
    sides = [_log_mean(log_chances, among) for among in (trained_on, ~trained_on)]
    averaged: NDArray[np.float64] = np.logaddexp(*sides) - np.log(2)
    return averaged


def offline_slope(log_chances: NDArray[np.float64], trained_on: NDArray[np.bool_]) -> float:
    """Fit a in p_in = a p_out + (1 - a), by least squares over the candidates.

    Returns:
        From 0 (training makes an answer certain) to 1 (it changes nothing), unitless.

    Source:
        The model is Zarifzadeh et al.'s offline correction (their a). Differs: they try values on
        reference models; here both sides of the candidates are known and a is fitted.
    """
    missing_in, missing_out = (
        -np.expm1(_log_mean(log_chances, among)) for among in (trained_on, ~trained_on)
    )
    spread = float((missing_out**2).sum())
    return float(np.clip((missing_in * missing_out).sum() / spread, 0, 1)) if spread else 1.0


class Rmia:
    """Zarifzadeh et al.'s robust membership inference attack.

    Candidates are in half of the reference models, so p(x) is their plain average over both
    sides. No reference model trained on the population: p(z) is corrected as the paper does when
    only such models are at hand. The same record z could have been trained on, and its p(z)
    must say so, or every candidate's p(x) would be higher for that reason alone.
    """

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Return dominated shares; ``rng`` is not used.

        Raises:
            ViewError: The view lacks the model, reference models on both sides or a population.
        """
        candidates, population = view.background.candidates, view.background.population
        target = log_probability(answers(view, "rmia"), candidates.labels)
        references = reference_models(view, "rmia")
        require_both_sides(references.trained_on, "rmia", least=1)
        of_x = log_probability(references.logits[:, -1], candidates.labels)
        of_z = log_probability(references.population_logits, population.labels)
        target_z = log_probability(answers(view, "rmia", population), population.labels)
        slope = offline_slope(of_x, references.trained_on)
        unseen = np.exp(_log_mean(of_z, np.ones(of_z.shape, dtype=bool)))
        average_z = np.log(((1 + slope) * unseen + (1 - slope)) / 2)
        return MembershipGuess(
            candidates=candidates.ids,
            scores=rmia_scores(
                target - log_average_of_sides(of_x, references.trained_on), target_z - average_z
            ),
            note=f"the answers of {len(of_x)} reference models to {len(average_z)} population "
            f"records; offline correction a = {slope:.2f}",
        )


def build(budget: Budget) -> Rmia:
    """Return the attack; the budget decides only how many reference models there are."""
    del budget
    return Rmia()


def _log_mean(log_chances: NDArray[np.float64], among: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Log of the mean chance over the models marked, by record."""
    mean: NDArray[np.float64] = logsumexp(np.where(among, log_chances, -np.inf), axis=0) - np.log(
        among.sum(axis=0)
    )
    return mean
