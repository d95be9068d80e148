"""What a search will compute, declared before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from audit.core.views import Background


@dataclass(frozen=True, kw_only=True)
class ProbeSize:
    """What is known of an observation beforehand.

    Args:
        records: Of each hospital.
        hospitals: Whose records it mixes.
        steps: Of each hospital.
        batch: Records of a step; None: all.
    """

    records: int
    hospitals: int
    steps: int
    batch: int | None

    @property
    def in_all(self) -> int:
        """Records over all hospitals."""
        return self.records * self.hospitals

    @property
    def uses(self) -> int:
        """Gradients of single records behind it."""
        return self.hospitals * self.steps * (self.batch or self.records)


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of searches.

    Args:
        searches: Starts, those on random gradients among them.
        iterations: Over all searches.
        passes: Gradients of a dummy record that are differentiated again, over all iterations; one
            in double precision counts twice.
        calls: Times that gradients are asked for, one after the other: searches that run together
            ask once, local steps each for themselves.
        plain: Gradients of a dummy record that are not differentiated again, over all searches.
    """

    searches: int
    iterations: int
    passes: int
    calls: int
    plain: int = 0

    @classmethod
    def of(cls, *, searches: int, iterations: int, uses: int, calls: int, tries: int = 0) -> "Work":
        """Return the work of like searches.

        Args:
            searches: How many.
            iterations: Of each.
            uses: Gradients of single records in an iteration.
            calls: As of all of them.
            tries: Times in each search that a set's gradient is taken only to compare.
        """
        total = searches * iterations
        return cls(
            searches=searches,
            iterations=total,
            passes=total * uses,
            calls=calls,
            plain=searches * tries * uses,
        )

    def __add__(self, other: "Work") -> "Work":
        return Work(
            searches=self.searches + other.searches,
            iterations=self.iterations + other.iterations,
            passes=self.passes + other.passes,
            calls=self.calls + other.calls,
            plain=self.plain + other.plain,
        )


NOTHING = Work(searches=0, iterations=0, passes=0, calls=0)


@runtime_checkable
class Searching(Protocol):
    """An attack that searches, and says beforehand how much."""

    def work(self, background: Background, sizes: Sequence[ProbeSize]) -> Work:
        """Return the most that ``guess`` will compute on observations of these sizes."""
        ...
