"""The gate inside a project's own tests: a fixture that pytest finds by itself.

Every pytest start imports this module, so it imports nothing of the gate until a test asks for it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from audit.formats.gate import GateRecord


@pytest.fixture
def audit_gate() -> "Callable[..., GateRecord]":
    """Return a function that gates a run and fails the test unless it passes.

    Example:
        .. code-block:: python

            def test_leaks_no_more_than_approved(audit_gate):
                audit_gate("runs/candidate", baseline="baseline.json")
    """
    return gate_or_fail


def gate_or_fail(
    run: str | Path | Sequence[str | Path],
    *,
    baseline: str | Path,
    policy: str | Path | None = None,
    key: str | Path | None = None,
    inconclusive: str = "fail",
) -> "GateRecord":
    """Gate a run as `audit gate` does, and end the test by what it came to.

    Args:
        run: Run directory, or several seeds of one configuration.
        baseline: What was approved.
        policy: Else the shipped one.
        key: Public key that must have signed the baseline.
        inconclusive: ``fail`` or ``skip``: how a test ends whose gate could not decide.

    Returns:
        The record of a gate that passed.

    Raises:
        ValueError: ``inconclusive`` is neither.
        AuditError: The run, the baseline or the policy is missing, malformed or damaged.
    """
    from audit.formats.gate import Decision
    from audit.gate.digest import digest, headline
    from audit.gate.runs import gate_runs
    from audit.store.run import RunDirectory

    if inconclusive not in {"fail", "skip"}:
        raise ValueError(f"inconclusive is {inconclusive!r}, expected 'fail' or 'skip'")
    paths = [run] if isinstance(run, str | Path) else run
    record = gate_runs(
        [RunDirectory.open(Path(path)) for path in paths],
        baseline=Path(baseline),
        policy=Path(policy) if policy is not None else None,
        key=Path(key) if key is not None else None,
    )
    if record.decision is Decision.PASS:
        return record
    told = [
        f"  {group.standing}: {group.what}, {group.where}: {group.why}"
        for group in digest(check for check in record.checks if check.counts)
    ]
    message = "\n".join([f"audit gate: {headline(record)}", *told])
    if record.decision is Decision.INCONCLUSIVE and inconclusive == "skip":
        pytest.skip(message)
    pytest.fail(message, pytrace=False)
