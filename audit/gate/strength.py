"""Attack strength: a low number counts only from an attack that detects its positive control."""

from collections.abc import Iterable, Sequence

from audit.core.adversaries import Adversary
from audit.core.scores import Outcome
from audit.formats.baseline import CellFacts, ControlFacts, Measurement
from audit.gate.facts import SUMMARIES


class Strength:
    """What the positive controls of a run say.

    Args:
        controls: Of the run, one for each adversary and attack.
    """

    def __init__(self, controls: Iterable[ControlFacts]) -> None:
        self._controls = {(c.adversary, c.attack): c for c in controls}

    def detects(self, adversary: Adversary, attack: str) -> bool:
        """Return whether an attack detected its positive control."""
        control = self._controls.get((adversary, attack))
        return control is not None and control.detected is True

    def doubt(self, now: Sequence[Measurement], cells: Sequence[CellFacts]) -> str | None:
        """Return why the run's values cannot clear the model; None: the attack is strong enough.

        A summary such as ``strongest`` is in doubt if one of the attacks that it sums up failed
        its control or has none recorded, or if none of them detected one. An attack that can have
        no control, such as a prior-only baseline, does no harm among others: the largest value is
        no smaller for it.

        Args:
            now: The same score in each seed of the run.
            cells: The run's cell and its counterpart, for the attacks behind a summary.
        """
        score = now[0]
        if score.attack not in SUMMARIES:
            return self._doubt(score.adversary, score.attack, strict=True)
        behind = _behind(score, cells)
        doubts = (self._doubt(adversary, attack, strict=False) for adversary, attack in behind)
        doubt = next((doubt for doubt in doubts if doubt is not None), None)
        if doubt is None and not any(self.detects(*one) for one in behind):
            return "no attack behind it detected a positive control"
        return doubt

    def _doubt(self, adversary: Adversary, attack: str, *, strict: bool) -> str | None:
        control = self._controls.get((adversary, attack))
        name = f"{attack} by {adversary.value}"
        if control is None:
            return f"{name} has no positive control by its code in this run"
        if control.detected is False:
            return f"{name} did not detect its positive control ({control.control}): it is broken"
        if control.detected is None and strict:
            return f"{name} could not be controlled: {control.reason or 'no reason given'}"
        return None


def _behind(score: Measurement, cells: Sequence[CellFacts]) -> list[tuple[Adversary, str]]:
    """The attacks that a summary sums up: the adversary's own, and those of whom it includes."""
    adversaries = {score.adversary, *score.adversary.includes}
    found = {
        (m.adversary, m.attack)
        for cell in cells
        for m in cell.metrics
        if m.adversary in adversaries
        and m.attack not in SUMMARIES
        and (m.metric, m.slice) == (score.metric, score.slice)
        and m.outcome is Outcome.EXECUTED
    }
    return sorted(found)
