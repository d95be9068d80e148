"""The positive control of membership attacks: a memorised target among memorised references."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from audit.core.adversaries import Adversary
from audit.core.config import ModelConfig
from audit.core.randomness import named_generator
from audit.core.views import Background, QueryView, Recipe, RecipientView, Records, References
from training.models import TorchArchitecture, architecture, load_weights, to_weights

CANDIDATES = 240
MODELS = 8


class CountedOracle:
    """The released model behind a counter."""

    def __init__(self, built: TorchArchitecture, weights: dict) -> None:
        self._built, self._weights, self.queries = built, weights, 0

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        self.queries += len(inputs)
        logits = self._built.logits(self._weights, inputs)
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        return chances / chances.sum(axis=1, keepdims=True)

    def labels(self, inputs: np.ndarray) -> np.ndarray:
        return self.probabilities(inputs).argmax(axis=1)


class Overfit:
    """Models that each memorised half of 240 digits with random labels: the target and eight more.

    The population is another 240 digits, which no model trained on.
    """

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        rng = named_generator(11, "overfit")
        chosen = rng.permutation(len(digits.target))[: 2 * CANDIDATES]
        inputs = (digits.images[chosen, None] / 8 - 1).astype(np.float32)
        labels = rng.integers(0, 10, size=2 * CANDIDATES)
        self.candidates, self.population = (
            Records(ids=tuple(map(str, part)), inputs=inputs[part], labels=labels[part])
            for part in np.split(np.arange(2 * CANDIDATES), 2)
        )
        self.member = np.arange(CANDIDATES) < CANDIDATES // 2
        self.built = architecture(ModelConfig(name="mlp"), (1, 8, 8), 10)
        self.untrained = self.built.initial(1)
        self.weights = self._memorise(self.member, 1)
        self.references = self._references(rng)

    def view(self, adversary: Adversary, *, trained: bool = True) -> QueryView | RecipientView:
        background = Background(
            architecture=self.built,
            recipe=Recipe(
                rounds=1,
                local_steps=300,
                expected_batch_size=120.0,
                sample_rate=1.0,
                learning_rate=0.5,
                momentum=0.9,
                noise_multiplier=None,
                max_grad_norm=None,
            ),
            candidates=self.candidates,
            population=self.population,
            record_range=(-1.0, 1.0),
            references=self.references,
        )
        weights = self.weights if trained else self.untrained
        if adversary is Adversary.QUERY:
            return QueryView(background=background, oracle=CountedOracle(self.built, weights))
        return RecipientView(background=background, weights=weights)

    def _references(self, rng: np.random.Generator) -> References:
        halves = [rng.permutation(CANDIDATES) < CANDIDATES // 2 for _ in range(MODELS // 2)]
        trained_on = np.array([half for one in halves for half in (one, ~one)])
        models = [self._memorise(half, 100 + i) for i, half in enumerate(trained_on)]
        of_candidates, of_population = (
            np.array([self.built.logits(m, part.inputs) for m in models], dtype=np.float32)
            for part in (self.candidates, self.population)
        )
        return References(
            trained_on=trained_on,
            logits=of_candidates[:, None],
            population_logits=of_population,
        )

    def _memorise(self, chosen: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        import torch

        module = self.built.build()
        load_weights(module, self.built.initial(seed))
        optimizer = torch.optim.SGD(module.parameters(), lr=0.5, momentum=0.9)
        x = torch.from_numpy(self.candidates.inputs[chosen])
        y = torch.from_numpy(self.candidates.labels[chosen])
        for _ in range(300):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(x), y).backward()
            optimizer.step()
        return to_weights(module)


@pytest.fixture(scope="session")
def perceptron(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke configuration with a ReLU perceptron, trained for a round; it stays as it is."""
    from audit.core.loading import load_config
    from audit.pipeline.train import TrainOptions, train

    settings = [
        "model={name: mlp, options: {hidden: 128, activation: relu}}",
        "schedule.rounds=1",
        "probes={rounds: [1], batch_sizes: [1, 4], repeats: 1}",
    ]
    out = tmp_path_factory.mktemp("runs") / "perceptron"
    train(load_config("smoke", settings), out, TrainOptions())
    return out


@pytest.fixture(scope="session")
def overfit() -> Overfit:
    return Overfit()


@pytest.fixture(scope="session")
def random_references() -> Callable[[Background], Background]:
    """Give a background four reference models with random weights, the same at every call."""

    def add(background: Background) -> Background:
        built, candidates = background.architecture, background.candidates
        rng = named_generator(13, "random references")
        half = rng.permutation(len(candidates.labels)) < len(candidates.labels) // 2
        models = [built.initial(seed) for seed in range(4)]
        said = np.array([built.logits(m, candidates.inputs) for m in models], dtype=np.float32)
        return dataclasses.replace(
            background,
            references=References(
                trained_on=np.array([half, ~half, half, ~half]),
                logits=np.repeat(said[:, None], background.recipe.rounds, axis=1),
                population_logits=np.array(
                    [built.logits(m, background.population.inputs) for m in models],
                    dtype=np.float32,
                ),
            ),
        )

    return add
