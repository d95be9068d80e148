"""Set up the hospitals of a cell and train it on a backend."""

import hashlib
import logging
from collections.abc import Mapping
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from training.backends.inprocess import DropOut, run_inprocess
from training.backends.ray import run_ray
from training.canaries import Canaries
from training.client_app import build_client_app
from training.data.dataset import Dataset
from training.faults import Fault
from training.plan import CellPlan, HospitalSetup
from training.policy import LocalPolicy, roster_digest
from training.secagg.identity import Identity
from training.server_app import Evaluation, Progress, build_server_app


class Backend(StrEnum):
    """Where the apps run."""

    INPROCESS = "inprocess"
    RAY = "ray"


def new_identities(clients: tuple[str, ...]) -> dict[str, Identity]:
    """Return a fresh long-term signing identity for each hospital."""
    return {client: Identity.generate() for client in clients}


def set_up_hospitals(
    plan: CellPlan,
    *,
    dataset: Dataset,
    parts: Mapping[str, NDArray[np.int64]],
    probes: Mapping[str, Mapping[str, list[int]]],
    identities: Mapping[str, Identity],
    canaries: Mapping[str, Canaries] | None = None,
) -> None:
    """Write what each hospital has on its disk beforehand: data reference, keys, roster, policy.

    Args:
        plan: The cell.
        dataset: Where the hospitals' records lie.
        parts: Hospital to its records.
        probes: Hospital to probe session to the records of that probe.
        identities: Hospital to its key pair.
        canaries: Hospital to its canaries; None outside of audit cells.
    """
    roster = {client: identity.public_key for client, identity in identities.items()}
    schedule = plan.config.schedule
    policy = LocalPolicy(
        private=plan.config.private,
        min_noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.max_grad_norm,
        max_sample_rate=plan.sample_rate,
        max_steps=schedule.local_steps,
        rounds=schedule.rounds,
        delta=plan.delta,
        roster=roster_digest(roster),
        probes=any(probes.values()),
        max_probe_steps=plan.probes.most_uses,
    )
    for client in plan.clients:
        HospitalSetup(
            client=client,
            dataset=records_digest(dataset, parts[client]),
            indices=[int(i) for i in parts[client]],
            probes={s: list(indices) for s, indices in probes.get(client, {}).items()},
            identity=identities[client].to_bytes().hex(),
            roster={name: key.hex() for name, key in roster.items()},
            policy=policy,
        ).save(plan.cell.client(client))
        if canaries is not None:
            canaries[client].save(plan.cell.client(client))


def records_digest(dataset: Dataset, indices: NDArray[np.int64]) -> str:
    """Return a SHA-256 of a hospital's own records, whatever dataset they came from."""
    digest = hashlib.sha256()
    for array in (dataset.x[indices], dataset.y[indices]):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def run_cell(
    plan: CellPlan,
    *,
    backend: Backend,
    evaluate: Evaluation,
    progress: Progress,
    dropped: DropOut | None = None,
    fault: Fault | None = None,
) -> None:
    """Train one cell to its end, from where its recording ends.

    Args:
        plan: The cell; its hospitals are set up.
        backend: Where the apps run.
        evaluate: The server's own test.
        progress: Told of every finished round.
        dropped: Hospitals that vanish, for tests; in-process only.
        fault: What is broken in every hospital; self-tests only.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)
    server = build_server_app(plan, evaluate=evaluate, progress=progress)
    client = build_client_app(plan, fault)
    if backend is Backend.RAY:
        run_ray(server, client, clients=len(plan.clients), device=plan.device)
    else:
        run_inprocess(server, client, clients=len(plan.clients), dropped=dropped)
