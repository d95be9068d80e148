"""Label counts without a look at any update, and what is asked of both label attacks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.attack import Budget, records_in
from attacks.inversion.labels.simplex_fit import whole_counts
from attacks.membership.updates import step_repeats
from audit.core.errors import ViewError
from audit.core.guesses import LabelCountGuess
from audit.core.views import Background, Observation, SecaggServerView, ServerView, View

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a view holds of labels.

    Args:
        probes: Single steps on known numbers of records.
        senders: ``rounds|<clients>`` to the updates of these clients, round by round.
        prior: Class shares of the population, shape (classes,).
    """

    probes: tuple[Observation, ...]
    senders: dict[str, list[Observation]]
    prior: Array

    @property
    def described(self) -> dict[str, Observation]:
        """Name to an observation of the same clients and shares."""
        firsts = {name: updates[0] for name, updates in self.senders.items()}
        return {probe.name: probe for probe in self.probes} | firsts


def asked(view: View, attack: str) -> Asked:
    """Return what can be asked of a server's view.

    Raises:
        ViewError: The view has neither probes nor rounds, or no population.
    """
    if not isinstance(view, ServerView | SecaggServerView):
        raise ViewError(
            f"{attack} needs the updates that a server sees, "
            f"which {type(view).__name__} does not have"
        )
    if not view.probes and not view.rounds:
        raise ViewError(f"{attack} needs updates: this run recorded no probe and no round")
    population = view.background.population.labels
    if not len(population):
        raise ViewError(f"{attack} needs a population with labels, and the adversary has none")
    senders: dict[str, list[Observation]] = {}
    for update in view.rounds:
        senders.setdefault(f"rounds|{','.join(update.clients)}", []).append(update)
    counts = np.bincount(population, minlength=view.background.architecture.classes)
    return Asked(probes=view.probes, senders=senders, prior=counts / counts.sum())


def drawn_records(background: Background, updates: list[Observation]) -> float:
    """Return how many records are expected behind the updates of rounds."""
    recipe = background.recipe
    each = recipe.local_steps * recipe.expected_batch_size
    return each * sum(len(update.clients) for update in updates)


def independent_records(background: Background, update: Observation) -> float:
    """Return the sample size whose mean varies like the mean gradient behind an update."""
    senders = 1.0 / float(np.sum(np.square(update.shares)))
    if update.records is not None:
        return senders * update.records
    repeats = step_repeats(background.recipe)
    steps = float(repeats.sum() ** 2 / (repeats**2).sum())
    return senders * steps * background.recipe.expected_batch_size


class LabelPrior:
    """Answer with the population's class shares."""

    def guess(self, view: View, rng: np.random.Generator) -> LabelCountGuess:
        """Return the same shares for every probe and sender; ``rng`` is not used.

        Raises:
            ViewError: The view has neither probes nor rounds, or no population.
        """
        found, background = asked(view, "label-prior"), view.background
        return LabelCountGuess(
            counts={p.name: whole_counts(records_in(p) * found.prior) for p in found.probes}
            | {
                name: drawn_records(background, updates) * found.prior
                for name, updates in found.senders.items()
            },
            clients={name: one.clients for name, one in found.described.items()},
            shares={name: one.shares for name, one in found.described.items()},
        )


def build(budget: Budget) -> LabelPrior:
    """Return the baseline; every budget is the same."""
    del budget
    return LabelPrior()
