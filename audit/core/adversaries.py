"""Who attacks: the adversaries of the audit, and what each one sees."""

from enum import StrEnum


class Adversary(StrEnum):
    """An adversary, named as on the command line and in every record."""

    QUERY = "query"
    RECIPIENT = "recipient"
    PARTICIPANT = "participant"
    SERVER = "server"
    SECAGG_SERVER = "secagg-server"
    COLLUDING_SERVER = "colluding-server"
    MALICIOUS_SERVER = "malicious-server"

    @property
    def sees(self) -> str:
        """One line for people: what this adversary sees."""
        return _SEES[self]

    @property
    def includes(self) -> tuple["Adversary", ...]:
        """Adversaries who see less: whatever they can do, this one can."""
        return _INCLUDES.get(self, ())


_SEES = {
    Adversary.QUERY: "probabilities of the released model, through a counted oracle",
    Adversary.RECIPIENT: "the released model's weights",
    Adversary.PARTICIPANT: "one hospital's own data and updates, every global model",
    Adversary.SERVER: "every hospital's single update of every round",
    Adversary.SECAGG_SERVER: "masked updates, the protocol's messages and their sum",
    Adversary.COLLUDING_SERVER: "as secagg-server, with k hospitals' updates and keys",
    Adversary.MALICIOUS_SERVER: "as secagg-server, and may deviate from the protocol",
}

_MODEL = (Adversary.QUERY, Adversary.RECIPIENT)
_INCLUDES = {
    Adversary.RECIPIENT: (Adversary.QUERY,),
    Adversary.PARTICIPANT: _MODEL,
    Adversary.SECAGG_SERVER: _MODEL,
    Adversary.SERVER: (*_MODEL, Adversary.SECAGG_SERVER),
    Adversary.COLLUDING_SERVER: (*_MODEL, Adversary.SECAGG_SERVER),
}

PASSIVE = tuple(a for a in Adversary if a is not Adversary.MALICIOUS_SERVER)
"""Adversaries that need nothing but a recording."""
