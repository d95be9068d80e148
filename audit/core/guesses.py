"""What an attack returns: a guess, and nothing about the truth."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Coincidence:
    """A sign that needs no truth: what a sound mechanism shows by coincidence only.

    Args:
        chance: At most this probable under the recipe; 1: there was no such sign.
        least: What ``chance`` would have been with a sign; 1 where a broken mechanism, too, shows
            one in fewer than half of the cases.
    """

    chance: float
    least: float


@dataclass(frozen=True, kw_only=True)
class MembershipGuess:
    """A score for each candidate of the view, or for those that the budget allowed.

    Args:
        candidates: Pseudonyms, shape (candidates,).
        scores: Shape (candidates,); higher means more likely a member.
        hospitals: The hospital that each candidate, if a member, is guessed to be in; None where
            the attack cannot tell hospitals apart.
        note: What a reader must know, such as how many candidates the budget left out.
        coincidence: What the guess rests on, where that is a sign by itself; else None.
    """

    candidates: tuple[str, ...]
    scores: NDArray[np.float64]
    hospitals: tuple[str, ...] | None = None
    note: str | None = None
    coincidence: Coincidence | None = None


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The records that an attack rebuilt from one observation.

    Args:
        observation: Name of the probe, and of the client where the view tells them apart.
        clients: The hospitals whose records the observation mixes.
        records: Shape (records, *record shape), in the model's input space.
        labels: Shape (records,).
        objective: The attack's own final matching loss; lower is a closer match.
    """

    observation: str
    clients: tuple[str, ...]
    records: NDArray[np.float32]
    labels: NDArray[np.int64]
    objective: float


@dataclass(frozen=True, kw_only=True)
class ReconstructionGuess:
    """All reconstructions of one attack on one cell.

    Args:
        reconstructions: One for each observation that the attack worked on.
        skipped: Observation to the reason why the attack did not work on it.
        controls: What the same attack makes of a random gradient of the same norm, one for each
            reconstruction; empty where the attack has no such control.
    """

    reconstructions: tuple[Reconstruction, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    controls: tuple[Reconstruction, ...] = ()


@dataclass(frozen=True, kw_only=True)
class IdentificationGuess:
    """How likely each record of the pool is to be in each observation.

    Args:
        observations: Names of observations.
        clients: Of each observation, the hospitals whose records it mixes.
        pool: Pseudonyms, shape (pool,).
        scores: Shape (observations, pool); higher means more likely to be in it.
        skipped: Observations left out, with the reason.
    """

    observations: tuple[str, ...]
    clients: tuple[tuple[str, ...], ...]
    pool: tuple[str, ...]
    scores: NDArray[np.float64]
    skipped: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AttributeGuess:
    """The guessed category of a hidden binary attribute, for each candidate of the view.

    Args:
        candidates: Pseudonyms, shape (candidates,).
        categories: 0 or 1, shape (candidates,).
        scores: Probability of category 1 as the attack sees it, in [0, 1], same shape.
    """

    candidates: tuple[str, ...]
    categories: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LabelCountGuess:
    """How many records of each class are behind each update.

    Args:
        counts: Observation, a probe's name or ``rounds|<clients>``, to the expected records of each
            class over all its clients, shape (classes,); may be fractional.
        clients: Observation to the hospitals whose records it mixes.
        shares: Observation to each of these hospitals' part in the mean.
        skipped: Observation to the reason why there are no counts for it.
    """

    counts: Mapping[str, NDArray[np.float64]]
    clients: Mapping[str, tuple[str, ...]]
    shares: Mapping[str, tuple[float, ...]]
    skipped: Mapping[str, str] = field(default_factory=dict)


Guess = (
    MembershipGuess | ReconstructionGuess | IdentificationGuess | LabelCountGuess | AttributeGuess
)
