"""Reconstructions of training rounds: is a hospital's record nearer to them than others are?"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from audit.core.guesses import Reconstruction, ReconstructionGuess
from audit.core.scores import Outcome, Score
from audit.core.views import Records
from audit.scoring.origin import Origin
from audit.scoring.probes import POOLS, rate_score
from audit.vault import MembershipTruth

NOT_RECOVERED = "not recovered by this attack"
NO_DECOYS = "no class has enough records that no hospital trained on"


def apart(guess: ReconstructionGuess) -> tuple[ReconstructionGuess, ReconstructionGuess]:
    """Return a guess at probes, and the same attack's guess at training rounds."""

    def part(rounds: bool) -> ReconstructionGuess:
        return ReconstructionGuess(
            reconstructions=tuple(
                one for one in guess.reconstructions if _is_round(one.observation) == rounds
            ),
            skipped={n: r for n, r in guess.skipped.items() if _is_round(n) == rounds},
            controls=tuple(one for one in guess.controls if _is_round(one.observation) == rounds),
        )

    return part(False), part(True)


def _is_round(observation: str) -> bool:
    """A probe's session is below its round, after a slash."""
    return "/" not in observation


def slice_of_round(observation: str) -> str:
    """``round-003|hospital-1`` is of slice ``round-3/training``."""
    return f"round-{int(observation.partition('|')[0][-3:])}/training"


def score_rounds(
    guess: ReconstructionGuess,
    candidates: Records,
    truth: MembershipTruth,
    origin: Origin,
    *,
    rng: np.random.Generator,
) -> list[Score]:
    """Score reconstructions of training rounds by whom they name, apart for each round.

    Which records were in which step is nobody's knowledge, so records are not matched one to one.
    A candidate that a hospital of the round trained on is named where its nearest reconstruction is
    nearer than that of 9, or 99, candidates of its class that no hospital trained on. Those are
    drawn from the same records, so that a reconstruction without information names one in 10, or in
    100. Intervals resample observations, whose members share reconstructions.

    Args:
        guess: Reconstructions, in input units; only training rounds.
        candidates: Of the membership game.
        truth: Of the same.
        origin: Where the guess came from.
        rng: For decoys and the bootstrap.
    """
    groups: dict[str, list[Reconstruction]] = defaultdict(list)
    for one in guess.reconstructions:
        groups[slice_of_round(one.observation)].append(one)
    scores = []
    for name, rebuilt in sorted(groups.items()):
        for metric, count in POOLS.items():
            found = [_hits(one, candidates, truth, count, rng) for one in rebuilt]
            values = [hits for hits in found if len(hits)]
            if not values:
                scores.append(
                    origin.score(
                        metric, slice=name, outcome=Outcome.NOT_RESOLVABLE, reason=NO_DECOYS
                    )
                )
                continue
            score = rate_score(origin, metric, name, values, chance=1 / count, bound=None, rng=rng)
            if score.low is not None and score.low <= 1 / count:
                score = score.model_copy(update={"reason": NOT_RECOVERED})
            scores.append(score)
    return scores + _skipped(guess.skipped, origin, set(groups))


def _skipped(skipped: Mapping[str, str], origin: Origin, measured: set[str]) -> list[Score]:
    reasons: dict[str, str] = {}
    for observation, reason in skipped.items():
        reasons.setdefault(slice_of_round(observation), reason)
    return [
        origin.score(metric, slice=name, outcome=Outcome.NOT_RUN, reason=reason)
        for name, reason in sorted(reasons.items())
        if name not in measured
        for metric in POOLS
    ]


def _hits(
    one: Reconstruction,
    candidates: Records,
    truth: MembershipTruth,
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return 1 for each member of the round's hospitals that is named, 0 for others."""
    far = _distances(candidates.inputs, one.records)
    member = np.array([truth.hospital.get(i) in one.clients for i in candidates.ids])
    outside = np.array([not truth.member[i] for i in candidates.ids])
    hits = []
    for place in np.flatnonzero(member):
        same = np.flatnonzero(outside & (candidates.labels == candidates.labels[place]))
        if len(same) >= count - 1:
            decoys = rng.choice(same, size=count - 1, replace=False)
            hits.append(float(far[place] < far[decoys].min()))
    return np.array(hits)


def _distances(inputs: NDArray[np.float32], rebuilt: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the squared distance of each record to its nearest reconstruction."""
    x = inputs.reshape(len(inputs), -1).astype(np.float64)
    y = rebuilt.reshape(len(rebuilt), -1).astype(np.float64)
    nearest = np.full(len(x), np.inf)
    for start in range(0, len(y), 256):
        part = y[start : start + 256]
        squares = (x**2).sum(axis=1)[:, None] + (part**2).sum(axis=1) - 2 * x @ part.T
        nearest = np.minimum(nearest, squares.min(axis=1))
    return nearest
