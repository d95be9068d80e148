"""A rate contradicts its bound only where chance over the whole run does not explain it."""

import numpy as np
import pytest

from audit.core.scores import Outcome, Score
from audit.scoring import STRONGEST, above_bounds
from audit.scoring.above_bound import bound_p_value
from audit.scoring.origin import Origin
from audit.scoring.probes import rate_score
from audit.stats import reconstruction_bound

ORIGIN = Origin(cell="eps-1", adversary="server", attack="idlg")
METRIC = "identification_rate_10"


def rate(values: list[list[float]], bound: float, origin: Origin = ORIGIN) -> Score:
    return rate_score(
        origin,
        METRIC,
        "round-1/batch-1",
        [np.array(one, dtype=np.float64) for one in values],
        chance=0.1,
        bound=bound,
        rng=np.random.default_rng(1),
    )


@pytest.mark.parametrize(("records", "updates"), [(1, 9), (4, 9), (3, 4), (4, 24)])
def test_everything_named_contradicts_a_small_bound(records, updates):
    named = rate([[1.0] * records] * updates, bound=0.05)
    assert above_bounds([named]) == [named]


@pytest.mark.parametrize(("records", "updates"), [(1, 9), (4, 9), (1, 18), (4, 24)])
def test_one_rate_at_its_bound_is_seldom_above_it(records, updates):
    rng = np.random.default_rng(2)
    bound, trials = 0.3, 2000
    seen = sum(
        bound_p_value(rate((rng.random((updates, records)) < bound).tolist(), bound)) <= 0.025
        for _ in range(trials)
    )
    # The interval's 2.5 % a side; few clustered rates are less exact.
    assert seen / trials < (0.025 if records == 1 else 0.04) + 3 * (0.025 / trials) ** 0.5


def test_a_run_full_of_rates_at_their_bounds_seldom_raises_an_alarm():
    """The demo's size: three private cells, two adversaries, six attacks, two probe sizes."""
    rng = np.random.default_rng(3)
    runs, alarms = 200, 0
    bound = reconstruction_bound(0.1, noise_multiplier=11.5, sample_rate=1.0, steps=1)
    for _ in range(runs):
        scores = [
            rate((rng.random((updates, records)) < bound).tolist(), bound)
            for updates, records in [(9, 1), (9, 4), (3, 3)] * 12
        ]
        alarms += bool(above_bounds(scores))
    assert alarms <= 15  # 95 % quantile of the binomial at 5 %


def test_of_many_rates_one_above_by_its_own_interval_is_no_alarm():
    close = rate([[1.0], [1.0], [1.0], [1.0], *[[0.0]] * 5], bound=0.13)
    assert close.low is not None and close.low > 0.13
    assert above_bounds([close]) == [close]
    others = [rate([[0.0]] * 9, bound=0.13) for _ in range(5)]
    assert above_bounds([close, *others]) == []


def test_the_strongest_attack_is_not_tested_twice_and_what_did_not_run_not_at_all():
    told = rate([[1.0]] * 9, 0.1, Origin(cell="eps-1", adversary="server", attack=STRONGEST))
    missing = ORIGIN.score(METRIC, outcome=Outcome.NOT_RUN, reason="too large")
    assert above_bounds([told, missing]) == []
