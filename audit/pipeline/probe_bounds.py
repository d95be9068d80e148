"""How often a probe's own mechanism lets any attack name a record of it."""

from collections.abc import Mapping

from audit import stats
from audit.core.config import CellConfig, Config
from audit.scoring import POOLS
from training.plan import probe_sessions


def hidden_by(config: Config, clients: tuple[str, ...], noise_multiplier: float) -> float:
    """Return the noise multiplier that protects a record in a single step's mean over hospitals.

    Every hospital adds its own noise, so a mean over several hides more; the largest hospital's
    records, by weight, are hidden least.

    Args:
        config: The whole configuration.
        clients: Whose updates are in the mean.
        noise_multiplier: Of each hospital.
    """
    public = config.aggregation.weights or {}
    weights = [float(public.get(client, 1)) for client in clients]
    return float(noise_multiplier * sum(w * w for w in weights) ** 0.5 / max(weights))


def probe_bounds(
    config: Config,
    cell: CellConfig,
    observations: Mapping[str, tuple[str, ...]],
    noise_multiplier: float | None,
    *,
    matched: bool,
) -> dict[str, dict[str, float]]:
    """Return the reconstruction-robustness bound of each observation of a probe.

    Without the update a guess names a record among N with probability 1/N. Reconstructions of m
    records are matched to the true ones when they are scored: a record counts as named where the
    one that is matched to it names it, at most one of m, so that their prior success is up to m/N.

    Other hospitals' noise is counted only where every local step is one aggregation: of several
    steps the server sees the sum of each hospital's own path. A record of a probe in mini-batches
    is in one step an epoch (``training.local_plan.LocalPlan.record_steps``).

    Args:
        config: The whole configuration.
        cell: Which cell.
        observations: Name to the hospitals in it.
        noise_multiplier: Of each hospital; None: without DP nothing is bounded.
        matched: Whether reconstructions are scored, not one answer for each record.

    Returns:
        Observation to identification metric to the bound, a rate.
    """
    if noise_multiplier is None or not cell.private:
        return {}
    probes = {probe.name: probe for probe in probe_sessions(config.probes)}
    found = {}
    for name, clients in observations.items():
        probe = probes[name.partition("|")[0]]
        alone = probe.steps > 1
        hidden = noise_multiplier if alone else hidden_by(config, clients, noise_multiplier)
        guesses = probe.records * len(clients) if matched else 1
        found[name] = {
            metric: stats.reconstruction_bound(
                min(1.0, guesses / among),
                noise_multiplier=hidden,
                sample_rate=1.0,
                steps=probe.uses,
            )
            for metric, among in POOLS.items()
        }
    return found
