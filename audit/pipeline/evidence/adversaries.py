"""Each adversary: what it saw, and what its attacks were granted besides."""

from collections.abc import Sequence

from attacks.entry import Family
from attacks.registry import ATTACKS
from audit.core.adversaries import Adversary
from audit.core.config import Config
from audit.core.scores import Outcome
from audit.formats.evidence import AdversaryFacts, Coverage

RAN = (Outcome.EXECUTED.value, Outcome.UNDERPOWERED.value)


def adversary_facts(config: Config, covered: Sequence[Coverage]) -> list[AdversaryFacts]:
    """Return a line for each adversary from whose view an attack is known.

    Args:
        config: Of the run.
        covered: The coverage matrix.
    """
    found = []
    for adversary in Adversary:
        ran = {
            line.attack
            for line in covered
            if line.adversary == adversary.value and line.outcome in RAN
        }
        if any(adversary in entry.adversaries for entry in ATTACKS.values()):
            found.append(
                AdversaryFacts(
                    adversary=adversary.value,
                    sees=adversary.sees,
                    knows=_knows(config, ran),
                    attacks=len(ran),
                )
            )
    return found


def _knows(config: Config, ran: set[str]) -> list[str]:
    entries = [ATTACKS[name] for name in sorted(ran)]
    families = {entry.family for entry in entries}
    known = []
    if ran:
        known.append("the model's architecture and the public training recipe, noise included")
        known.append("a population sample that no hospital trained on, with labels")
    if Family.MEMBERSHIP in families:
        known.append("the candidates' records and labels, half of them members")
    if any(entry.references for entry in entries):
        known.append(
            "reference federations that it trained itself by the same recipe on the candidates, "
            "and the hospitals' records outside of the game (DP's adversary)"
        )
    if families & {Family.INVERSION, Family.IDENTIFICATION, Family.LABELS}:
        known.append("of each probe the number of records, and a pool that holds them and decoys")
    if Family.ATTRIBUTE in families:
        known.append("every field of a candidate but the hidden one")
    if Family.AUDIT in families:
        known.append("the canaries planted in audit cells, but not which of them were in")
    if config.pretraining is not None and ran:
        known.append("the records that the model was pretrained on")
    return known
