"""What an attack makes of a random gradient: a baseline of its reconstructions."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from audit.core.guesses import ReconstructionGuess
from audit.core.views import Observation


def randomised(one: Observation, rng: np.random.Generator) -> Observation:
    """Return the observation with a random update of the same norm."""
    norm = sum(float(np.vdot(part, part)) for part in one.update.values()) ** 0.5
    drawn = {name: rng.standard_normal(part.shape) for name, part in one.update.items()}
    length = sum(float(np.vdot(part, part)) for part in drawn.values()) ** 0.5
    update = {name: (part * norm / length).astype(np.float32) for name, part in drawn.items()}
    return replace(one, update=update)


def with_controls(
    invert: Callable[[Sequence[Observation]], ReconstructionGuess],
    observations: Sequence[Observation],
    rng: np.random.Generator,
    *,
    wanted: bool = True,
) -> ReconstructionGuess:
    """Invert observations, and after them a random gradient for each that was rebuilt.

    Args:
        invert: Returns what is found on some observations.
        observations: All of them.
        rng: Random gradients.
        wanted: Whether random gradients are inverted at all.
    """
    found = invert(observations)
    if not wanted:
        return found
    rebuilt = {one.observation for one in found.reconstructions}
    beside = [randomised(one, rng) for one in observations if one.name in rebuilt]
    return replace(found, controls=invert(beside).reconstructions)
