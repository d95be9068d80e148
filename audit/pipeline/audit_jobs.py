"""What all audit cells of a run share: secret coins, keys of jobs, and how they are run."""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from audit.core.config import Config
from audit.executor import Job, Payload, Store, Work, execute, processors
from audit.pipeline.audit_federation import AuditFederation, clear_interrupted
from audit.pipeline.code import code_digest, weights_digest
from audit.vault import Vault
from training.dp_sgd import Laboratory, train_locally
from training.local_plan import LocalPlan
from training.randomness import NoiseStream, derived_key, fresh_key

WORTH_A_PROCESS = 20.0
"""Seconds of work from which a second process pays for its start."""

PARTS = 4
"""Batches of work for each process, so that none waits long for the other."""

KNOWN = 128
"""Most records of the population that a hospital of an audit cell holds beside canaries."""

TIMED_STEPS = 4
"""Steps that are timed before the cost is said."""

OVERHEAD = 0.02
"""Seconds that messages, masks and recording cost for each hospital and round, about."""


def canary_secret(config: Config, vault: Vault) -> bytes:
    """Return the key from which the canaries' coins follow; a reproduction's follows from its own.

    Raises:
        MissingEvidenceError: The secrets were deleted.
    """
    if config.reproduction:
        return derived_key(bytes.fromhex(vault.noise_key()), "canaries")
    return vault.canary_key(fresh_key)


def coins(secret: bytes, name: str, count: int) -> NDArray[np.bool_]:
    """Return independent fair coins, which nobody can tell without the secret."""
    tossed: NDArray[np.bool_] = NoiseStream(derived_key(secret, name)).uniform(count) < 1 / 2
    return tossed


def known_records(population: NDArray[np.int64], hospitals: int) -> tuple[NDArray[np.int64], ...]:
    """Return records that every adversary knows, for each hospital of an audit cell."""
    each = min(KNOWN, len(population) // hospitals)
    return tuple(np.sort(population[i * each : (i + 1) * each]) for i in range(hospitals))


def run_jobs(
    jobs: Sequence[Job[Payload]],
    work: Work[Payload],
    store: Store,
    *,
    seconds_each: float,
    done: Callable[[int, int], None],
) -> tuple[str, ...]:
    """Run the jobs that have no result yet.

    Args:
        jobs: All jobs of a cell.
        work: How they are done.
        store: Where results are kept.
        seconds_each: Estimate for one of them.
        done: Told how many came in, and how many are run in this call.

    Returns:
        The keys of all jobs, in order.
    """
    todo = store.missing(jobs)
    clear_interrupted(store)
    if todo:
        worth = len(todo) * seconds_each > WORTH_A_PROCESS
        workers = processors() if worth else 1
        execute(
            todo,
            work,
            store,
            workers=workers,
            batch=math.ceil(len(todo) / (PARTS * workers)) if worth else len(todo),
            done=lambda count: done(count, len(todo)),
        )
        clear_interrupted(store)  # its empty folder; not by a worker, another one may be there
    return tuple(job.key for job in jobs)


def federation_seconds(federation: AuditFederation, laboratory: Laboratory) -> float:
    """Estimate the seconds of an audit cell by timing a hospital's steps on made-up records.

    Args:
        federation: How it is run.
        laboratory: The gradient canaries of one of its hospitals.
    """
    cell, shape = federation.cell, federation.dataset.shape
    records, schedule = len(federation.parts[0]), cell.schedule
    plan = LocalPlan(
        steps=TIMED_STEPS,
        sample_rate=min(1.0, schedule.batch_size / federation.config.privacy.nominal_records),
        expected_batch_size=float(schedule.batch_size),
        learning_rate=1e-3,
        momentum=0.0,
        noise_multiplier=1.0 if cell.private else None,
        max_grad_norm=1.0 if cell.private else None,
    )
    module, stream = federation.architecture.build(), NoiseStream(bytes(32))
    began = time.perf_counter()
    train_locally(
        module,
        np.zeros((records, *shape), dtype=np.float32),
        np.zeros(records, dtype=np.int64),
        plan,
        sampling=stream,
        noise=stream,
        laboratory=laboratory,
    )
    step = (time.perf_counter() - began) / TIMED_STEPS
    return schedule.rounds * len(federation.parts) * (OVERHEAD + schedule.local_steps * step)


def cost_sentence(what: str, missing: int, seconds: float) -> str | None:
    """Say what is about to be run and how long it takes; None: nothing is."""
    if not missing:
        return None
    return f"{missing} {what}, about {max(1.0, seconds):.0f} s of one core, {processors()} cores"


def job_key(federation: AuditFederation, dataset: str, *, salt: bytes) -> str:
    """Hash everything that shapes an audit cell, but for fresh noise.

    Args:
        federation: How it is run.
        dataset: SHA-256 of the dataset.
        salt: Secret: a few coins could be found by trying out all of them.
    """
    digest = hashlib.sha256(salt)
    config = federation.config
    for text in (
        "audit-cell/v1",
        dataset,
        federation.cell.model_dump_json(),
        config.aggregation.model_dump_json(),
        repr((config.seed, config.privacy.nominal_records, config.privacy.max_grad_norm)),
        repr((federation.noise_multiplier, federation.name)),
        repr((federation.noise_master, federation.fault)),
        weights_digest(federation.architecture.start),
        code_digest("training", "audit.pipeline"),
        version("torch"),
    ):
        digest.update(text.encode() + b"\x00")
    arrays: list[NDArray[np.generic]] = [*federation.parts]
    for canaries in federation.canaries:
        arrays += [canaries.columns, canaries.inputs, canaries.labels]
        if canaries.push is not None:
            arrays += [canaries.push.direction, np.array([canaries.push.copies])]
    for array in arrays:
        digest.update(f"{array.shape}|".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
