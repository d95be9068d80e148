"""What a check found wrong: which file, and why."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that does not hold.

    Args:
        file: Name of the file, relative to what was checked, with forward slashes.
        reason: What is wrong with it, in words for the reader.
    """

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"
