"""Real training rounds as inversion sees them: what it takes them for, and what that would cost."""

from collections.abc import Sequence
from dataclasses import replace

from attacks.inversion.work import ProbeSize
from audit.core.views import Observation, Recipe

MOST_NUMBERS = 2e9
"""Gradient entries of dummy records that one round may cost at the standard budget, over all
iterations: some 20 s on one core for a perceptron."""


def first_and_last(rounds: Sequence[Observation]) -> list[Observation]:
    """Return the observations of the first and of the last recorded round."""
    numbers = {one.round for one in rounds}
    ends = {min(numbers), max(numbers)} if numbers else set()
    return [one for one in rounds if one.round in ends]


def size_of_round(recipe: Recipe, hospitals: int) -> ProbeSize:
    """Return what a round is taken for: epochs of whole batches, each of the expected size.

    Who is in a step is drawn anew for each, so that this is an approximation; the number of epochs
    is the divisor of the steps nearest to how often a record is expected in one.

    Args:
        recipe: Of the cell.
        hospitals: Whose records the observation mixes.
    """
    steps, batch = recipe.local_steps, max(1, round(recipe.expected_batch_size))
    uses = steps * recipe.sample_rate
    divisors = (number for number in range(1, steps + 1) if steps % number == 0)
    epochs = min(divisors, key=lambda number: (abs(number - uses), number))
    records = batch * steps // epochs
    return ProbeSize(
        records=records,
        hospitals=hospitals,
        steps=steps,
        batch=batch if batch < records else None,
    )


def as_training(one: Observation, recipe: Recipe) -> Observation:
    """Return a round with the records and batches that it is taken for, in an unknown order."""
    size = size_of_round(recipe, len(one.clients))
    return replace(one, records=size.records, batch=size.batch)


def too_costly(numbers: float, most: float) -> str | None:
    """Return why a round is not searched, or None.

    Args:
        numbers: Gradient entries of dummy records, over all iterations.
        most: What the budget allows.
    """
    if not most:
        return "training rounds are left to larger budgets"
    if numbers <= most:
        return None
    return f"a round would cost {numbers:.1g} gradient entries: more than the {most:.1g} allowed"
