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
    """Invert observations, and after them random gradients as long as theirs.

    A random gradient knows nothing of any update, so that one serves all observations of a kind
    (round, records, hospitals, steps): it is as long as the first one's.

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
    kinds: dict[tuple[int, ...], list[Observation]] = {}
    for one in observations:
        if one.name in rebuilt:
            kind = one.round, one.records or 0, len(one.clients), one.steps, one.batch or 0
            kinds.setdefault(kind, []).append(one)
    controls = []
    for alike in kinds.values():
        made = invert([randomised(alike[0], rng)]).reconstructions
        controls += [
            replace(each, observation=one.name, clients=one.clients)
            for each in made
            for one in alike
        ]
    return replace(found, controls=tuple(controls))
