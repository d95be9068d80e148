"""What all audit cells of a run share: secret coins, keys of jobs, and how they are run."""

import hashlib
import math
from collections.abc import Callable, Sequence
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from audit.core.config import Config
from audit.executor import Job, Payload, Store, Work, execute, processors
from audit.pipeline.audit_federation import AuditFederation, clear_interrupted
from audit.pipeline.code import code_digest, weights_digest
from audit.vault import Vault
from training.randomness import NoiseStream, derived_key, fresh_key

WORTH_A_PROCESS = 20.0
"""Seconds of work from which a second process pays for its start."""

PARTS = 4
"""Batches of work for each process, so that none waits long for the other."""


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
    for array in arrays:
        digest.update(f"{array.shape}|".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
