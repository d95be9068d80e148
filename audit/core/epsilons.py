"""How configurations write an epsilon: as a number, as no DP, as a key, as a cell's name."""

import math
from typing import Annotated, Any

from pydantic import BeforeValidator

INFINITY = math.inf


def _epsilon(value: Any) -> float:
    if value is None or (isinstance(value, str) and value.strip().lower() in {"inf", ".inf"}):
        return INFINITY
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("expected a number above 0, or .inf, inf or null for no DP")
    if math.isnan(value) or value <= 0:
        raise ValueError("expected a number above 0, or .inf, inf or null for no DP")
    return float(value)


def key_text(value: Any) -> Any:
    """YAML reads the key 0.5 as a number, inf as text and null as nothing; all are epsilons."""
    return (
        "inf" if value is None else format(value, "g") if isinstance(value, int | float) else value
    )


EpsilonKey = Annotated[str, BeforeValidator(key_text)]
Epsilon = Annotated[float, BeforeValidator(_epsilon)]


def cell_id(epsilon: float) -> str:
    """Name the cell of an epsilon.

    Example:
        >>> cell_id(0.1), cell_id(float("inf"))
        ('eps-0.1', 'eps-inf')
    """
    return f"eps-{epsilon:g}"


def epsilon_of_key(key: str) -> float:
    """Return the epsilon of a key such as ``0.5`` or ``inf``."""
    text = key.strip().lower()
    if text in {"inf", ".inf", "null"}:
        return INFINITY
    try:
        return _epsilon(float(text))
    except ValueError:
        raise ValueError(f"key {key!r}: expected an epsilon such as '0.5' or 'inf'") from None
