"""The checks of a gate gathered for people: what failed in full, what is undecided by its reason.

Terminal, GitHub and the pytest fixture show these groups; ``gate.json`` and JUnit have every check.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from audit.formats.gate import Check, Decision, GateRecord, Side
from audit.gate.facts import SUMMARIES

ORDER = (Decision.FAIL, Decision.INCOMPARABLE, Decision.INCONCLUSIVE, Decision.PASS)
MOST_REASONS = 2
"""So many reasons of a group are spelled out."""

MOST_NAMES = 4
"""So many attacks or slices of a group are spelled out."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Checks that are told together.

    Args:
        checks: At least one, all with the same rule, decision and level.
        what: Rule, metric and attack.
        where: Cells, adversaries, slices.
        values: The two sides, where all checks tell the same; else empty.
        why: The reason, and what would decide.
    """

    checks: tuple[Check, ...]
    what: str
    where: str
    values: str
    why: str

    @property
    def standing(self) -> str:
        """The decision, how often, and whether it moves the exit code."""
        first = self.checks[0]
        told = first.decision.value
        if len(self.checks) > 1:
            told = f"{len(self.checks)} {told}"
        if first.waived_by is not None:
            return f"{told}, waived by {first.waived_by}"
        return f"{told}, warn only" if first.level == "warn" else told

    @property
    def hard(self) -> bool:
        """Whether it fails the gate, or leaves it without an answer."""
        first = self.checks[0]
        return first.counts and first.decision in {Decision.FAIL, Decision.INCOMPARABLE}


def digest(checks: Iterable[Check]) -> list[Group]:
    """Gather what did not pass, the worst first.

    Failures and what has no answer are joined only where several adversaries say the same.
    Undecided checks (also those that the policy fails) are joined over cells, adversaries, attacks
    and slices where metric and threshold are the same and so is what would decide; the largest n
    or number of seeds of them is told.
    """
    groups: dict[Hashable, list[Check]] = {}
    for check in sorted(checks, key=lambda c: (not c.counts, ORDER.index(c.decision))):
        if check.decision is Decision.PASS:
            continue
        undecided = check.decision is Decision.INCONCLUSIVE or _failed_undecided(check)
        key = _undecided(check) if undecided else _alike(check)
        groups.setdefault((check.decision, check.level, check.waived_by, key), []).append(check)
    return [_group(found) for found in groups.values()]


def singly(checks: Iterable[Check]) -> list[Group]:
    """Return every check by itself, the worst first."""
    return [_group([check]) for check in sorted(checks, key=lambda c: ORDER.index(c.decision))]


def passed(checks: Iterable[Check]) -> str:
    """Return how many checks passed, by rule; empty: none did."""
    counts: dict[str, int] = {}
    for check in checks:
        if check.decision is Decision.PASS:
            counts[check.rule] = counts.get(check.rule, 0) + 1
    told = ", ".join(f"{rule} {number}" for rule, number in counts.items())
    return f"{sum(counts.values())} passed: {told}" if counts else ""


def headline(record: GateRecord) -> str:
    """Return the outcome in a line."""
    counts = {
        decision: sum(c.decision is decision and c.counts for c in record.checks)
        for decision in Decision
    }
    told = [f"{n} {decision.value}" for decision, n in counts.items() if n]
    aside = [c for c in record.checks if c.decision is not Decision.PASS and not c.counts]
    waived = sum(c.waived_by is not None for c in aside)
    told += [f"{waived} waived"] if waived else []
    told += [f"{len(aside) - waived} warn only"] if len(aside) > waived else []
    return f"{record.decision.value} ({', '.join(told) or 'nothing checked'})"


def _alike(check: Check) -> Hashable:
    where = (check.cell, check.baseline_cell, check.attack, check.slice)
    return (check.rule, check.metric, *where, check.reason)


def _undecided(check: Check) -> Hashable:
    summary = check.attack if check.attack in SUMMARIES else None
    decides = _by_interval(check) or check.advice
    return (check.rule, check.metric, summary, check.threshold, decides)


def _by_interval(check: Check) -> bool:
    """Whether it is undecided because the interval reaches past what is allowed."""
    if check.rise is None or check.rise.high is None or check.threshold is None:
        return False
    return check.rise.high > (check.threshold if check.rule == "margin" else 0.0)


def _failed_undecided(check: Check) -> bool:
    """Whether the policy fails it although its interval decides nothing."""
    return check.decision is Decision.FAIL and _by_interval(check) and check.advice is not None


def _group(checks: Sequence[Check]) -> Group:
    first = checks[0]
    same = all(check.reason == first.reason for check in checks)
    values = {_values(check) for check in checks}
    parts = (first.reason, *_largest(checks)) if same else _reason_of_many(checks)
    return Group(
        checks=tuple(checks),
        what=_what(checks),
        where=_where(checks),
        values=values.pop() if len(values) == 1 else "",
        why="; ".join(part for part in parts if part),
    )


def _what(checks: Sequence[Check]) -> str:
    attacks = _names(_distinct(checks, lambda c: c.attack), "attacks")
    about = " of ".join(part for part in (checks[0].metric, attacks) if part)
    return f"{checks[0].rule}: {about}" if about else checks[0].rule


def _where(checks: Sequence[Check]) -> str:
    cells = _distinct(checks, lambda c: c.cell or c.baseline_cell)
    adversaries = _distinct(checks, lambda c: c.adversary)
    slices = [s for s in _distinct(checks, lambda c: c.slice) if s != "all"]
    parts = [
        ", ".join(cells) or "run",
        f"by {', '.join(adversaries)}" if adversaries else "",
        _names(slices, "slices"),
    ]
    return "; ".join(part for part in parts if part)


def _names(names: Sequence[str], kind: str) -> str:
    return ", ".join(names) if len(names) <= MOST_NAMES else f"{len(names)} {kind}"


def _distinct(checks: Sequence[Check], name: Callable[[Check], str | None]) -> list[str]:
    return list(dict.fromkeys(found for c in checks if (found := name(c)) is not None))


def _values(check: Check) -> str:
    sides = (("run", check.run), ("approved", check.baseline))
    return "; ".join(told for name, side in sides if (told := _side(name, side)))


def _side(name: str, side: Side | None) -> str:
    if side is None or side.value is None:
        return ""
    told = f"{name} {side.value:.3f}"
    if side.low is not None and side.high is not None:
        told += f" [{side.low:.3f}, {side.high:.3f}]"
    if side.seeds > 1:
        told += f", {side.seeds} seeds"
    return told + (f", n {side.n:,}" if side.n is not None else "")


def _reason_of_many(checks: Sequence[Check]) -> Iterator[str]:
    if all(_by_interval(check) for check in checks):
        kind, threshold = checks[0].rule, checks[0].threshold
        rises = [check.rise for check in checks if check.rise is not None]
        value = max(rise.value for rise in rises if rise.value is not None)
        high = max(rise.high for rise in rises if rise.high is not None)
        over = "baseline" if kind == "margin" else "limit"
        yield f"at most {value:+.3g} over the {over}, upper bound {high:+.3g}, {kind} {threshold:g}"
        if checks[0].decision is Decision.FAIL:
            yield "undecided, which the policy fails"
    else:
        reasons = _distinct(checks, lambda c: c.reason)
        yield "; ".join(reasons[:MOST_REASONS])
        if len(reasons) > MOST_REASONS:
            yield f"and {len(reasons) - MOST_REASONS} more (--all)"
    yield from _largest(checks)


def _largest(checks: Sequence[Check]) -> Iterator[str]:
    """The most that any of them needs, and advice that names no number."""
    sized = [c for c in checks if c.needed_n is not None]
    if sized:
        most = max(sized, key=lambda c: c.needed_n or 0)
        now = most.run.n if most.run is not None else None
        yield (
            f"n of about {most.needed_n:,} a side would decide {_of(sized, checks)}"
            + (f" (now {now:,})" if now is not None else "")
        )
    seeded = [c for c in checks if c.needed_seeds is not None]
    if seeded:
        seeds = max(c.needed_seeds or 0 for c in seeded)
        yield f"about {seeds:,} seeds a side would decide {_of(seeded, checks)}"
    rest = [c for c in checks if c.needed_n is None and c.needed_seeds is None and c.advice]
    for advice in _distinct(rest, lambda c: c.advice):
        number = sum(c.advice == advice for c in rest)
        yield advice if number == len(checks) else f"{number} of them: {advice}"


def _of(some: Sequence[Check], checks: Sequence[Check]) -> str:
    return "all" if len(some) == len(checks) else f"{len(some)} of them"
