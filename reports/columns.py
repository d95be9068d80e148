"""Which leakage values stand in the main table and plots, and what they are called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audit.core.adversaries import Adversary

Row = Mapping[str, Any]

SHOWN = ("auc", "attribute_advantage")
"""Metrics of the main table."""

PLOTTED = (
    "auc",
    "identification_rate_100",
    "identification_rate_10",
    "ssim_over_baseline",
    "attribute_advantage",
)
OF_PROBES = ("identification_rate_100", "identification_rate_10", "ssim_over_baseline")
TITLES = {
    "auc": "AUC",
    "identification_rate_100": "named of 100",
    "identification_rate_10": "named of 10",
    "ssim_over_baseline": "SSIM above baseline",
    "attribute_advantage": "attribute advantage",
}
STRONGEST = "strongest"


@dataclass(frozen=True, order=True)
class Series:
    """One kind of leakage over all cells.

    Args:
        metric, adversary, attack, slice: As in a score.
    """

    metric: str
    adversary: str
    attack: str
    slice: str

    @property
    def title(self) -> str:
        """A heading for people."""
        where = "" if self.slice == "all" else f", {_spoken(self.slice)}"
        if self.attack == STRONGEST:
            kind = "inversion" if self.metric in OF_PROBES else "membership"
            return f"{kind}, {self.adversary}{where}: {TITLES.get(self.metric, self.metric)}"
        return f"{self.attack}, {self.adversary}{where}: {TITLES.get(self.metric, self.metric)}"

    def find(self, row: Row) -> Mapping[str, Any] | None:
        """Return the score in a row, or None."""
        for score in row["leakage"]:
            if Series.of(score) == self:
                found: Mapping[str, Any] = score
                return found
        return None

    @classmethod
    def of(cls, score: Mapping[str, Any]) -> "Series":
        """Return the series that a score belongs to."""
        return cls(score["metric"], score["adversary"], score["attack"], score["slice"])


def main_series(rows: Sequence[Row], metrics: Sequence[str] = SHOWN) -> list[Series]:
    """Return the series worth a column, or a curve.

    Of membership and of inversion the strongest attack of each adversary, of inversion at the
    smallest probes. Among 10 candidates a record is looked for only where a class has no 100.

    Args:
        rows: Of a table.
        metrics: Of which there may be series.
    """
    found = {
        Series.of(score)
        for row in rows
        for score in row["leakage"]
        if score["metric"] in metrics and score["value"] is not None
    }
    found = {s for s in found if s.metric != "auc" or (s.attack, s.slice) == (STRONGEST, "all")}
    found = {s for s in found if s.metric not in OF_PROBES or s.attack == STRONGEST}
    if any(series.metric == "identification_rate_100" for series in found):
        found = {series for series in found if series.metric != "identification_rate_10"}
    if any(s.metric == "auc" and s.adversary == "recipient" for s in found):
        found = {s for s in found if s.metric != "auc" or s.adversary != "query"}
    smallest: dict[tuple[str, str, str], Series] = {}
    for series in sorted(found, key=lambda s: (slice_rank(s.slice), s)):
        smallest.setdefault((series.metric, series.adversary, series.attack), series)
    return sorted(
        smallest.values(),
        key=lambda s: (metrics.index(s.metric), s.attack, adversary_rank(s.adversary)),
    )


def audits_of(row: Row) -> list[Mapping[str, Any]]:
    """Return the audits of a cell's claim; none in a table that was written before there were any.

    Those of a probe's claim are about another release: ``probe_audits_of`` has them.
    """
    return [audit for audit in row.get("audits", []) if audit.get("about", "recipe") == "recipe"]


def probe_audits_of(row: Row) -> list[Mapping[str, Any]]:
    """Return the audits of the claims of a cell's probes."""
    return [audit for audit in row.get("audits", []) if audit.get("about") == "probe"]


def cell_title(row: Row) -> str:
    """What a cell is called for people."""
    return "no DP" if row["target_epsilon"] is None else f"epsilon {row['target_epsilon']:g}"


def adversary_rank(adversary: str) -> int:
    """Place of an adversary in the order in which all are listed."""
    return list(Adversary).index(Adversary(adversary))


def slice_rank(name: str) -> tuple[int, ...]:
    """``round-1/batch-4`` is (4, 1): by batch first; members come before others."""
    if "/" not in name:
        return (0, int(name == "nonmembers"))
    tails = [part.rpartition("-")[2] for part in reversed(name.split("/"))]
    return tuple(int(tail) for tail in tails if tail.isdigit())


def _spoken(name: str) -> str:
    return name.replace("/", " ").replace("-", " ")
