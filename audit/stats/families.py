"""Many tests at once: the chance of a single false alarm among all of them stays bounded."""

from collections.abc import Mapping
from itertools import accumulate


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values so that comparing each with a level bounds the family-wise error by it.

    Args:
        p_values: Name of a test to its p-value, in [0, 1]; in any dependence on each other.

    Returns:
        Name to adjusted p-value, at least as large as given, in the order given.

    Raises:
        ValueError: A p-value is out of range or NaN.

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6, 65-70.

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    for name, value in p_values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"p-value of {name!r} is {value}, expected 0 to 1")
    names = sorted(p_values, key=lambda name: p_values[name])
    tests = len(names)
    scaled = [min(1.0, (tests - rank) * p_values[name]) for rank, name in enumerate(names)]
    adjusted = dict(zip(names, accumulate(scaled, max), strict=True))
    return {name: adjusted[name] for name in p_values}
