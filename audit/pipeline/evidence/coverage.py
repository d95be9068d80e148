"""The coverage matrix: what became of every attack, against every adversary, on every cell."""

from collections.abc import Sequence

from attacks.registry import ATTACKS
from audit.core.audits import Verdict
from audit.core.config import Config
from audit.core.controls import ControlRecord
from audit.core.scores import Outcome
from audit.formats.evidence import Coverage
from audit.formats.files import read_json
from audit.pipeline.verdicts import read_audits
from audit.store.run import RunDirectory

MISSING = "missing"
CALL = "it was never tried: call `audit attack` without --only and --adversary"


def coverage(
    run: RunDirectory, config: Config, controls: Sequence[ControlRecord]
) -> list[Coverage]:
    """Return a line for every attack of the registry, on every view and cell that it is for.

    Args:
        run: The run.
        config: Its configuration.
        controls: Of its attacks.
    """
    detected = {(line.adversary, line.attack): line.detected for line in controls}
    weak = {
        (record.cell, record.adversary, record.attack): record.reason
        for record in read_audits(run)
        if record.verdict is Verdict.UNDERPOWERED
    }
    lines = []
    for entry in ATTACKS.values():
        for adversary in entry.adversaries:
            for cell in config.cells:
                path = run.attack_folder(cell.id, adversary.value, entry.id) / "result.json"
                result = read_json(path) if path.exists() else None
                outcome = result["outcome"] if result else MISSING
                reason = result["reason"] if result else CALL
                key = (cell.id, adversary.value, entry.id)
                if outcome == Outcome.EXECUTED and key in weak:
                    outcome, reason = Outcome.UNDERPOWERED.value, weak[key]
                lines.append(
                    Coverage(
                        attack=entry.id,
                        title=entry.title,
                        family=entry.family.value,
                        source=entry.source,
                        adversary=adversary.value,
                        cell=cell.id,
                        outcome=outcome,
                        reason=reason,
                        control=detected.get((adversary.value, entry.id)),
                    )
                )
    return lines
