"""What a probe's mechanism allows: other hospitals' noise counts for sums of one step alone."""

import numpy as np
import pytest

from audit import stats
from audit.core.loading import load_config
from audit.pipeline.probe_bounds import hidden_by, probe_bounds
from audit.stats import reconstruction_bound

HOSPITALS = ("hospital-1", "hospital-2", "hospital-3")
SIGMA = 0.8


def bounds(**observations: tuple[str, ...]) -> dict[str, float]:
    config = load_config("smoke", [])
    names = {"one": "round-001/probe-b1-r0", "several": "round-001/probe-b1-s2-r0"}
    found = probe_bounds(
        config,
        config.cells[0],
        {names[n]: who for n, who in observations.items()},
        SIGMA,
        matched=False,
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
    assert probe_bounds(config, config.cells[1], names, None, matched=True) == {}


def test_reconstructions_are_matched_and_so_name_more_by_chance():
    """Without the update each guess names one of ten, and the best of the matched ones counts."""
    config = load_config("smoke", ["probes.batch_sizes=[1, 4]"])
    sum_of_three, single = "round-001/probe-b1-r0", "round-001/probe-b4-r0"
    names = {sum_of_three: HOSPITALS, single: HOSPITALS[:1]}
    found = probe_bounds(config, config.cells[0], names, SIGMA, matched=True)
    chance = {"sum": found[sum_of_three], "four": found[single]}
    metric = "identification_rate_10"
    assert chance["four"][metric] == pytest.approx(
        reconstruction_bound(0.4, noise_multiplier=SIGMA, sample_rate=1.0, steps=1)
    )
    assert chance["sum"][metric] == pytest.approx(
        reconstruction_bound(0.3, noise_multiplier=SIGMA * 3**0.5, sample_rate=1.0, steps=1)
    )
    one = probe_bounds(config, config.cells[0], names, SIGMA, matched=False)
    assert one[single][metric] == pytest.approx(allowed(SIGMA, 1))


def test_matched_guesses_without_any_update_stay_below_what_chance_allows():
    rng = np.random.default_rng(4)
    records, among, trials, named = 4, 10, 400, 0
    for _ in range(trials):
        pools = rng.normal(size=(records, among, 6))
        truth = pools[:, 0]
        guesses = rng.normal(size=(records, 6))
        guesses = guesses[stats.match(guesses, truth)]
        away = ((pools - guesses[:, None]) ** 2).sum(axis=2)
        named += int((away.argmin(axis=1) == 0).sum())
    rate = named / (trials * records)
    assert 1 / among + 0.02 < rate < records / among
