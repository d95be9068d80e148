"""Leakage by class, site, hospital and subgroup: the average hides who is exposed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from audit import stats
from audit.core.scores import GroupScore, Outcome, Score
from audit.scoring.membership import Judged, judge
from audit.scoring.origin import CONFIDENCE, Origin, interval_fields
from audit.scoring.strongest import Guesses
from audit.vault import MembershipTruth

SMALLEST = 10
"""Members, and non-members, below which a group is not shown."""

NO_GROUPS = ("patient",)
"""Columns that name units, not groups."""


@dataclass(frozen=True, kw_only=True)
class GroupScores:
    """Leakage of the groups of one cell.

    Args:
        groups: Every group that is large enough, for every guess.
        worst: For each guess and column the largest AUC over its groups.
    """

    groups: list[GroupScore]
    worst: list[Score]


@dataclass(frozen=True)
class _Group:
    origin: Origin
    column: str
    name: str
    judged: Judged


def score_groups(guesses: Guesses, truth: MembershipTruth, cell: str) -> GroupScores:
    """Score every guess on every group apart.

    A group's p-value is one-sided, against an AUC of one half; Holm's adjustment is over all
    groups, columns, attacks and adversaries of the cell. A hospital's members are held against all
    non-members; any other group's against its own non-members.

    Args:
        guesses: All membership guesses on the cell.
        truth: Members, hospitals and groups.
        cell: The cell's id.
    """
    found: list[_Group] = []
    small: dict[tuple[Origin, str], int] = {}
    for (adversary, attack), guess in guesses.items():
        origin = Origin(cell=cell, adversary=adversary.value, attack=attack)
        judged = judge(guess, truth)
        for column in ("hospital", *truth.groups):
            if column in NO_GROUPS:
                continue
            for name, part in _parts(judged, column, truth).items():
                if min(len(part.inside), len(part.outside)) < SMALLEST:
                    small[origin, column] = small.get((origin, column), 0) + 1
                else:
                    found.append(_Group(origin, column, name, part))
    p_values = {
        str(i): stats.auc_p_value(group.judged.inside, group.judged.outside)
        for i, group in enumerate(found)
    }
    adjusted = stats.holm(p_values)
    groups = [
        GroupScore(
            **_score(group).model_dump(),
            column=group.column,
            group=group.name,
            members=len(group.judged.inside),
            nonmembers=len(group.judged.outside),
            p_value=p_values[str(i)],
            adjusted_p_value=adjusted[str(i)],
        )
        for i, group in enumerate(found)
    ]
    return GroupScores(groups=groups, worst=_worst(found, small, groups))


def _parts(judged: Judged, column: str, truth: MembershipTruth) -> dict[str, Judged]:
    """Split a guess by a column."""
    if column == "hospital":
        owner = np.array([truth.hospital[name] or "" for name in judged.ids])
        masks = {str(n): (owner == n) | ~judged.member for n in np.unique(owner[owner != ""])}
    else:
        named: Mapping[str, str] = truth.groups[column]
        values = np.array([named[name] for name in judged.ids])
        masks = {str(name): values == name for name in np.unique(values)}
    return {
        name: Judged(
            ids=tuple(np.array(judged.ids)[mask].tolist()),
            scores=judged.scores[mask],
            member=judged.member[mask],
        )
        for name, mask in masks.items()
    }


def _score(group: _Group) -> Score:
    area = stats.auc_interval(group.judged.inside, group.judged.outside, CONFIDENCE)
    return group.origin.score(
        "auc",
        slice=f"{group.column}={group.name}",
        chance=0.5,
        ceiling=1.0,
        **interval_fields(area),
    )


def _worst(
    found: list[_Group], small: Mapping[tuple[Origin, str], int], groups: list[GroupScore]
) -> list[Score]:
    """Return the largest AUC of each guess and column, its interval joint over the groups."""
    together: dict[tuple[Origin, str], list[tuple[_Group, GroupScore]]] = {}
    for group, score in zip(found, groups, strict=True):
        together.setdefault((group.origin, group.column), []).append((group, score))
    worst = []
    for (origin, column), members in together.items():
        confidence = 1 - (1 - CONFIDENCE) / len(members)
        intervals = [
            stats.auc_interval(g.judged.inside, g.judged.outside, confidence) for g, _ in members
        ]
        top = max(range(len(members)), key=lambda i: intervals[i].value)
        group, score = members[top]
        named = group.name if column == "hospital" else f"{column} {group.name}"
        said = f"{named}, adjusted p {score.adjusted_p_value:.2g}"
        hidden = small.get((origin, column), 0)
        if hidden:
            said += f"; {hidden} groups below {SMALLEST} members or non-members suppressed"
        worst.append(
            origin.score(
                "auc",
                slice=f"worst-{column}",
                chance=0.5,
                ceiling=1.0,
                value=intervals[top].value,
                low=min(intervals[top].value, max(i.low for i in intervals)),
                high=max(i.high for i in intervals),
                confidence=CONFIDENCE,
                n=intervals[top].n,
                method=f"largest of {len(members)}, bonferroni over {intervals[top].method}",
                reason=said,
            )
        )
    for (origin, column), hidden in small.items():
        if (origin, column) not in together:
            reason = f"{hidden} groups below {SMALLEST} members or non-members suppressed"
            worst.append(
                origin.score(
                    "auc",
                    slice=f"worst-{column}",
                    outcome=Outcome.NOT_RESOLVABLE,
                    reason=reason,
                    chance=0.5,
                )
            )
    return worst
