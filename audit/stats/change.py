"""How much a quantity rose between two measurements of which only intervals are left.

Numbers that were kept with their intervals can be compared without the records behind them: the
variance that each end implies is recovered and added (MOVER). Light on purpose: the gate starts
without numpy; only Student's distribution needs more, where several seeds are compared.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, fmean, variance

_NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value and the standard errors that its two ends imply.

    Args:
        value: In the quantity's unit.
        down, up: Standard errors towards the lower and the upper end, in the same unit.
    """

    value: float
    down: float
    up: float

    @classmethod
    def of_interval(cls, value: float, low: float, high: float, *, confidence: float) -> "Estimate":
        """Recover the standard errors from a two-sided interval.

        Args:
            value: The estimate.
            low, high: The ends, around the value.
            confidence: Of both ends together, in (0, 1).

        Raises:
            ValueError: The value lies outside its interval, or confidence is out of range.
        """
        if not low <= value <= high:
            raise ValueError(f"value {value} is not in its interval [{low}, {high}]")
        if not 0 < confidence < 1:
            raise ValueError(f"confidence is {confidence}, expected between 0 and 1")
        normal = _NORMAL.inv_cdf((1 + confidence) / 2)
        return cls(value=value, down=(value - low) / normal, up=(high - value) / normal)

    def mirrored(self) -> "Estimate":
        """Return the estimate of the negative quantity."""
        return Estimate(value=-self.value, down=self.up, up=self.down)


@dataclass(frozen=True, kw_only=True)
class Change:
    """A rise with one-sided bounds at any level.

    Args:
        value: The estimate; positive: it rose.
        down, up: Standard errors towards the lower and the upper bound.
        freedom: Degrees of freedom of Student's distribution; infinite: the normal one.
        method: How it was computed.
    """

    value: float
    down: float
    up: float
    freedom: float = math.inf
    method: str

    def lower(self, alpha: float) -> float:
        """Return the lower bound that misses with probability alpha."""
        return self.value - self.quantile(alpha) * self.down

    def upper(self, alpha: float) -> float:
        """Return the upper bound that misses with probability alpha."""
        return self.value + self.quantile(alpha) * self.up

    @property
    def p_value(self) -> float:
        """One-sided, of no rise: at most alpha just where ``lower(alpha)`` is not below 0."""
        if self.down == 0:
            return 0.0 if self.value > 0 else 1.0
        score = self.value / self.down
        if math.isinf(self.freedom):
            return _NORMAL.cdf(-score)
        from scipy import special

        return float(special.stdtr(self.freedom, -score))

    def quantile(self, alpha: float) -> float:
        """Return so many standard errors lie between the estimate and a bound.

        Raises:
            ValueError: Alpha is not in (0, 0.5].
        """
        if not 0 < alpha <= 0.5:
            raise ValueError(f"alpha is {alpha}, expected above 0 and at most 0.5")
        if math.isinf(self.freedom):
            return _NORMAL.inv_cdf(1 - alpha)
        from scipy import special

        return float(special.stdtrit(self.freedom, 1 - alpha))


def independent_rise(now: Sequence[Estimate], before: Sequence[Estimate]) -> Change:
    """The rise of a mean, from the intervals of independent measurements.

    Args:
        now: At least one.
        before: At least one.

    Returns:
        Mean of now minus mean of before. Where the two share records their errors are positively
        correlated, and the bounds are wider than need be.

    Raises:
        ValueError: One of them is empty.

    Source:
        Zou and Donner 2008, doi 10.1002/sim.3095 (MOVER), after Newcombe 1998, method 10. Differs:
        ends at another level than the stored one are got by scaling the distance to the stored
        end with the normal quantile, which is exact for symmetric intervals and near it elsewhere.

    Example:
        >>> one = Estimate.of_interval(0.6, 0.5, 0.7, confidence=0.95)
        >>> round(independent_rise([one], [one]).upper(0.025), 4)
        0.1414
    """
    if not now or not before:
        raise ValueError(f"{len(now)} and {len(before)} estimates, expected at least 1 of each")
    return Change(
        value=fmean(e.value for e in now) - fmean(e.value for e in before),
        down=math.hypot(_joint([e.down for e in now]), _joint([e.up for e in before])),
        up=math.hypot(_joint([e.up for e in now]), _joint([e.down for e in before])),
        method="independent intervals (MOVER)",
    )


def seeds_rise(now: Sequence[float], before: Sequence[float]) -> Change:
    """The rise of a mean over retrained seeds, from the spread of the seeds.

    Args:
        now, before: One value a seed; one of the two has at least two.

    Returns:
        Student's bounds with the variance pooled. That both recipes spread alike is true where
        nothing changed, so false alarms are held; where one side has a single seed it is assumed.

    Raises:
        ValueError: There are no two seeds on either side.

    Source:
        Student 1908, doi 10.1093/biomet/6.1.1; with one seed on a side it is the prediction
        interval of a further observation.
    """
    freedom = max(len(now) - 1, 0) + max(len(before) - 1, 0)
    if not now or not before or freedom < 1:
        raise ValueError(f"{len(now)} and {len(before)} seeds, expected two on one side at least")
    squares = sum(variance(v) * (len(v) - 1) for v in (now, before) if len(v) > 1)
    error = math.sqrt(squares / freedom * (1 / len(now) + 1 / len(before)))
    return Change(
        value=fmean(now) - fmean(before),
        down=error,
        up=error,
        freedom=freedom,
        method=f"retrained seeds, {len(now)} against {len(before)} (Student, pooled)",
    )


def paired_rise(differences: Sequence[float]) -> Change:
    """The mean rise over seeds that were trained on both sides, on the same records.

    Args:
        differences: Now minus before, one a seed; at least two.

    Raises:
        ValueError: Fewer than two.
    """
    if len(differences) < 2:
        raise ValueError(f"{len(differences)} pair, expected at least 2")
    error = math.sqrt(variance(differences) / len(differences))
    return Change(
        value=fmean(differences),
        down=error,
        up=error,
        freedom=len(differences) - 1,
        method=f"{len(differences)} retrained seeds in pairs (Student)",
    )


def wider(first: Change, second: Change, alpha: float) -> Change:
    """Return the change whose bounds at alpha are further apart; the first where they tie."""
    widths = [c.upper(alpha) - c.lower(alpha) for c in (first, second)]
    return first if widths[0] >= widths[1] else second


def retrained(change: Change, spread: float) -> Change:
    """Add what retraining may change, where one model on each side cannot show it.

    Args:
        change: Of two single models, from their records.
        spread: Standard deviation over retrained models, assumed, in the quantity's unit.
    """
    if spread == 0:
        return change
    both = math.sqrt(2) * spread
    return replace(
        change,
        down=math.hypot(change.down, both),
        up=math.hypot(change.up, both),
        method=f"{change.method}, retraining taken to spread by {spread:g}",
    )


def above(change: Change, threshold: float) -> Change:
    """Return by how much a rise exceeds a threshold."""
    return replace(change, value=change.value - threshold)


def _joint(errors: Sequence[float]) -> float:
    """Standard error of the mean of independent values."""
    return math.sqrt(sum(error * error for error in errors)) / len(errors)
