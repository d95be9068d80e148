"""All attacks. Adding one is one file and one entry in its family's ``entries``."""

from attacks.attribute.entries import ENTRIES as ATTRIBUTE
from attacks.auditing.entries import ENTRIES as AUDITING
from attacks.entry import Entry
from attacks.inversion.entries import ENTRIES as INVERSION
from attacks.membership.entries import ENTRIES as MEMBERSHIP
from audit.core.errors import ConfigError

_ALL = (*MEMBERSHIP, *INVERSION, *ATTRIBUTE, *AUDITING)

ATTACKS = {entry.id: entry for entry in _ALL}


def select(only: list[str] | None) -> list[Entry]:
    """Return the chosen attacks, each preceded by its baseline, in the registry's order.

    Raises:
        ConfigError: An id is unknown.
    """
    if not only:
        return list(_ALL)
    for name in only:
        if name not in ATTACKS:
            raise ConfigError(
                f"--only {name!r}: unknown attack; expected one of {', '.join(ATTACKS)}"
            )
    wanted = {*only, *(ATTACKS[name].baseline for name in only)}
    return [entry for entry in _ALL if entry.id in wanted]
