"""Scores of membership guesses: of records, of patients, of hospitals."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit import stats
from audit.core.guesses import MembershipGuess
from audit.core.scores import Outcome, Score
from audit.scoring.origin import CONFIDENCE, Origin, interval_fields
from audit.vault import MembershipTruth

FALSE_POSITIVE_RATES = ("0.1", "0.01", "0.001")
MEMBERSHIP_METRICS = ("auc", *(f"tpr_at_fpr_{rate}" for rate in FALSE_POSITIVE_RATES), "advantage")
FEW_VALUES = 2
"""A guess with no more distinct scores answers yes or no."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A guess beside the truth.

    Args:
        ids: Pseudonyms, shape (candidates,).
        scores: Higher means more likely a member, same shape.
        member: The truth, same shape.
    """

    ids: tuple[str, ...]
    scores: NDArray[np.float64]
    member: NDArray[np.bool_]

    @property
    def inside(self) -> NDArray[np.float64]:
        """Scores of members."""
        return self.scores[self.member]

    @property
    def outside(self) -> NDArray[np.float64]:
        """Scores of non-members."""
        return self.scores[~self.member]


def judge(guess: MembershipGuess, truth: MembershipTruth) -> Judged:
    """Put a guess beside the truth.

    Raises:
        ValueError: A candidate is unknown or named twice, or a score is NaN.
    """
    unknown = [name for name in guess.candidates if name not in truth.member]
    if unknown or len(set(guess.candidates)) != len(guess.candidates):
        raise ValueError(f"the guess names unknown candidates, or one twice: {unknown[:3]}")
    if len(guess.scores) != len(guess.candidates) or np.isnan(guess.scores).any():
        raise ValueError(
            f"{len(guess.scores)} scores for {len(guess.candidates)} candidates: expected one "
            "number for each, and no NaN"
        )
    member = np.array([truth.member[name] for name in guess.candidates], dtype=np.bool_)
    return Judged(ids=guess.candidates, scores=guess.scores, member=member)


def score_membership(guess: MembershipGuess, truth: MembershipTruth, origin: Origin) -> list[Score]:
    """Score a membership guess against the truth.

    AUC; TPR at fixed FPRs where n resolves them; the advantage at a threshold that was chosen on
    one half of the candidates and is scored on the other; the AUC over whole patients and whole
    hospitals; and how many members' hospitals were named.

    Args:
        guess: Scores by pseudonym, of all candidates or of those that the budget allowed.
        truth: Members, hospitals and groups.
        origin: Where the guess came from.

    Raises:
        ValueError: As ``judge``; or one class is empty.
    """
    judged = judge(guess, truth)
    note = guess.note
    area = stats.auc_interval(judged.inside, judged.outside, CONFIDENCE)
    scores = [origin.score("auc", chance=0.5, ceiling=1.0, reason=note, **interval_fields(area))]
    scores += [_rate(judged, rate, origin, note) for rate in FALSE_POSITIVE_RATES]
    scores.append(_advantage(judged, origin, note))
    if "patient" in truth.groups:
        scores.append(_of_patients(judged, truth.groups["patient"], origin))
    scores.append(_of_hospitals(judged, truth.hospital, origin))
    if guess.hospitals is not None:
        scores.append(_attribution(guess, truth, origin))
    return scores


def _rate(judged: Judged, rate: str, origin: Origin, note: str | None) -> Score:
    metric, fpr = f"tpr_at_fpr_{rate}", float(rate)
    reason = None
    if len(np.unique(judged.scores)) <= FEW_VALUES:
        reason = "this attack answers only yes or no"
    elif not stats.resolvable(fpr, len(judged.outside)):
        reason = f"{len(judged.outside)} non-members do not resolve an FPR of {rate}"
    if reason is not None:
        return origin.score(
            metric, outcome=Outcome.NOT_RESOLVABLE, reason=reason, chance=fpr, ceiling=1.0
        )
    found = stats.tpr_at_fpr_interval(judged.inside, judged.outside, fpr, CONFIDENCE)
    return origin.score(metric, chance=fpr, ceiling=1.0, reason=note, **interval_fields(found))


def _advantage(judged: Judged, origin: Origin, note: str | None) -> Score:
    """Choose the threshold on every other candidate; they are in random order."""
    choose = np.arange(len(judged.ids)) % 2 == 0
    halves = [(judged.scores[h], judged.member[h]) for h in (choose, ~choose)]
    if any(m.all() or not m.any() for _, m in halves):
        reason = "one half of the candidates has no members, or no others"
        return origin.score(
            "advantage", outcome=Outcome.NOT_RESOLVABLE, reason=reason, chance=0.0, ceiling=1.0
        )
    (seen, of_seen), (scored, of_scored) = halves
    threshold = _best_threshold(seen, of_seen)
    called = scored >= threshold
    interval = stats.advantage_interval(
        int((called & of_scored).sum()),
        int(of_scored.sum()),
        int((called & ~of_scored).sum()),
        int((~of_scored).sum()),
        CONFIDENCE,
    )
    return origin.score(
        "advantage", chance=0.0, ceiling=1.0, reason=note, **interval_fields(interval)
    )


def _best_threshold(scores: NDArray[np.float64], member: NDArray[np.bool_]) -> float:
    """Return the threshold with the largest true minus false positive rate; the highest of many."""
    values, place = np.unique(scores, return_inverse=True)
    inside = np.bincount(place[member], minlength=len(values)) / member.sum()
    outside = np.bincount(place[~member], minlength=len(values)) / (~member).sum()
    advantage = np.cumsum((inside - outside)[::-1])[::-1]
    best = np.flatnonzero(advantage >= advantage.max() - 1e-12)
    return float(values[best[-1]])


def _of_patients(judged: Judged, patients: Mapping[str, str], origin: Origin) -> Score:
    """Score patients by the mean over their records."""
    names, place = np.unique([patients[name] for name in judged.ids], return_inverse=True)
    counts = np.bincount(place)
    means = np.bincount(place, weights=judged.scores) / counts
    member = np.bincount(place, weights=judged.member) > 0
    if member.all() or not member.any():
        return origin.score(
            "auc",
            slice="patients",
            outcome=Outcome.NOT_RESOLVABLE,
            reason=f"{len(names)} patients, all of one kind",
            chance=0.5,
        )
    area = stats.auc_interval(means[member], means[~member], CONFIDENCE)
    return origin.score("auc", slice="patients", chance=0.5, ceiling=1.0, **interval_fields(area))


def _of_hospitals(judged: Judged, hospitals: Mapping[str, str | None], origin: Origin) -> Score:
    """Score hospitals by the mean over their candidates, against equally many non-members each.

    Few hospitals give wide intervals: that is what a federation of three can show.
    """
    owner = np.array([hospitals[name] or "" for name in judged.ids])
    inside = [judged.scores[owner == name] for name in np.unique(owner[owner != ""])]
    size = min((len(part) for part in inside), default=0)
    groups = len(judged.outside) // size if size else 0
    if not groups:
        return origin.score(
            "auc",
            slice="hospitals",
            outcome=Outcome.NOT_RESOLVABLE,
            reason="fewer non-members than a hospital has candidates",
            chance=0.5,
        )
    # Candidates are in random order, so the first so many are a random sample.
    means = np.array([part[:size].mean() for part in inside])
    others = judged.outside[: groups * size].reshape(groups, size).mean(axis=1)
    area = stats.auc_interval(means, others, CONFIDENCE)
    reason = f"{len(means)} hospitals against {groups} groups of {size} non-members"
    return origin.score(
        "auc", slice="hospitals", chance=0.5, ceiling=1.0, reason=reason, **interval_fields(area)
    )


def _attribution(guess: MembershipGuess, truth: MembershipTruth, origin: Origin) -> Score:
    """Score which hospital each member was said to be in; chance is the largest one's share.

    Updates also show how many records of each class a hospital has; what that alone would name
    stands in the reason.
    """
    named = zip(guess.candidates, guess.hospitals or (), strict=True)
    members = [(name, said) for name, said in named if truth.member[name]]
    right = sum(said == truth.hospital[name] for name, said in members)
    found = stats.wilson_interval(right, len(members), CONFIDENCE)
    sizes = Counter(truth.hospital[name] for name, _ in members)
    chance = max(sizes.values()) / len(members)
    reason = None
    if "class" in truth.groups:
        by_class: dict[str, Counter[str | None]] = defaultdict(Counter)
        for name, _ in members:
            by_class[truth.groups["class"][name]][truth.hospital[name]] += 1
        known = sum(max(counts.values()) for counts in by_class.values()) / len(members)
        reason = f"each hospital's number of records of each class alone would name {known:.1%}"
    fields = interval_fields(found)
    return origin.score("hospital_accuracy", chance=chance, ceiling=1.0, reason=reason, **fields)
