"""The privacy of one cell: noise solved, claim stated and recomputed, probes priced apart."""

from dataclasses import dataclass

from audit.core.adversaries import PASSIVE, Adversary
from audit.core.config import CellConfig, Config
from training.accounting import (
    Claim,
    Mechanism,
    check_claim,
    group_epsilon,
    pld_epsilon,
    privacy_profile,
    selection_epsilon,
    solve_noise_multiplier,
)
from training.data.groups import LargestGroup
from training.plan import probe_sessions
from training.secagg.threshold import threshold

ASSUMPTIONS = (
    "add/remove adjacency",
    "patients of different hospitals are disjoint",
    "Poisson sampling and Gaussian noise as specified, floating-point effects left out",
    "probes are laboratory releases and not part of this claim",
)
FAR = 5.0
"""Standard deviations of noise that the quantised range must hold."""

PRIVACY_SCHEMA = "audit-privacy/v1"

PROFILE_DELTAS = tuple(10.0**-exponent for exponent in range(1, 11))
"""Where the epsilon(delta) curve is written down, beside the claim's own delta."""

VOID = "the noise came from a fixed key: a reproduction, void as a guarantee"


@dataclass(frozen=True, kw_only=True)
class CellPrivacy:
    """What a cell claims.

    Args:
        noise_multiplier: Of every hospital in every step.
        claim: For all rounds.
        round_epsilon: An upper bound for one round alone.
        probe_epsilon: What one probe costs a record that is in it: a release of its own; of the
            probes with the most steps on a record (``training.local_plan.LocalPlan.record_steps``).
        selection_epsilon: What an honest choice among the trials that were made would have cost;
            None: nothing was chosen on these records.
    """

    noise_multiplier: float
    claim: Claim
    round_epsilon: float
    probe_epsilon: float
    selection_epsilon: float | None


def cell_privacy(config: Config, cell: CellConfig) -> CellPrivacy | None:
    """Solve and check the privacy of one cell; None at infinity.

    Raises:
        PrivacyClaimError: The target cannot be reached, or the claim does not hold up.
    """
    if not cell.private:
        return None
    rate = _sample_rate(config, cell)
    steps = cell.schedule.rounds * cell.schedule.local_steps
    total = config.privacy.epsilon_scope == "total"
    sigma = solve_noise_multiplier(
        target_epsilon=cell.epsilon,
        delta=config.privacy.delta,
        sample_rate=rate,
        steps=steps if total else cell.schedule.local_steps,
    )
    whole = Mechanism(noise_multiplier=sigma, sample_rate=rate, steps=steps)
    one = Mechanism(noise_multiplier=sigma, sample_rate=rate, steps=cell.schedule.local_steps)
    delta, trials = config.privacy.delta, config.privacy.tuning_trials
    return CellPrivacy(
        noise_multiplier=sigma,
        claim=check_claim(whole, delta=delta, target_epsilon=cell.epsilon),
        round_epsilon=pld_epsilon(one, delta=delta, interval=cell.epsilon / 1000),
        probe_epsilon=pld_epsilon(
            Mechanism(noise_multiplier=sigma, sample_rate=1.0, steps=config.probes.most_uses),
            delta=delta,
        ),
        selection_epsilon=selection_epsilon(whole, delta=delta, trials=trials) if trials else None,
    )


def privacy_record(
    config: Config, cell: CellConfig, privacy: CellPrivacy | None, largest: LargestGroup
) -> dict[str, object]:
    """Return what ``privacy.json`` of a cell says: the mechanism, its claim and its whole curve.

    Args:
        config: The whole configuration.
        cell: The cell's part of it.
        privacy: Of the cell; None at infinity, where ``mechanism`` and ``curve`` are null.
        largest: The most records that are one patient's.

    Returns:
        ``curve`` lists delta and the epsilon kept at it by an independent accountant; the claim
        itself stands in ``claimed_epsilon`` at ``delta``. ``group`` has the epsilon of a patient
        with the most records, all at one hospital; null at infinity.
    """
    record: dict[str, object] = {
        "schema": PRIVACY_SCHEMA,
        "cell": cell.id,
        "unit": config.privacy.unit,
        "adjacency": "add/remove",
        "epsilon_scope": config.privacy.epsilon_scope,
        "delta": config.privacy.delta,
        "target_epsilon": cell.epsilon if privacy else None,
        "claimed_epsilon": privacy.claim.epsilon if privacy else None,
        "recomputed_epsilon": privacy.claim.recomputed_epsilon if privacy else None,
        "accountant": "PRV (Opacus)" if privacy else None,
        "recomputed_by": "PLD (dp-accounting)" if privacy else None,
        "noise_source": None,
        "mechanism": None,
        "curve": None,
        "group": {"records": largest.records, "told_by": largest.told_by, "epsilon": None},
        "aggregation": {
            "protocol": config.aggregation.protocol,
            "clients": config.partition.clients,
            "colluders": config.aggregation.colluders,
            "threshold": None
            if config.aggregation.protocol == "plain"
            else threshold(config.partition.clients, config.aggregation.colluders),
        },
    }
    if privacy is None:
        return record
    rate = _sample_rate(config, cell)
    steps = cell.schedule.rounds * cell.schedule.local_steps
    whole = Mechanism(noise_multiplier=privacy.noise_multiplier, sample_rate=rate, steps=steps)
    deltas = sorted({*PROFILE_DELTAS, config.privacy.delta}, reverse=True)
    kept = privacy_profile(whole, deltas=deltas)
    together = (
        group_epsilon(whole, delta=config.privacy.delta, records=largest.records)
        if largest.records > 1
        else privacy.claim.epsilon
    )
    return record | {
        "noise_source": "fixed key" if config.reproduction else "operating system",
        "mechanism": {
            "name": "Poisson-subsampled Gaussian (DP-SGD)",
            "noise_multiplier": privacy.noise_multiplier,
            "max_grad_norm": config.privacy.max_grad_norm,
            "sample_rate": rate,
            "nominal_records": config.privacy.nominal_records,
            "rounds": cell.schedule.rounds,
            "local_steps": cell.schedule.local_steps,
            "steps": steps,
        },
        "curve": [
            {"delta": delta, "epsilon": epsilon}
            for delta, epsilon in zip(deltas, kept, strict=True)
        ],
        "group": {"records": largest.records, "told_by": largest.told_by, "epsilon": together},
    }


def group_warning(config: Config, largest: LargestGroup) -> str | None:
    """Return what to say where a patient has several records; None: each has one."""
    if largest.records == 1 or not any(cell.private for cell in config.cells):
        return None
    return (
        f"{config.data.name}: up to {largest.records} records are one patient's (told by "
        f"{largest.told_by}), and epsilon is for one record: privacy.json has what it is for all "
        "of them"
    )


def _sample_rate(config: Config, cell: CellConfig) -> float:
    return min(1.0, cell.schedule.batch_size / config.privacy.nominal_records)


def probe_overflow(config: Config, cell: CellConfig, noise_multiplier: float) -> str | None:
    """Return a warning where a probe's noise would leave the range that aggregation quantises."""
    probes, limit = config.probes, config.aggregation.clip_range
    if not probes.repeats or config.aggregation.protocol == "plain":
        return None
    rate = max(probes.rate(cell.schedule, number) for number in probes.rounds)
    smallest = min(probe.batch for probe in probe_sessions(probes))
    deviation = rate * noise_multiplier * config.privacy.max_grad_norm / smallest
    if FAR * deviation <= limit:
        return None
    return (
        f"{cell.id}: the noise of a probe has deviation {deviation:.3g}, too near to "
        f"aggregation.clip_range {limit:g}: the sum will be clipped; lower probes.learning_rate"
    )


def claims(config: Config, privacy: CellPrivacy | None) -> list[dict[str, object]]:
    """Return the claim against each adversary; with local noise they are all the same.

    Args:
        config: The whole configuration.
        privacy: Of the cell; None at infinity, where nothing is claimed.
    """
    if privacy is None:
        return []
    assumptions = [*ASSUMPTIONS, VOID] if config.reproduction else list(ASSUMPTIONS)
    return [
        {
            "adversary": adversary.value,
            "colluders": config.partition.clients - 1
            if adversary is Adversary.COLLUDING_SERVER
            else 0,
            "unit": config.privacy.unit,
            "claimed_epsilon": privacy.claim.epsilon,
            "delta": privacy.claim.delta,
            "assumptions": assumptions,
        }
        for adversary in PASSIVE
    ]
