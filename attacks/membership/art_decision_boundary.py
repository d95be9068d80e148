"""Label-only attack: members lie further from the decision boundary, which HopSkipJump finds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.attack import Budget, released_model
from attacks.membership.art_model import art_classifier
from audit.core.guesses import MembershipGuess
from audit.core.views import Background, QueryView, View

Labeller = Callable[[NDArray[np.float32]], NDArray[np.int64]]

NOISE_STARTS = 100
"""Records of uniform noise tried as a start where no population record has another label."""

QUERIES_PER_STEP = 20
"""Times the evaluations of its first step that each of HopSkipJump's steps may cost."""

BISECTIONS = 12
"""Halvings of the last distance: to a part in 4,096."""


class ArtDecisionBoundary:
    """Score a candidate by the Euclidean distance to the nearest other label that was found.

    Args:
        most_candidates: Candidates attacked; the others get no score.
        iterations: HopSkipJump's steps along the boundary.
        evaluations: Queries of its first gradient estimate; grows with the root of the step.

    Source:
        Choquette-Choo et al. 2021, arXiv:2007.14321, section 3.4, as in ART's
        ``LabelOnlyDecisionBoundary``; a misclassified record has distance 0 (section 3.2).
        Differs: the distance is returned and no threshold is fitted; ART's class hides the
        distance behind that threshold and draws its starts from the operating system, so its
        HopSkipJump is called directly, starts from the nearest population record with another
        label, and its last step, which ends off the boundary, is followed by a bisection. A record
        without any start has the widest distance in range.
    """

    def __init__(self, *, most_candidates: int, iterations: int, evaluations: int) -> None:
        self.most_candidates = most_candidates
        self.iterations = iterations
        self.evaluations = evaluations

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Return distances in the records' unit, of as many candidates as the budget allows.

        Args:
            view: The view.
            rng: Chooses the candidates, and drives HopSkipJump.

        Raises:
            ViewError: The view has neither the released model nor an oracle of it.
        """
        asked = Asked(labeller(view, "art-decision-boundary"))
        background, candidates = view.background, view.background.candidates
        total = len(candidates.labels)
        chosen = np.sort(rng.permutation(total)[: self.most_candidates])
        inputs, labels = candidates.inputs[chosen], candidates.labels[chosen]
        starts = _starts(background, asked, rng)
        right = asked(inputs) == labels
        distances = np.zeros(len(chosen))
        alone = 0
        with numpy_seeded(rng):
            for i in np.flatnonzero(right):
                start = _nearest(starts, inputs[i], labels[i])
                if start is None:
                    distances[i] = _widest(background)
                    alone += 1
                else:
                    found = self._walk(background, asked, inputs[i], labels[i], start)
                    distances[i] = boundary_distance(asked, inputs[i], labels[i], found)
        note = (
            f"{len(chosen)} of {total} candidates, {asked.queries / max(len(chosen), 1):.0f} "
            f"label queries a candidate; {len(chosen) - int(right.sum())} misclassified, at 0"
        )
        if alone:
            note += f"; for {alone} no record with another label was found"
        return MembershipGuess(
            candidates=tuple(candidates.ids[i] for i in chosen), scores=distances, note=note
        )

    def _walk(
        self,
        background: Background,
        asked: "Asked",
        record: NDArray[np.float32],
        label: np.int64,
        start: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """The record with another label that HopSkipJump ends on; the start if it finds none."""
        from art.attacks.evasion import HopSkipJump

        one_hot = np.eye(background.architecture.classes, dtype=np.float32)
        limit = asked.queries + QUERIES_PER_STEP * self.iterations * self.evaluations

        def predict(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
            if asked.queries > limit:
                raise _StuckError
            return one_hot[asked(inputs)]

        walk: Any = HopSkipJump(
            art_classifier(background, predict),
            norm=2,
            max_iter=self.iterations,
            init_eval=self.evaluations,
            max_eval=10 * self.evaluations,
            verbose=False,
        )
        try:
            (found,) = walk.generate(x=record[None], y=one_hot[[label]], x_adv_init=start[None])
        except _StuckError:
            return start
        return start if asked(found[None])[0] == label else found


class _StuckError(Exception):
    """HopSkipJump halves its step until the label changes: by rounding, it may never."""


@dataclass
class Asked:
    """A labeller that counts the records that it is asked about.

    Args:
        label: Records, shape (records, *input shape), to classes, shape (records,).
        queries: Records asked about so far.
    """

    label: Labeller
    queries: int = 0

    def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the label of each record, shape (records,)."""
        self.queries += len(inputs)
        return self.label(inputs)


def labeller(view: View, attack: str) -> Labeller:
    """Return what tells the released model's label: the oracle, or the weights.

    Raises:
        ViewError: The view has neither.
    """
    if isinstance(view, QueryView):
        return view.oracle.labels
    weights, architecture = released_model(view, attack), view.background.architecture

    def from_weights(inputs: NDArray[np.float32]) -> NDArray[np.int64]:
        best: NDArray[np.int64] = architecture.logits(weights, inputs).argmax(axis=1)
        return best

    return from_weights


def boundary_distance(
    label_of: Labeller,
    record: NDArray[np.float32],
    label: np.int64,
    other: NDArray[np.float32],
) -> float:
    """Return how far the label changes on the way from a record to one with another label.

    Args:
        label_of: Tells labels.
        record: Shape (*input shape); has ``label``.
        label: The record's label.
        other: Same shape; has another label.

    Returns:
        Euclidean distance, in the records' unit.
    """
    near, far = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (near + far) / 2
        between = (record + middle * (other - record)).astype(np.float32)
        if label_of(between[None])[0] == label:
            near = middle
        else:
            far = middle
    return far * float(np.linalg.norm((other - record).ravel()))


@contextmanager
def numpy_seeded(rng: np.random.Generator) -> Iterator[None]:
    """Let ART draw from numpy's global stream as ``rng`` says, and put that stream back after.

    HopSkipJump takes no generator: it calls ``numpy.random.randn``.
    """
    before = np.random.get_state()  # noqa: NPY002
    own = np.random.RandomState(np.random.MT19937(int(rng.integers(2**63))))
    np.random.set_state(own.get_state())  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def build(budget: Budget) -> ArtDecisionBoundary:
    """Return the attack with a budget's candidates and steps."""
    most, iterations, evaluations = {
        Budget.QUICK: (100, 3, 20),
        Budget.STANDARD: (200, 5, 30),
        Budget.THOROUGH: (1000, 25, 100),
    }[budget]
    return ArtDecisionBoundary(most_candidates=most, iterations=iterations, evaluations=evaluations)


@dataclass(frozen=True, kw_only=True)
class _Starts:
    """Records with the labels that the released model gives them."""

    records: NDArray[np.float32]
    labels: NDArray[np.int64]


def _starts(background: Background, asked: Asked, rng: np.random.Generator) -> _Starts:
    """Population records, or noise where the population has but one label."""
    known = background.population.inputs
    labels = asked(known)
    if len(set(labels.tolist())) < 2:
        low, high = background.record_range
        shape = (NOISE_STARTS, *background.architecture.input_shape)
        noise = rng.uniform(low, high, size=shape).astype(np.float32)
        known, labels = np.concatenate([known, noise]), np.concatenate([labels, asked(noise)])
    return _Starts(records=known, labels=labels)


def _nearest(
    starts: _Starts, record: NDArray[np.float32], label: np.int64
) -> NDArray[np.float32] | None:
    """The closest start with another label; None if there is none."""
    others = starts.records[starts.labels != label]
    if not len(others):
        return None
    gaps = (others - record).reshape(len(others), -1)
    nearest: NDArray[np.float32] = others[int((gaps**2).sum(axis=1).argmin())]
    return nearest


def _widest(background: Background) -> float:
    """The longest distance between two records in range."""
    low, high = background.record_range
    return float((high - low) * np.sqrt(np.prod(background.architecture.input_shape)))
