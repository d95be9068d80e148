"""What the registry holds of an attack."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module

from attacks.attack import Attack, Budget
from audit.core.adversaries import Adversary


class Family(StrEnum):
    """What an attack guesses."""

    MEMBERSHIP = "membership"
    INVERSION = "inversion"
    IDENTIFICATION = "identification"
    LABELS = "labels"
    ATTRIBUTE = "attribute"
    AUDIT = "dp-audit"


class Canary(StrEnum):
    """What kind of made-up record an audit plants."""

    GRADIENT = "gradient"
    OUTLIER = "outlier"
    RECORD = "record"
    HOSPITAL = "hospital"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An attack's line in the registry.

    Args:
        id: As on the command line and in every record.
        title: One line for people.
        family: What it guesses, and so how it is scored.
        adversaries: Whose views it runs on.
        source: Paper and section.
        module: Where its ``build(budget)``, or what follows a colon, is; imported when it is run.
        baseline: Another entry, run on the same view, whose score is this one's chance level.
        references: Whether its view must hold reference federations.
        canary: What it plants in audit cells; None: it works on what was recorded.
    """

    id: str
    title: str
    family: Family
    adversaries: tuple[Adversary, ...]
    source: str
    module: str
    baseline: str | None = None
    references: bool = False
    canary: Canary | None = None

    def build(self, budget: Budget) -> Attack:
        """Return the attack with the hyperparameters of a budget."""
        module, _, builder = self.module.partition(":")
        build: Callable[[Budget], Attack] = getattr(import_module(module), builder or "build")
        return build(budget)


MODEL = (Adversary.QUERY, Adversary.RECIPIENT)
SERVERS = (Adversary.SERVER, Adversary.SECAGG_SERVER)
