"""Each hospital's durable account of what it has spent on a dataset, over all runs and cells."""

import fcntl
import json
import os
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from audit.core.errors import IntegrityError
from audit.formats.files import append_line, private_folder


class Charge(BaseModel):
    """One release that was paid for.

    Attributes:
        run, cell, session: What was released; together they are unique.
        kind: ``round`` or ``probe``.
        steps, sample_rate, noise_multiplier: The mechanism; the multiplier is null without DP.
        reproduction: Whether the noise came from a fixed key, which voids the guarantee.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: str = "audit-charge/v1"
    run: str
    cell: str
    session: str
    kind: str
    steps: int
    sample_rate: float
    noise_multiplier: float | None
    reproduction: bool

    @property
    def release(self) -> tuple[str, str, str]:
        """What was released: run, cell and session."""
        return self.run, self.cell, self.session


class Ledger:
    """An append-only file for one hospital and one dataset.

    Args:
        folder: Where this machine keeps ledgers.
        client: The hospital.
        dataset: SHA-256 of the hospital's own records.
    """

    def __init__(self, folder: Path, *, client: str, dataset: str) -> None:
        self.path = folder / client / f"{dataset}.jsonl"

    def charge(self, charge: Charge) -> bool:
        """Record a release, synced to disk on return. The same release is recorded once.

        Returns:
            Whether it was new.

        Raises:
            IntegrityError: The ledger is damaged, or holds another charge for that release.
        """
        private_folder(self.path.parent)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for known in self.charges():
                if known == charge:
                    return False
                if known.release == charge.release:
                    raise IntegrityError(
                        f"ledger {self.path}: {charge.session} of cell {charge.cell} was charged "
                        "before, for another mechanism"
                    )
            append_line(self.path, charge.model_dump())
            return True
        finally:
            os.close(lock)

    def charges(self) -> list[Charge]:
        """Return everything that was charged, oldest first.

        Raises:
            IntegrityError: The ledger is damaged.
        """
        if not self.path.exists():
            return []
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
            return [_charge(line) for line in lines if line.strip()]
        except ValueError as error:
            raise IntegrityError(f"ledger {self.path} is damaged: {error}") from None

    def holds(self, *, run: str, cell: str, session: str) -> bool:
        """Return whether a release was charged."""
        return any(c.release == (run, cell, session) for c in self.charges())

    def round_steps(self, *, run: str, cell: str) -> int:
        """Return the steps charged for the rounds of one cell."""
        charged = [c for c in self.charges() if (c.run, c.cell) == (run, cell)]
        return sum(c.steps for c in charged if c.kind == "round")

    def mechanisms(self) -> dict[tuple[float | None, float], int]:
        """Return (noise multiplier, sampling rate) to total steps over everything charged."""
        total: Counter[tuple[Any, float]] = Counter()
        for charge in self.charges():
            total[charge.noise_multiplier, charge.sample_rate] += charge.steps
        return dict(total)


@lru_cache(maxsize=2**16)
def _charge(line: str) -> Charge:
    """Read a line; a long ledger is read at each charge, and its old lines stay the same."""
    return Charge.model_validate(json.loads(line))
