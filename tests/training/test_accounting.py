"""Solved noise meets its target, two accountants agree, and what is spent ends at the claim."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from training_cell import tiny_config

from audit.core.errors import PrivacyClaimError
from audit.core.loading import load_config, shipped_configs
from audit.pipeline.privacy import cell_privacy, group_warning, privacy_record, probe_overflow
from training.accounting import (
    Mechanism,
    check_claim,
    group_epsilon,
    pld_epsilon,
    prv_epsilon,
    selection_epsilon,
    solve_noise_multiplier,
    spent_epsilon,
)
from training.data.groups import LargestGroup

DELTA = 1e-5
ALONE = LargestGroup(records=1, told_by="identical records")
TARGETS = [
    (128 / 20_000, 1570, 0.1),
    (128 / 20_000, 1570, 1.0),
    (0.5, 9, 2.0),
    (1.0, 100, 10.0),
]


def solved(rate: float, steps: int, epsilon: float) -> Mechanism:
    sigma = solve_noise_multiplier(
        target_epsilon=epsilon, delta=DELTA, sample_rate=rate, steps=steps
    )
    return Mechanism(noise_multiplier=sigma, sample_rate=rate, steps=steps)


@pytest.mark.parametrize(("rate", "steps", "epsilon"), TARGETS)
def test_solved_noise_is_within_a_percent_of_the_target_and_never_above(rate, steps, epsilon):
    mechanism = solved(rate, steps, epsilon)
    claim = check_claim(mechanism, delta=DELTA, target_epsilon=epsilon)
    assert 0.99 * epsilon <= claim.epsilon <= epsilon
    assert claim.recomputed_epsilon <= claim.epsilon
    assert not claim.loose


def test_solved_noise_agrees_with_the_noise_measured_before_the_start():
    # FACTS.md: 8.75 and 1.211 by PRV at Opacus' default errors, which ask for a little more noise.
    assert solved(*TARGETS[0]).noise_multiplier == pytest.approx(8.75, rel=0.15)
    assert solved(*TARGETS[1]).noise_multiplier == pytest.approx(1.211, rel=0.02)
    assert solved(*TARGETS[0]).noise_multiplier < 8.75


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Closed form of the Gaussian mechanism (Balle and Wang 2018, theorem 8), by bisection."""

    def gap(epsilon: float) -> float:
        normal = lambda x: 0.5 * math.erfc(-x / math.sqrt(2))  # noqa: E731
        a, b = mu / 2 - epsilon / mu, -mu / 2 - epsilon / mu
        return normal(a) - math.exp(epsilon) * normal(b) - delta

    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if gap(middle) > 0 else (low, middle)
    return high


@pytest.mark.parametrize(
    ("sigma", "epsilon"), [(37.81, 0.985), (20.08, 1.984), (10.84, 3.988), (5.005, 9.985)]
)
def test_full_batch_steps_are_one_gaussian_mechanism(sigma, epsilon):
    truth = gaussian_epsilon(math.sqrt(100) / sigma, DELTA)
    assert truth == pytest.approx(epsilon, abs=2e-3)
    mechanism = Mechanism(noise_multiplier=sigma, sample_rate=1.0, steps=100)
    assert pld_epsilon(mechanism, delta=DELTA) == pytest.approx(truth, rel=2e-3)
    upper = prv_epsilon(mechanism, delta=DELTA, error=epsilon / 200)
    assert truth <= upper <= truth * 1.012


def test_a_claim_below_the_independent_value_is_refused(monkeypatch):
    monkeypatch.setattr("training.accounting.prv_epsilon", lambda *_, **__: 0.5)
    mechanism = Mechanism(noise_multiplier=3.21, sample_rate=1.0, steps=10)
    with pytest.raises(PrivacyClaimError, match="does not hold"):
        check_claim(mechanism, delta=DELTA, target_epsilon=0.5)


def test_a_claim_far_above_the_independent_value_is_called_loose(monkeypatch):
    monkeypatch.setattr("training.accounting.prv_epsilon", lambda *_, **__: 99.0)
    mechanism = Mechanism(noise_multiplier=3.22, sample_rate=1.0, steps=10)
    assert check_claim(mechanism, delta=DELTA, target_epsilon=99.0).loose


def test_a_target_out_of_reach_is_refused():
    with pytest.raises(PrivacyClaimError, match=r"no noise multiplier up to|cannot resolve"):
        solve_noise_multiplier(target_epsilon=1e-4, delta=1e-12, sample_rate=1.0, steps=10**6)


def test_spent_budget_grows_and_ends_at_the_claim():
    mechanism = solved(0.5, 9, 2.0)
    claim = check_claim(mechanism, delta=DELTA, target_epsilon=2.0)
    spent = [
        spent_epsilon(
            Mechanism(noise_multiplier=mechanism.noise_multiplier, sample_rate=0.5, steps=steps),
            total_steps=9,
            delta=DELTA,
            target=2.0,
        )
        for steps in (1, 3, 6, 8, 9)
    ]
    assert spent == sorted(spent) and len(set(spent)) == len(spent)
    assert spent[-1] == claim.epsilon


def test_more_steps_than_planned_are_priced_above_the_claim():
    mechanism = solved(0.5, 9, 2.0)
    over = Mechanism(noise_multiplier=mechanism.noise_multiplier, sample_rate=0.5, steps=12)
    assert spent_epsilon(over, total_steps=9, delta=DELTA, target=2.0) > 2.0


def test_a_target_per_round_composes_to_a_claim_over_all_rounds():
    base = tiny_config(schedule__batch_size=360)
    config = tiny_config(schedule__batch_size=360, privacy__epsilon_scope="per_round")
    total, each = (cell_privacy(c, c.cells[0]) for c in (base, config))
    assert total.round_epsilon < total.claim.epsilon <= 2.0
    assert 1.98 < each.round_epsilon <= 2.0 < each.claim.epsilon <= 4.0
    assert each.noise_multiplier < total.noise_multiplier
    whole = Mechanism(noise_multiplier=each.noise_multiplier, sample_rate=1.0, steps=4)
    assert each.claim.epsilon == spent_epsilon(whole, total_steps=4, delta=DELTA, target=2.0)
    # Two rounds of two full-batch steps are one Gaussian mechanism of all four.
    truth = gaussian_epsilon(math.sqrt(4) / each.noise_multiplier, DELTA)
    assert truth <= each.claim.epsilon <= truth * 1.02


def test_without_dp_nothing_is_claimed():
    assert cell_privacy(tiny_config(), tiny_config().cells[1]) is None


def renyi_selection(mu: float, trials: int, delta: float) -> float:
    """Theorem 2 of Papernot and Steinke for a Gaussian mechanism, with the classical conversion."""
    orders = np.arange(1.01, 400, 0.01)
    renyi = orders * mu**2 / 2
    spread = 2 * (1 - 1 / orders) * renyi + 2 * math.log(trials) / orders
    chosen = renyi + spread.min() + math.log(trials) / (orders - 1)
    return float((chosen + math.log(1 / delta) / (orders - 1)).min())


@pytest.mark.parametrize("trials", [3, 30, 300])
@pytest.mark.parametrize("mu", [0.05, 0.5, 1.5])
def test_the_cost_of_a_choice_is_that_of_the_theorem(mu, trials):
    mechanism = Mechanism(noise_multiplier=2 / mu, sample_rate=1.0, steps=4)
    found = selection_epsilon(mechanism, delta=DELTA, trials=trials)
    simple = renyi_selection(mu, trials, DELTA)
    assert 0.8 * simple < found < simple * 1.01
    assert found > 1.2 * gaussian_epsilon(mu, DELTA)


def test_a_probe_whose_noise_leaves_the_quantised_range_is_warned_of():
    loud = tiny_config(schedule__learning_rate=40.0)
    assert "probes.learning_rate" in (probe_overflow(loud, loud.cells[0], 2.4) or "")
    quiet = tiny_config(schedule__learning_rate=40.0, probes__learning_rate=0.5)
    assert probe_overflow(quiet, quiet.cells[0], 2.4) is None
    plain = tiny_config(schedule__learning_rate=40.0, aggregation={"protocol": "plain"})
    assert probe_overflow(plain, plain.cells[0], 2.4) is None


@pytest.mark.parametrize("name", shipped_configs())
def test_no_shipped_probe_leaves_the_quantised_range(name):
    config = load_config(name)
    for cell in config.cells:
        privacy = cell_privacy(config, cell)
        if privacy is not None:
            assert probe_overflow(config, cell, privacy.noise_multiplier) is None, cell.id


def test_the_written_curve_passes_through_the_recomputed_claim_and_only_falls():
    config = tiny_config()
    privacy = cell_privacy(config, config.cells[0])
    record = privacy_record(config, config.cells[0], privacy, ALONE)
    curve = {point["delta"]: point["epsilon"] for point in record["curve"]}
    assert curve[config.privacy.delta] == pytest.approx(privacy.claim.recomputed_epsilon, rel=1e-6)
    ordered = [curve[delta] for delta in sorted(curve)]
    assert ordered == sorted(ordered, reverse=True)
    assert len(set(ordered)) == len(ordered)


def test_without_dp_the_record_of_privacy_has_no_mechanism_and_no_curve():
    config = tiny_config()
    record = privacy_record(config, config.cells[1], None, ALONE)
    assert record["mechanism"] is record["curve"] is record["claimed_epsilon"] is None
    assert record["aggregation"]["threshold"] == 2
    assert record["group"] == {"records": 1, "told_by": "identical records", "epsilon": None}


def test_a_group_of_one_is_a_record_and_a_full_batch_gives_the_closed_form():
    sampled = Mechanism(noise_multiplier=1.5, sample_rate=0.5, steps=4)
    one = pld_epsilon(sampled, delta=DELTA)
    assert group_epsilon(sampled, delta=DELTA, records=1) == pytest.approx(one, rel=1e-4)
    whole = Mechanism(noise_multiplier=8.0, sample_rate=1.0, steps=4)
    found = group_epsilon(whole, delta=DELTA, records=3)
    assert found == pytest.approx(gaussian_epsilon(3 * 2 / 8.0, DELTA), rel=2e-3)


def test_a_group_of_two_loses_as_much_as_a_simulation_of_its_steps_shows():
    """Hockey-stick divergence of one step, both ways, by numerical integration."""
    noise, rate = 1.0, 0.3
    step = Mechanism(noise_multiplier=noise, sample_rate=rate, steps=1)
    epsilon = group_epsilon(step, delta=DELTA, records=2)
    x = np.linspace(-12, 16, 400_001)
    without = norm.pdf(x, 0, noise)
    weights = [(1 - rate) ** 2, 2 * rate * (1 - rate), rate**2]
    inside = sum(w * norm.pdf(x, j, noise) for j, w in enumerate(weights))
    lost = [
        np.trapezoid(np.maximum(p - np.exp(epsilon) * q, 0), x)
        for p, q in ((inside, without), (without, inside))
    ]
    assert max(lost) == pytest.approx(DELTA, rel=0.02)
    assert epsilon > 1.5 * pld_epsilon(step, delta=DELTA)


def test_copies_of_a_record_are_priced_and_said():
    config = tiny_config()
    privacy = cell_privacy(config, config.cells[0])
    twice = LargestGroup(records=2, told_by="identical records")
    group = privacy_record(config, config.cells[0], privacy, twice)["group"]
    assert group["records"] == 2 and group["epsilon"] > 2 * privacy.claim.epsilon
    alone = privacy_record(config, config.cells[0], privacy, ALONE)["group"]
    assert alone["epsilon"] == privacy.claim.epsilon
    assert "2 records are one patient's" in (group_warning(config, twice) or "")
    assert group_warning(config, ALONE) is None
