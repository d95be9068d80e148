"""Was the true record named, and may the mechanism let it be named so often?"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from audit import stats
from audit.core.audits import AuditRecord
from audit.core.guesses import IdentificationGuess
from audit.core.parcel import Parcel
from audit.core.scores import Outcome, Score
from audit.scoring.auditing import Claimed
from audit.scoring.origin import CONFIDENCE, Origin
from audit.scoring.probes import (
    POOLS,
    SliceValues,
    kept_values,
    probe_truth,
    rate_score,
    size_of,
    too_few_decoys,
    with_left_out,
)

IDENTIFICATION_METRICS = tuple(POOLS)
HUNDRED = "identification_rate_100"


@dataclass(frozen=True, kw_only=True)
class Identified:
    """What came of candidates.

    Args:
        scores: By probe size.
        record: An audit of the probe's claim by single-record probes: independent victims, so that
            the rate has an exact test against the bound. None without such probes, or where nothing
            is claimed.
        values: Probe size to metric to the values behind its score; patients' data.
    """

    scores: list[Score]
    record: AuditRecord | None
    values: Mapping[str, Mapping[str, SliceValues]]


def score_identification(
    guess: IdentificationGuess,
    victims: Parcel,
    claimed: Claimed,
    origin: Origin,
    *,
    bounds: dict[str, dict[str, float]],
    rng: np.random.Generator,
) -> Identified:
    """Score how often the true record ranks before decoys of its class.

    Args:
        guess: Scores of the pool.
        victims: The truth, from the vault.
        claimed: Of a probe: its own epsilon, noise, and one step on all of its records.
        origin: Where the guess came from.
        bounds: Observation to identification metric to the most that the mechanism allows.
        rng: For the bootstrap.

    """
    groups: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(guess.observations):
        groups[size_of(name)].append(i)
    scores: list[Score] = []
    record: AuditRecord | None = None
    kept: dict[str, dict[str, SliceValues]] = defaultdict(dict)
    for slice_name, rows in sorted(groups.items()):
        for metric, count in POOLS.items():
            hits = [_hits(guess, row, victims, count) for row in rows]
            found = [one for one in hits if one is not None]
            bound = bounds.get(guess.observations[rows[0]], {}).get(metric)
            if len(found) < len(hits):
                least = min(_fewest(guess, row, victims) for row in rows)
                scores.append(too_few_decoys(origin, metric, slice_name, least))
                continue
            kept[slice_name][metric] = kept_values(found, 1 / count, bound)
            scores.append(
                rate_score(
                    origin, metric, slice_name, found, chance=1 / count, bound=bound, rng=rng
                )
            )
            single = all(len(one) == 1 for one in found) and slice_name.count("/") == 1
            if single and bound is not None and (record is None or metric == HUNDRED):
                named = int(sum(one[0] for one in found))
                record = _audited(
                    origin, claimed, named=named, trials=len(found), count=count, bound=bound
                )
    scores = with_left_out(scores, guess.observations, guess.skipped)
    scores += [
        origin.score(metric, slice=name, outcome=Outcome.NOT_RUN, reason=reason)
        for name, reason in sorted({size_of(o): r for o, r in guess.skipped.items()}.items())
        if name not in groups
        for metric in POOLS
    ]
    return Identified(scores=scores, record=record, values=kept)


def _hits(
    guess: IdentificationGuess, row: int, victims: Parcel, count: int
) -> NDArray[np.float64] | None:
    """Return 1 for each record that ranks before its decoys; None: there are too few of them."""
    truth = probe_truth(victims, guess.observations[row], guess.clients[row])
    if truth.places is None or truth.decoys is None:
        return None
    decoys = truth.decoys[:, : count - 1]
    if (decoys < 0).any() or decoys.shape[1] < count - 1:
        return None
    found = guess.scores[row]
    first: NDArray[np.bool_] = found[truth.places] > found[decoys].max(axis=1)
    return first.astype(np.float64)


def _fewest(guess: IdentificationGuess, row: int, victims: Parcel) -> int:
    truth = probe_truth(victims, guess.observations[row], guess.clients[row])
    return 0 if truth.decoys is None else int((truth.decoys >= 0).sum(axis=1).min())


def _audited(
    origin: Origin, claimed: Claimed, *, named: int, trials: int, count: int, bound: float
) -> AuditRecord:
    """Return the audit of a probe's claim; it is judged with all others of the run."""

    def epsilon(hits: int) -> float:
        rate = stats.clopper_pearson_interval(hits, trials, 1 - 2 * (1 - CONFIDENCE)).low
        if not 1 / count < rate:
            return 0.0
        mu = float(special.ndtri(rate) - special.ndtri(1 / count))
        return stats.epsilon_of_mu(mu, claimed.delta)

    def p_value(hits: int) -> float:
        """Probability of so many successes or more at the bound."""
        return float(special.betainc(hits, trials - hits + 1, bound)) if hits else 1.0

    return AuditRecord(
        cell=origin.cell,
        adversary=origin.adversary,
        attack=origin.attack,
        about="probe",
        claimed_epsilon=claimed.epsilon,
        delta=claimed.delta,
        lower_bound=epsilon(named),
        method=f"identification among {count}, Gaussian mechanism of one full batch (a probe's own "
        "epsilon)",
        confidence=CONFIDENCE,
        n=trials,
        ceiling=epsilon(trials),
        guessed_in=named,
        inside=trials,
        guessed_in_wrongly=trials - named,
        outside=trials * (count - 1),
        p_value=p_value(named),
        best_p_value=p_value(trials),
        reversal_p_value=None,
        note=f"named {named} of {trials}; the mechanism allows a rate of {bound:.3g}",
    )
