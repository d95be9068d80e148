"""What a DP-SGD step costs beside a plain one, and what the way of clipping saves.

    python benchmarks/dp_step.py

Prints records a second and the ratio to plain SGD on the same model, all in one run.
"""

import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

from training import steps
from training.dp_sgd import train_locally
from training.local_plan import LocalPlan
from training.models import hog, mlp, simple_cnn
from training.randomness import NoiseStream

RECORDS, REPEATS = 2048, 3
INPUTS = np.random.default_rng(0).uniform(-1, 1, (RECORDS, 1, 28, 28)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 10, RECORDS).astype(np.int64)
SHAPE = (1, 28, 28)


def rate(
    build: Callable[[], nn.Module],
    *,
    private: bool,
    chunk: int = steps.CHUNK,
) -> float:
    """Return records a second, the best of a few repeats."""
    plan = LocalPlan(
        steps=2,
        sample_rate=1.0,
        expected_batch_size=float(RECORDS),
        learning_rate=0.1,
        momentum=0.5,
        noise_multiplier=1.0 if private else None,
        max_grad_norm=1.0 if private else None,
    )
    steps.CHUNK, best = chunk, float("inf")
    for _ in range(REPEATS):
        module, stream = build(), NoiseStream(bytes(32))
        started = time.perf_counter()
        train_locally(module, INPUTS, LABELS, plan, sampling=stream, noise=stream)
        best = min(best, time.perf_counter() - started)
    return plan.steps * RECORDS / best


def cnn() -> nn.Module:
    return simple_cnn(SHAPE, 10, pooling="max", filter_gains=(0.7, 1.0))


def perceptron() -> nn.Module:
    return mlp(SHAPE, 10)


def every_gradient() -> nn.Module:
    """The same perceptron, in a shape that is clipped by every gradient."""
    return nn.Sequential(nn.Identity(), *perceptron().children())


def features() -> nn.Module:
    return hog(SHAPE, 10, upright=True, bias=False, lift={"features": 2000})


def main() -> None:
    """Print the ratios."""
    torch.set_num_threads(1)
    cases = (
        ("simple-cnn, plain SGD", cnn, {"private": False}),
        ("simple-cnn, DP, chunks of 128", cnn, {"private": True, "chunk": 128}),
        ("simple-cnn, DP, chunks of 512", cnn, {"private": True, "chunk": 512}),
        ("mlp, plain SGD", perceptron, {"private": False}),
        ("mlp, DP, only the norms (ghost)", perceptron, {"private": True}),
        ("mlp, DP, every gradient", every_gradient, {"private": True}),
        ("hog, plain SGD on kept features", features, {"private": False}),
        ("hog, DP on kept features", features, {"private": True}),
    )
    base = 0.0
    print(f"{'':38} records/s  of plain")
    for name, build, options in cases:
        found = rate(build, **options)  # type: ignore[arg-type]
        base = found if "plain" in name else base
        print(f"{name:38} {found:9.0f}  {found / base:6.2f}")


if __name__ == "__main__":
    main()
