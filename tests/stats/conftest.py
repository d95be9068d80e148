"""What simulations of coverage are held against."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import special

LEVEL = 1e-3  # a correct interval fails a simulation this often, over all choices of seeds


@pytest.fixture
def assert_covers() -> Callable[..., None]:
    """Check that a share of intervals covers: not below nominal beyond chance.

    `allowance` is a stated shortfall of an interval that is only approximate.
    """

    def check(hits: list[bool], confidence: float = 0.95, allowance: float = 0.0) -> None:
        runs, covered = len(hits), sum(hits)
        counts = np.arange(runs + 1)
        least = int((special.bdtr(counts, runs, confidence - allowance) < LEVEL).sum())
        assert covered >= least, f"{covered} of {runs} cover, expected at least {least}"

    return check
