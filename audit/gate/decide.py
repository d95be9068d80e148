"""The whole decision: a run's facts against a baseline under a policy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from audit.formats.baseline import Baseline, RunFacts
from audit.formats.gate import EXIT_CODES, Check, Decision, GateRecord, worst
from audit.formats.policy import Policy
from audit.gate.answer import answer
from audit.gate.bounds import check_audits, check_bounds
from audit.gate.cells import Pair, pair_cells
from audit.gate.coverage import check_coverage
from audit.gate.facts import Facts
from audit.gate.guarantees import check_guarantees, mechanism_note
from audit.gate.idle import idle_rules
from audit.gate.leakage import Question, ask
from audit.gate.strength import Strength

WAIVABLE = {"limit", "margin"}
"""Kinds of checks that a waiver can keep out of the exit code."""


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Which files a gate was made with, for its record.

    Args:
        baseline, policy: SHA-256 of each file.
        signature: What is known of the baseline's signature.
    """

    baseline: str
    policy: str
    signature: str


def decide_gate(
    facts: Facts, baseline: Baseline, policy: Policy, *, documents: Documents, today: date
) -> GateRecord:
    """Gate a run.

    Args:
        facts: Of the run.
        baseline: Whose expiry and signature were checked before.
        policy: What to look at, and how much may change.
        documents: For the record.
        today: Waivers that expired before are ignored, and named.

    Returns:
        Every check, and the exit code of the worst that counts.
    """
    checks, notes = check_all(facts, baseline, policy)
    checks, waived = _waive(checks, policy, today)
    decision = worst(checks)
    return GateRecord(
        schema="audit-gate/v1",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        runs=tuple(run.run_id for run in facts.runs),
        baseline=documents.baseline,
        approved_by=baseline.approved.by,
        approved_at=baseline.approved.at,
        signature=documents.signature,
        policy=documents.policy,
        alpha=policy.alpha,
        decision=decision,
        exit_code=EXIT_CODES[decision],
        checks=checks,
        notes=(*notes, *waived),
    )


def check_all(
    facts: Facts, baseline: Baseline, policy: Policy
) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """Return every check before waivers, and notes."""
    pairing = pair_cells(facts.cells, baseline.cells)
    strength = Strength(facts.controls)
    same = {r.records for r in facts.runs} == {r.records for r in baseline.runs}
    checks = [*pairing.alone]
    questions: list[Question] = []
    for pair in pairing.pairs:
        checks += check_guarantees(pair)
        checks += check_coverage(pair)
        checks += check_audits(pair, policy, strength)
        questions += ask(pair, policy, strength, same_records=same)
    for cell in facts.cells:
        checks += check_bounds(cell)
    checks += answer(questions)
    absent, idle = idle_rules([*facts.cells, *baseline.cells], policy)
    checks += absent
    notes = (*pairing.notes, *idle, *_explanations(facts, baseline, pairing.pairs))
    return tuple(checks), notes


def _explanations(facts: Facts, baseline: Baseline, pairs: Sequence[Pair]) -> Iterator[str]:
    ours, theirs = facts.runs, baseline.runs
    if {r.dataset for r in ours} != {r.dataset for r in theirs}:
        yield "the dataset is another one than was approved"
    elif {r.records for r in ours} != {r.records for r in theirs}:
        yield "split, partition, candidates or probes are configured otherwise than approved"
    if {tuple(sorted(r.models.items())) for r in ours} != {
        tuple(sorted(r.models.items())) for r in theirs
    }:
        yield "a model is another one than was approved"
    if {r.attack_code for r in ours} != {r.attack_code for r in theirs}:
        yield "the attack code changed since: a change of a value may be the attack's"
    versions = _versions(ours[0], theirs[0])
    if versions:
        yield f"versions changed: {', '.join(versions)}"
    for pair in pairs:
        note = mechanism_note(pair.now, pair.before)
        if note is not None:
            yield note
    missed = [f"{c.attack} by {c.adversary.value}" for c in facts.controls if c.detected is False]
    if not facts.controls:
        yield "the run has no positive controls: `audit attack` makes them"
    elif missed:
        yield f"not detected in the run's positive controls: {', '.join(missed)}"
    for side, runs in (("run", ours), ("baseline", theirs)):
        if any(run.reproduction for run in runs):
            yield f"the {side} is a reproduction with a fixed noise key: its claim is void"
    if len(ours) == len(theirs) == 1:
        yield (
            "one seed on each side: the intervals cover which records were drawn, and not how "
            "far a retrained model may differ; approve several seeds for that"
        )


def _versions(ours: RunFacts, theirs: RunFacts) -> list[str]:
    mine = {**ours.packages, "python": ours.python}
    approved = {**theirs.packages, "python": theirs.python}
    return [
        f"{name} {approved.get(name)} -> {mine.get(name)}"
        for name in sorted({*mine, *approved})
        if mine.get(name) != approved.get(name)
    ]


def _waive(
    checks: Sequence[Check], policy: Policy, today: date
) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    notes = [
        f"waiver of {w.owner} on {w.name} expired on {w.expires}: ignored"
        for w in policy.waivers
        if w.expires < today
    ]
    valid = [w for w in policy.waivers if w.expires >= today]
    kept = []
    used = set()
    for check in checks:
        waiver = next(
            (
                w
                for w in valid
                if check.rule in WAIVABLE
                and check.decision is not Decision.PASS
                and w.covers(check.cell or "")
                and w.matches(
                    adversary=check.adversary or "",
                    attack=check.attack or "",
                    metric=check.metric or "",
                    slice=check.slice or "",
                )
            ),
            None,
        )
        if waiver is not None:
            used.add(waiver)
            check = check.model_copy(update={"waived_by": waiver.owner})  # noqa: PLW2901
        kept.append(check)
    notes += [
        f"waiver of {w.owner} on {w.name} until {w.expires}: {w.reason}" for w in valid if w in used
    ]
    notes += [f"waiver of {w.owner} on {w.name} waives nothing" for w in valid if w not in used]
    return tuple(kept), tuple(notes)
