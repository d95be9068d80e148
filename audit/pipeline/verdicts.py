"""The audits of a run in one file, ``audits.jsonl``, judged together."""

from collections.abc import Mapping

from attacks.registry import ATTACKS
from audit.core.audits import AuditRecord
from audit.core.config import Config
from audit.formats.files import read_json_lines, write_json_lines
from audit.scoring import judge
from audit.store.run import RunDirectory


def keep_audits(run: RunDirectory, config: Config, done: Mapping[str, AuditRecord | None]) -> None:
    """Replace the audits that were done again, keep the others, and judge all of them anew.

    Args:
        run: The run.
        config: Its configuration.
        done: Name of an audit to what it found; None: it found nothing, or is no audit.
    """
    kept = [record for record in read_audits(run) if record.name not in done]
    records = [*kept, *(record for record in done.values() if record is not None)]
    cells = {cell.id: i for i, cell in enumerate(config.cells)}
    order = {name: i for i, name in enumerate(ATTACKS)}
    records.sort(key=lambda r: (cells[r.cell], order[r.attack], r.adversary))
    if records or read_audits(run):
        lines = [record.model_dump(mode="json") for record in judge(records)]
        write_json_lines(run.path / "audits.jsonl", lines)


def read_audits(run: RunDirectory) -> list[AuditRecord]:
    """Return the audits of a run; none where none has run."""
    return [AuditRecord.model_validate(line) for line in read_json_lines(run.path / "audits.jsonl")]
