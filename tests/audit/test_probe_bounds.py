"""What a probe's mechanism allows: other hospitals' noise counts for sums of one step alone."""

import pytest

from audit.core.loading import load_config
from audit.pipeline.probe_bounds import hidden_by, probe_bounds
from audit.stats import reconstruction_bound

HOSPITALS = ("hospital-1", "hospital-2", "hospital-3")
SIGMA = 0.8


def bounds(**observations: tuple[str, ...]) -> dict[str, float]:
    config = load_config("smoke", [])
    names = {"one": "round-001/probe-b1-r0", "several": "round-001/probe-b1-s2-r0"}
    found = probe_bounds(
        config, config.cells[0], {names[n]: who for n, who in observations.items()}, SIGMA
    )
    return {n: found[names[n]]["identification_rate_10"] for n in observations}


def allowed(noise: float, steps: int) -> float:
    return reconstruction_bound(0.1, noise_multiplier=noise, sample_rate=1.0, steps=steps)


def test_a_sum_of_one_step_is_hidden_by_the_root_of_its_hospitals():
    found = bounds(one=HOSPITALS, several=HOSPITALS)
    assert found["one"] == pytest.approx(allowed(SIGMA * 3**0.5, 1))
    assert found["several"] == pytest.approx(allowed(SIGMA, 2))


def test_a_single_hospital_is_hidden_by_its_own_noise():
    found = bounds(one=HOSPITALS[:1], several=HOSPITALS[:1])
    assert found["one"] == pytest.approx(allowed(SIGMA, 1))
    assert found["several"] == pytest.approx(allowed(SIGMA, 2))


def test_unequal_weights_hide_the_largest_hospital_least():
    weights = "aggregation.weights={hospital-1: 3, hospital-2: 4, hospital-3: 12}"
    config = load_config("smoke", [weights])
    assert hidden_by(config, HOSPITALS, 1.0) == pytest.approx(13 / 12)


def test_without_noise_nothing_is_bounded():
    config = load_config("smoke", [])
    names = {"round-001/probe-b1-r0": HOSPITALS}
    assert probe_bounds(config, config.cells[1], names, None) == {}
