"""Guarantees are held without any tolerance: what got weaker fails, what differs in kind has no
answer.
"""

import math
from collections.abc import Iterator

from audit.formats.baseline import CellFacts, ClaimFacts
from audit.formats.gate import Check, Decision
from audit.gate.cells import Pair

TOLERANCE = 1e-9
"""Relative; floating-point noise of one computation made twice, and no more."""

NOISE_SOURCES = ("fixed key", "operating system")
PROTOCOLS = ("plain", "masked")
"""From weak to strong. A value that is not listed has no place in the order: any change fails."""


def check_guarantees(pair: Pair) -> Iterator[Check]:
    """Compare what two cells guarantee.

    Noise multiplier, sampling rate and steps are not compared: more records may lower the noise at
    the same epsilon. They stand in the reason where the claim changed.
    """
    kind = list(_incomparable(pair))
    yield from kind
    if not kind:
        yield _claim(pair)
        yield from _claims_by_adversary(pair)
        yield _curve(pair)
        yield from _group(pair)
    yield from _protection(pair)


def _incomparable(pair: Pair) -> Iterator[Check]:
    now, before = pair.now, pair.before
    for name, ours, theirs in (
        ("unit", now.privacy.unit, before.privacy.unit),
        ("delta", now.delta, before.delta),
    ):
        if ours != theirs:
            yield _check(
                pair,
                name,
                Decision.INCOMPARABLE,
                f"{name} is {ours}, approved was {theirs}: claims about another {name} are never "
                "compared",
            )


def _claim(pair: Pair) -> Check:
    ours, theirs = pair.now.claimed_epsilon, pair.before.claimed_epsilon
    said = f"claimed epsilon {_shown(ours)} at delta {pair.now.delta:g}, approved {_shown(theirs)}"
    if _weaker(ours, theirs):
        return _check(pair, "claim", Decision.FAIL, f"{said}: weaker. {_explained(pair)}")
    return _check(pair, "claim", Decision.PASS, said)


def _claims_by_adversary(pair: Pair) -> Iterator[Check]:
    ours = {claim.adversary: claim for claim in pair.now.claims}
    for theirs in pair.before.claims:
        mine = ours.get(theirs.adversary)
        decision, reason = (
            (Decision.FAIL, "no claim against this adversary any more")
            if mine is None
            else _claim_against(mine, theirs)
        )
        yield _check(pair, "claim-against", decision, reason, adversary=theirs.adversary.value)


def _claim_against(mine: ClaimFacts, theirs: ClaimFacts) -> tuple[Decision, str]:
    if (mine.unit, mine.delta) != (theirs.unit, theirs.delta):
        return Decision.INCOMPARABLE, (
            f"claim about a {mine.unit} at delta {mine.delta:g}, approved about a {theirs.unit} "
            f"at delta {theirs.delta:g}: never compared"
        )
    said = f"{mine.claimed_epsilon:.9g}, approved {theirs.claimed_epsilon:.9g}"
    if _weaker(mine.claimed_epsilon, theirs.claimed_epsilon):
        return Decision.FAIL, f"{said}: weaker"
    if mine.colluders < theirs.colluders:
        return Decision.FAIL, (
            f"holds against {mine.colluders} colluding hospitals, approved {theirs.colluders}"
        )
    added = [a for a in mine.assumptions if a not in theirs.assumptions]
    if added:
        return Decision.FAIL, f"{said}, but it now also assumes: {'; '.join(added)}"
    return Decision.PASS, said


def _curve(pair: Pair) -> Check:
    ours, theirs = pair.now.privacy.curve, pair.before.privacy.curve
    if theirs is None:
        return _check(pair, "curve", Decision.PASS, "nothing was claimed at any delta")
    if ours is None:
        return _check(pair, "curve", Decision.FAIL, "no epsilon(delta) curve any more: no DP")
    mine = {point.delta: point.epsilon for point in ours}
    missing = [point.delta for point in theirs if point.delta not in mine]
    if missing:
        return _check(
            pair,
            "curve",
            Decision.INCOMPARABLE,
            f"epsilon is not known at delta {', '.join(f'{d:g}' for d in missing)}",
        )
    weaker = [point for point in theirs if _weaker(mine[point.delta], point.epsilon)]
    if weaker:
        most = max(weaker, key=lambda p: mine[p.delta] - p.epsilon)
        return _check(
            pair,
            "curve",
            Decision.FAIL,
            f"epsilon is larger at {len(weaker)} of {len(theirs)} deltas, most at {most.delta:g}: "
            f"{mine[most.delta]:.9g}, approved {most.epsilon:.9g}. {_explained(pair)}",
        )
    return _check(pair, "curve", Decision.PASS, f"no larger at any of {len(theirs)} deltas")


def _group(pair: Pair) -> Iterator[Check]:
    """Hold what a patient with several records keeps: records used twice protect half as well."""
    ours, theirs = pair.now.privacy.group, pair.before.privacy.group
    if theirs is None:
        return
    if ours is None:
        reason = "how many records one patient has is not recorded any more"
        yield _check(pair, "group", Decision.FAIL, reason)
        return
    said = (
        f"up to {ours.records} records of one patient (told by {ours.told_by}), epsilon "
        f"{_shown(ours.epsilon)} for all of them; approved {theirs.records} ({theirs.told_by}), "
        f"{_shown(theirs.epsilon)}"
    )
    if ours.records > theirs.records or _weaker(ours.epsilon, theirs.epsilon):
        yield _check(pair, "group", Decision.FAIL, f"{said}: weaker. {_explained(pair)}")
    elif ours.told_by != theirs.told_by:
        reason = f"{said}: not known to be as strong; approve it anew"
        yield _check(pair, "group", Decision.FAIL, reason)
    else:
        yield _check(pair, "group", Decision.PASS, said)


def _protection(pair: Pair) -> Iterator[Check]:
    now, before = pair.now.privacy, pair.before.privacy
    if before.claimed_epsilon is not None or pair.before.claimed_epsilon is not None:
        yield _same(pair, "accountant", now.accountant, before.accountant)
        yield _same(pair, "recomputed-by", now.recomputed_by, before.recomputed_by)
        yield _same(pair, "adjacency", now.adjacency, before.adjacency)
        yield _ranked(pair, "noise-source", now.noise_source, before.noise_source, NOISE_SOURCES)
    ours, theirs = now.aggregation, before.aggregation
    yield _ranked(pair, "aggregation", ours.protocol, theirs.protocol, PROTOCOLS)
    for name, mine, approved in (
        ("threshold", ours.threshold or 0, theirs.threshold or 0),
        ("colluders", ours.colluders, theirs.colluders),
    ):
        said = f"{name} {mine}, approved {approved}"
        decision = Decision.FAIL if mine < approved else Decision.PASS
        yield _check(pair, name, decision, said + (": weaker" if mine < approved else ""))


def _same(pair: Pair, name: str, ours: str | None, theirs: str | None) -> Check:
    if ours == theirs:
        return _check(pair, name, Decision.PASS, f"{ours}, as approved")
    return _check(
        pair,
        name,
        Decision.FAIL,
        f"{ours}, approved {theirs}: not known to be as strong; approve it anew",
    )


def _ranked(
    pair: Pair, name: str, ours: str | None, theirs: str | None, order: tuple[str, ...]
) -> Check:
    if ours in order and theirs in order and order.index(ours) > order.index(theirs):
        return _check(pair, name, Decision.PASS, f"{ours}, approved {theirs}: stronger")
    return _same(pair, name, ours, theirs)


def _weaker(ours: float | None, theirs: float | None) -> bool:
    """Whether an epsilon is larger than the approved one; None is infinity."""
    mine, approved = (math.inf if e is None else e for e in (ours, theirs))
    return mine > approved * (1 + TOLERANCE)


def _explained(pair: Pair) -> str:
    """What changed in the mechanism, for the reader; it decides nothing."""
    now, before = pair.now.privacy.mechanism or {}, pair.before.privacy.mechanism or {}
    changed = [
        f"{name} {before.get(name)} -> {now.get(name)}"
        for name in sorted({*now, *before})
        if now.get(name) != before.get(name)
    ]
    return "Mechanism: " + (", ".join(changed) if changed else "as approved")


def _shown(epsilon: float | None) -> str:
    return "infinite" if epsilon is None else f"{epsilon:.9g}"


def _check(
    pair: Pair, rule: str, decision: Decision, reason: str, *, adversary: str | None = None
) -> Check:
    return Check(
        rule=rule,
        cell=pair.now.cell,
        baseline_cell=pair.before.cell,
        adversary=adversary,
        decision=decision,
        reason=reason,
    )


def mechanism_note(now: CellFacts, before: CellFacts) -> str | None:
    """Return what changed in a mechanism; None: nothing."""
    said = _explained(Pair(now=now, before=before))
    return None if said.endswith("as approved") else f"{now.cell}: {said}"
