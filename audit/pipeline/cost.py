"""What training will cost, said before it starts; measured on made-up records, not looked up."""

import time
from collections.abc import Sequence

import numpy as np

from audit.core.config import CellConfig, Config
from audit.pipeline.prepare import Prepared
from training.dp_sgd import train_locally
from training.local_plan import LocalPlan
from training.models import architecture
from training.randomness import NoiseStream, fresh_key

TRIAL = 256
"""Records of the timed step."""


def training_cost(config: Config, cells: Sequence[CellConfig], prepared: Prepared) -> str:
    """Say in one sentence what is about to be trained and about how long it takes.

    Args:
        config: The whole configuration.
        cells: The cells that will be trained.
        prepared: Gives the shape of a record.
    """
    samples, seconds = 0, 0.0
    rates: dict[tuple[str, bool], float] = {}
    for cell in cells:
        schedule = cell.schedule
        count = schedule.rounds * schedule.local_steps * schedule.batch_size * len(config.clients)
        kind = (f"{cell.model}", cell.private)
        if kind not in rates:
            rates[kind] = _rate(cell, prepared)
        samples += count
        seconds += count / rates[kind]
    rounds = sum(cell.schedule.rounds for cell in cells)
    return (
        f"{len(cells)} cells, {rounds} rounds, {len(config.clients)} hospitals: "
        f"{samples:,} per-record gradients, about {spoken_duration(seconds)} on this machine"
    )


def _rate(cell: CellConfig, prepared: Prepared) -> float:
    """Records a second of one training step."""
    shape, classes = prepared.dataset.shape, prepared.dataset.classes
    inputs = np.zeros((TRIAL, *shape), dtype=np.float32)
    labels = np.zeros(TRIAL, dtype=np.int64)
    plan = LocalPlan(
        steps=1,
        sample_rate=1.0,
        expected_batch_size=TRIAL,
        learning_rate=1e-3,
        momentum=0.0,
        noise_multiplier=1.0 if cell.private else None,
        max_grad_norm=1.0 if cell.private else None,
    )
    fastest = float("inf")
    for _ in range(2):
        module = architecture(cell.model, shape, classes).build()
        stream = NoiseStream(fresh_key())
        started = time.perf_counter()
        train_locally(module, inputs, labels, plan, sampling=stream, noise=stream)
        fastest = min(fastest, time.perf_counter() - started)
    return TRIAL / fastest


def spoken_duration(seconds: float) -> str:
    """Return seconds or minutes, for people."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
