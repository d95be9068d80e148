"""Verdicts: the claimed curve is tested, and one false alarm in a run is as rare as stated."""

import numpy as np
import pytest
from scipy import special

from audit.core.audits import AuditRecord, Verdict
from audit.core.guesses import MembershipGuess
from audit.scoring import Claimed, Origin, cell_verdict, judge, score_audit
from audit.stats import epsilon_of_mu

DELTA = 1e-5


def claimed(mu: float | None, **changed) -> Claimed:
    """The claim of 100 full-batch steps whose Gaussians lie mu apart."""
    options = {
        "epsilon": None if mu is None else epsilon_of_mu(mu, DELTA),
        "delta": DELTA,
        "noise_multiplier": None if mu is None else 10 / mu,
        "sample_rate": 1.0,
        "steps": 100,
    }
    return Claimed(**{**options, **changed})


def guessed(mu: float, n: int, rng: np.random.Generator) -> tuple[MembershipGuess, dict[str, bool]]:
    """Ideal scores of n canaries, each in or out by a fair coin."""
    inside = rng.random(n) < 0.5
    names = tuple(f"canary-{i}" for i in range(n))
    scores = rng.normal(np.where(inside, mu / 2, -mu / 2), 1.0)
    truth = {name: bool(present) for name, present in zip(names, inside, strict=True)}
    return MembershipGuess(candidates=names, scores=scores), truth


def audit(mu: float, claim: float | None, n: int, seed: int = 0, **origin: str) -> AuditRecord:
    guess, truth = guessed(mu, n, np.random.default_rng(seed))
    names = {"cell": "eps-1", "adversary": "server", "attack": "canary-update", **origin}
    return score_audit(guess, truth, claimed(claim), Origin(**names)).record


def test_a_claim_that_holds_is_consistent_and_its_bound_below_it():
    (record,) = judge([audit(1.0, 1.0, 4000)])
    assert record.verdict is Verdict.CONSISTENT
    assert 0.8 * record.claimed_epsilon < record.lower_bound < record.claimed_epsilon
    assert record.ceiling > record.claimed_epsilon
    assert (record.n, record.tests, record.confidence) == (4000, 2, 0.95)
    assert record.inside + record.outside == 4000


def test_half_the_noise_is_a_violation():
    (record,) = judge([audit(2.0, 1.0, 1000)])
    assert record.verdict is Verdict.VIOLATED
    assert record.lower_bound > record.claimed_epsilon
    assert record.adjusted_p_value == pytest.approx(2 * record.p_value)


def test_few_canaries_could_not_have_shown_anything():
    (record,) = judge([audit(50.0, 1.0, 4)])
    assert record.verdict is Verdict.UNDERPOWERED
    assert "so few canaries" in record.reason


def test_a_truth_with_members_and_others_swapped_is_no_sign_of_privacy():
    guess, truth = guessed(2.0, 500, np.random.default_rng(0))
    swapped = {name: not present for name, present in truth.items()}
    origin = Origin(cell="eps-1", adversary="server", attack="canary-update")
    (record,) = judge([score_audit(guess, swapped, claimed(2.0), origin).record])
    assert record.lower_bound == 0
    assert record.verdict is Verdict.UNDERPOWERED
    assert "may be swapped" in record.reason


def test_without_a_claim_there_is_a_bound_and_no_verdict():
    (record,) = judge([audit(30.0, None, 2000)])
    assert record.verdict is None and record.p_value is None
    assert record.lower_bound == pytest.approx(record.ceiling, rel=1e-6)


def test_scores_show_the_bound_in_the_family_and_for_any_mechanism():
    guess, truth = guessed(1.0, 4000, np.random.default_rng(0))
    origin = Origin(cell="eps-1", adversary="server", attack="canary-update")
    family, anything = score_audit(guess, truth, claimed(1.0), origin).scores
    assert (family.slice, anything.slice) == ("all", "any-mechanism")
    assert "gaussian-dp" in family.method and anything.method == "clopper-pearson"
    assert anything.value < family.value < family.ceiling
    assert family.high is None and family.low == family.value and family.chance == 0


def test_a_sampled_claim_is_tested_against_its_own_curve():
    # Sampling at a quarter: what is seen without sampling is four times as far apart.
    claim = claimed(1.0, sample_rate=0.25, noise_multiplier=2.5, steps=8, epsilon=2.2)
    origin = Origin(cell="eps-1", adversary="server", attack="canary-update")
    honest = 0.25 * np.sqrt(8) / 2.5
    found = {}
    for name, mu in (("honest", honest), ("always", 4 * honest)):
        guess, truth = guessed(mu, 3000, np.random.default_rng(1))
        found[name] = judge([score_audit(guess, truth, claim, origin).record])[0]
    assert found["honest"].verdict is Verdict.CONSISTENT
    assert found["always"].verdict is Verdict.VIOLATED
    assert "poisson-gaussian" in found["always"].method


def test_the_chance_of_an_alarm_does_not_grow_with_the_number_of_audits():
    runs, alarms = 400, 0
    for seed in range(runs):
        records = [audit(0.5, 0.5, 400, seed=100 * seed + i, attack=f"audit-{i}") for i in range(8)]
        judged = judge(records)
        alarms += any(
            r.verdict is Verdict.VIOLATED or r.adjusted_reversal_p_value <= 0.05 for r in judged
        )
    assert alarms <= 31  # 99.9 % quantile of the binomial at 5 %


def test_one_violation_decides_for_its_cell_and_power_for_the_rest():
    few, many, broken = audit(50.0, 1.0, 4), audit(1.0, 1.0, 4000), audit(3.0, 1.0, 2000)
    assert cell_verdict(judge([few])) is Verdict.UNDERPOWERED
    assert cell_verdict(judge([few, many])) is Verdict.CONSISTENT
    assert cell_verdict(judge([few, many, broken])) is Verdict.VIOLATED
    assert cell_verdict([]) is None
    assert cell_verdict(judge([audit(1.0, None, 100)])) is None


@pytest.mark.parametrize(("epsilon", "part"), [(1.0, 0.75), (2.0, 0.9), (4.0, 0.9), (10.0, 0.9)])
def test_ideal_scores_reach_what_the_literature_says_they_do(epsilon, part):
    # About 7,000, 11,000, 5,000 and 1,000 canaries a class.
    sizes = {1.0: 14_000, 2.0: 22_000, 4.0: 10_000, 10.0: 2_000}
    mu = next(m for m in np.linspace(0.1, 4, 4000) if epsilon_of_mu(m, DELTA) >= epsilon)
    rate = special.ndtr(mu / 2)
    half = sizes[epsilon] // 2
    hits = round(half * rate)
    from audit.stats import gaussian_dp_epsilon

    found = gaussian_dp_epsilon(hits, half, half - hits, half, delta=DELTA, confidence=0.95)
    assert found >= (part - 0.02) * epsilon
