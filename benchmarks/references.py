"""How much faster reference federations train many at a time than one after the other.

    python benchmarks/references.py

The demo's perceptron, 16 federations of 3 hospitals, one round each way in turn, in one process and
on one thread; the ratio of the two is what counts. Both end at the same weights, which is checked.
"""

import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from audit.core.config import ModelConfig
from training.batched import LocalTask, set_flat, train_many
from training.dp_sgd import train_locally
from training.local_plan import LocalPlan
from training.models import architecture, flatten, to_weights
from training.randomness import NoiseStream

FEDERATIONS, HOSPITALS, RECORDS, REPEATS = 16, 3, 360, 5
BUILT = architecture(ModelConfig(name="mlp", options={"hidden": 64}), (1, 8, 8), 10)
RNG = np.random.default_rng(1)
INPUTS = RNG.normal(size=(HOSPITALS * RECORDS, 1, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 10, len(INPUTS))
PLANS = {
    "without DP, batches of 32": {"sample_rate": 32 / RECORDS, "expected_batch_size": 32.0},
    "with DP, batches of 180": {
        "sample_rate": 0.5,
        "expected_batch_size": 180.0,
        "noise_multiplier": 1.9,
        "max_grad_norm": 1.0,
    },
}


def plan(**settings: float) -> LocalPlan:
    return LocalPlan(
        steps=20,
        learning_rate=0.1,
        momentum=0.9,
        **{"noise_multiplier": None, "max_grad_norm": None, **settings},
    )


def tasks() -> list[LocalTask]:
    start = flatten(BUILT.initial(1))
    return [
        LocalTask(
            weights=start,
            records=np.arange(RECORDS) + RECORDS * (i % HOSPITALS),
            sampling=NoiseStream(i.to_bytes(32, "big")),
            noise=NoiseStream((1000 + i).to_bytes(32, "big")),
        )
        for i in range(FEDERATIONS * HOSPITALS)
    ]


def together(local: LocalPlan) -> list[np.ndarray]:
    return list(train_many(BUILT.build(), torch.from_numpy(INPUTS), LABELS, tasks(), local))


def alone(local: LocalPlan) -> list[np.ndarray]:
    ends = []
    for task in tasks():
        module = set_flat(BUILT.build(), task.weights)
        train_locally(
            module,
            INPUTS[task.records],
            LABELS[task.records],
            local,
            sampling=task.sampling,
            noise=task.noise,
        )
        ends.append(flatten(to_weights(module)))
    return ends


def main() -> None:
    """Print medians of paired repeats."""
    for name, settings in PLANS.items():
        local, ratios, fast = plan(**settings), [], []
        for _ in range(REPEATS):
            began = time.perf_counter()
            many = together(local)
            middle = time.perf_counter()
            single = alone(local)
            ended = time.perf_counter()
            np.testing.assert_allclose(np.stack(many), np.stack(single), atol=1e-4)
            ratios.append((ended - middle) / (middle - began))
            fast.append(middle - began)
        print(
            f"{name}: {np.median(ratios):.1f} times faster together "
            f"({min(ratios):.1f} to {max(ratios):.1f}); "
            f"{np.median(fast) / 20 * 1000:.1f} ms a step of all {FEDERATIONS}"
        )


if __name__ == "__main__":
    main()
