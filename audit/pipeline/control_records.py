"""``controls.jsonl`` of a run: what each attack found in its positive control."""

from collections.abc import Sequence

from pydantic import ValidationError

from attacks.registry import ATTACKS
from audit.core.controls import ControlRecord
from audit.core.errors import IntegrityError
from audit.formats.files import read_json_lines, write_json_lines
from audit.store.run import RunDirectory

FILE = "controls.jsonl"


def keep_controls(run: RunDirectory, records: Sequence[ControlRecord]) -> None:
    """Replace the controls of attacks that ran again, and keep all others, in a stable order."""
    again = {record.name for record in records}
    old = [record for record in read_controls(run) if record.name not in again]
    names = [f"{one.value}/{entry.id}" for entry in ATTACKS.values() for one in entry.adversaries]
    order = {name: i for i, name in enumerate(names)}
    ranked = sorted([*old, *records], key=lambda r: (order.get(r.name, len(order)), r.name))
    lines = [record.model_dump(mode="json", by_alias=True) for record in ranked]
    write_json_lines(run.path / FILE, lines)


def read_controls(run: RunDirectory) -> list[ControlRecord]:
    """Return the controls of a run; none where none has run.

    Raises:
        IntegrityError: The file is damaged.
    """
    try:
        return [ControlRecord.model_validate(line) for line in read_json_lines(run.path / FILE)]
    except ValidationError as error:
        raise IntegrityError(f"{run.path / FILE} is damaged: {error}") from None
