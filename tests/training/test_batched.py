"""Many models at once take exactly the steps that a hospital's own code takes."""

from typing import Any

import numpy as np
import pytest
import torch

from audit.core.config import ModelConfig
from training.batched import LocalTask, set_flat, train_many
from training.dp_sgd import train_locally
from training.layers import is_perceptron
from training.local_plan import LocalPlan
from training.models import architecture, flatten, to_weights
from training.randomness import NoiseStream

RECORDS = 120
RNG = np.random.default_rng(5)
INPUTS = RNG.normal(size=(RECORDS, 1, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 4, RECORDS)


def plan(**changes: Any) -> LocalPlan:
    given: dict[str, Any] = {
        "steps": 4,
        "sample_rate": 0.3,
        "expected_batch_size": 20.0,
        "learning_rate": 0.5,
        "momentum": 0.5,
        "noise_multiplier": None,
        "max_grad_norm": None,
    }
    return LocalPlan(**{**given, **changes})


DP = {"noise_multiplier": 0.7, "max_grad_norm": 0.5}
PLANS = {
    "plain": plan(),
    "plain, full batch, no momentum": plan(sample_rate=1.0, momentum=0.0),
    "plain, class shares": plan(class_priors=(0.1, 0.2, 0.3, 0.4)),
    "DP": plan(**DP),
    "DP, full batch": plan(**DP, sample_rate=1.0),
    "DP, scaled loss, class shares": plan(**DP, loss_scale=8.0, class_priors=(0.1, 0.2, 0.3, 0.4)),
    "DP, batches that are often empty": plan(**DP, sample_rate=0.01, steps=8),
}
MODELS = {
    "tanh": ModelConfig(name="mlp", options={"hidden": 12}),
    "relu": ModelConfig(name="mlp", options={"hidden": 12, "activation": "relu"}),
    "sigmoid": ModelConfig(name="mlp", options={"hidden": 12, "activation": "sigmoid"}),
    "linear": ModelConfig(name="linear"),
    "convolutions, one after the other": ModelConfig(name="simple-cnn"),
}


def tasks(start: np.ndarray) -> list[LocalTask]:
    return [
        LocalTask(
            weights=start + i / 100,
            records=np.sort(np.random.default_rng(i).permutation(RECORDS)[: 40 + 20 * i]),
            sampling=NoiseStream(bytes([i] * 32)),
            noise=NoiseStream(bytes([i + 9] * 32)),
        )
        for i in range(3)
    ]


@pytest.mark.parametrize("local", PLANS.values(), ids=list(PLANS))
@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_each_of_many_ends_where_it_would_alone(model: ModelConfig, local: LocalPlan) -> None:
    built = architecture(model, (1, 8, 8), 4)
    start = flatten(built.initial(1))
    many = list(train_many(built.build(), torch.from_numpy(INPUTS), LABELS, tasks(start), local))
    for new, task in zip(many, tasks(start), strict=True):
        module = set_flat(built.build(), task.weights)
        train_locally(
            module,
            INPUTS[task.records],
            LABELS[task.records],
            local,
            sampling=task.sampling,
            noise=task.noise,
        )
        alone = flatten(to_weights(module))
        assert np.abs(alone - task.weights).max() > 1e-3
        np.testing.assert_allclose(new, alone, atol=2e-6)


def test_a_stack_is_cut_where_it_would_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    built = architecture(MODELS["tanh"], (1, 8, 8), 4)
    start = flatten(built.initial(1))

    def train() -> list[np.ndarray]:
        return list(
            train_many(built.build(), torch.from_numpy(INPUTS), LABELS, tasks(start), PLANS["DP"])
        )

    together = train()
    monkeypatch.setattr("training.batched.MOST_NUMBERS", 1)
    np.testing.assert_allclose(np.stack(together), np.stack(train()), atol=1e-6)


def test_only_stacks_of_linear_layers_are_trained_together() -> None:
    assert is_perceptron(architecture(MODELS["tanh"], (1, 8, 8), 4).build())
    assert not is_perceptron(architecture(ModelConfig(name="simple-cnn"), (1, 8, 8), 4).build())
