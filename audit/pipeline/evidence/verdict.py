"""What the evidence amounts to, in sentences that rest on intervals only."""

from collections import Counter
from collections.abc import Iterator, Sequence

from audit.core.audits import Verdict
from audit.core.metrics import METRICS
from audit.core.scores import Outcome, Score
from audit.formats.evidence import Cell, Coverage, State, Statement, VerdictFacts
from audit.scoring import STRONGEST, above_bounds

LEAKS = {
    "auc": "members are told from others: AUC",
    "attribute_advantage": "a hidden attribute is guessed better than by imputation, by",
    "identification_rate_100": "a probe's record is named among 100 candidates: rate",
    "identification_rate_10": "a probe's record is named among 10 candidates: rate",
    "ssim_over_baseline": "a probe's record is rebuilt beyond the best prior guess: SSIM above it",
}
"""Metrics that say that something leaked, where their interval lies above chance."""

LEVEL = 0.05
"""Of false alarms about groups, shared by all models of a run."""


def verdict(
    cells: Sequence[Cell], covered: Sequence[Coverage], *, reproduction: bool
) -> VerdictFacts:
    """Return the verdict of a run.

    Args:
        cells: All that were released.
        covered: The coverage matrix.
        reproduction: Whether every guarantee is void.
    """
    alarms = list(_alarms(cells))
    private = [cell for cell in cells if cell.target_epsilon is not None]
    leaks = [*_leaks(private or cells), *_groups(private or cells, len(cells))]
    expected = list(_leaks([c for c in cells if c.target_epsilon is None])) if private else []
    gaps = list(_gaps(private, covered))
    chance = Statement(
        kind="note",
        text="Intervals hold for each model, adversary and measure by itself: of every forty, one "
        "lies above guessing by luck.",
    )
    notes = [chance] * bool(leaks) + [
        Statement(
            kind="note",
            text="The noise came from a fixed key: this is a reproduction, and every claim in it "
            "is void as a guarantee.",
        )
    ] * reproduction
    fine = [
        Statement(
            kind="fine",
            text=f"{_spoken(cell)}: no audit contradicts the claim of epsilon "
            f"{cell.claimed_epsilon:.4g} at delta {cell.delta:g}.",
        )
        for cell in private
        if cell.verdict == Verdict.CONSISTENT
    ]
    statements = [
        *alarms,
        *leaks,
        *gaps,
        *notes,
        *fine,
        *(Statement(kind="note", text=leak.text) for leak in expected),
    ]
    state, headline = _headline(bool(alarms), bool(leaks), bool(gaps), bool(private))
    void = (
        " The claims of this run are void: the noise can be reproduced."
        if reproduction and private
        else ""
    )
    return VerdictFacts(state=state, headline=headline + void, statements=statements)


def _headline(alarms: bool, leaks: bool, gaps: bool, private: bool) -> tuple[State, str]:
    if alarms:
        return (
            "claim_violated",
            "A privacy claim of this run is contradicted by its audit. Do not release.",
        )
    if leaks:
        return (
            "leakage_found",
            "No claim is contradicted, but attacks on models with a privacy claim did better than "
            "chance."
            if private
            else "Nothing is claimed here, and attacks did better than chance.",
        )
    if gaps:
        return (
            "incomplete",
            "No claim is contradicted and no attack did better than chance, but part of the audit "
            "is missing or could not have seen a violation.",
        )
    return (
        "no_contradiction",
        "No claim is contradicted and no attack on a model with a claim did better than chance. "
        "That these attacks failed does not prove privacy.",
    )


def _spoken(cell: Cell) -> str:
    if cell.target_epsilon is None:
        return "Without DP"
    return f"Target epsilon {cell.target_epsilon:g}"


def _alarms(cells: Sequence[Cell]) -> Iterator[Statement]:
    for cell in cells:
        for audit in cell.audits:
            if audit.verdict is Verdict.VIOLATED:
                what = "a probe" if audit.about == "probe" else "the recipe"
                yield Statement(
                    kind="alarm",
                    text=f"{_spoken(cell)}: {audit.attack} of {audit.adversary} contradicts the "
                    f"claim of {what}: epsilon is at least {audit.lower_bound:.3g}, claimed "
                    f"{audit.claimed_epsilon:.3g}.",
                )
    spoken = {cell.cell: _spoken(cell) for cell in cells}
    for score in above_bounds([score for cell in cells for score in cell.leakage]):
        yield Statement(
            kind="alarm",
            text=f"{spoken[score.cell]}: {score.attack} of {score.adversary} reaches "
            f"{score.metric} of at least {score.low:.3g} ({score.slice}); the claimed mechanism "
            f"allows {score.bound:.3g}.",
        )


def _leaks(cells: Sequence[Cell]) -> Iterator[Statement]:
    """Yield a sentence for each model, measure and probe, with all adversaries that got so far."""
    for cell in cells:
        found: dict[tuple[str, str], list[Score]] = {}
        for score in cell.leakage:
            if score.attack == STRONGEST and score.metric in LEAKS and _above(score):
                found.setdefault((score.metric, score.slice), []).append(score)
        for (metric, part), scores in found.items():
            most = max(scores, key=lambda score: score.low or 0.0)
            where = "" if part == "all" else f" ({part.replace('/', ', ')})"
            yield Statement(
                kind="leak",
                text=f"{_spoken(cell)}{where}: {LEAKS[metric]} {most.value:.3g} "
                f"[{most.low:.3g}, {most.high:.3g}] ({most.by}, n = {most.n}), by "
                f"{', '.join(sorted({score.adversary for score in scores}))}.",
            )


def _groups(cells: Sequence[Cell], models: int) -> Iterator[Statement]:
    """Yield a sentence for each group that is told apart, though all together may not be."""
    for cell in cells:
        for column in sorted({group.column for group in cell.leakage_by_group}):
            seen = [
                group
                for group in cell.leakage_by_group
                if group.column == column and group.adjusted_p_value < LEVEL / models
            ]
            if seen:
                most = min(seen, key=lambda group: (group.adjusted_p_value, -(group.value or 0)))
                names = sorted({group.group for group in seen})
                yield Statement(
                    kind="leak",
                    text=f"{_spoken(cell)}: members are told from others within {column} "
                    f"“{'”, “'.join(names)}”: AUC {most.value:.3g} [{most.low:.3g}, "
                    f"{most.high:.3g}]{f' in “{most.group}”' if names[1:] else ''} ({most.attack} "
                    f"of {most.adversary}, {most.members} members and {most.nonmembers} others, "
                    f"p {most.adjusted_p_value:.2g} after Holm).",
                )


def _above(score: Score) -> bool:
    """Whether the whole interval lies above guessing, and above the best guess that was made.

    A baseline that happened to name nobody among nine records is still allowed to guess.
    """
    chance = max(c for c in (score.chance, METRICS[score.metric].chance, 0.0) if c is not None)
    return score.low is not None and score.low > chance


def _gaps(private: Sequence[Cell], covered: Sequence[Coverage]) -> Iterator[Statement]:
    for cell in private:
        if cell.verdict is None:
            yield Statement(kind="gap", text=f"{_spoken(cell)}: its claim was not audited.")
        elif cell.verdict == Verdict.UNDERPOWERED:
            yield Statement(
                kind="gap",
                text=f"{_spoken(cell)}: the audit could not have seen a violation of its claim.",
            )
    counted = Counter(line.outcome for line in covered)
    for outcome, said in (
        (Outcome.FAILED.value, "attacks raised an error"),
        ("missing", "attacks were never tried"),
    ):
        if counted[outcome]:
            yield Statement(
                kind="gap", text=f"{counted[outcome]} of {len(covered)} {said}: see the coverage."
            )
    broken = {(line.adversary, line.attack) for line in covered if line.control is False}
    if broken:
        names = ", ".join(sorted(f"{attack} ({adversary})" for adversary, attack in broken))
        yield Statement(
            kind="gap",
            text=f"These attacks missed their positive control, so their silence says nothing: "
            f"{names}.",
        )
