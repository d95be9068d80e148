"""Probes of digits for label counts: exact gradients of known records, and the truth."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from attacks.attack import clip_factors
from audit.core.config import ModelConfig
from audit.core.guesses import LabelCountGuess
from audit.core.model import Weights
from audit.core.randomness import named_generator
from audit.core.views import Background, Observation, Recipe, Records, ServerView
from training.models import TorchArchitecture, architecture, load_weights, to_weights

BATCHES = (1, 4, 16, 64, 128)
PLAIN = Recipe(
    rounds=1,
    local_steps=1,
    expected_batch_size=64.0,
    sample_rate=0.2,
    learning_rate=0.5,
    momentum=0.0,
    noise_multiplier=None,
    max_grad_norm=None,
)


class Digits:
    """Digits for the hospitals, 150 for the adversary, and one model, trained or not."""

    def __init__(self, steps: int, model: str = "mlp", **options: object) -> None:
        import torch
        from sklearn.datasets import load_digits

        digits, rng = load_digits(), named_generator(31, "label counts")
        order = rng.permutation(len(digits.target))
        self.inputs = (digits.images[order, None] / 8 - 1).astype(np.float32)
        self.labels = digits.target[order].astype(np.int64)
        self.built: TorchArchitecture = architecture(
            ModelConfig(name=model, options=options), (1, 8, 8), 10
        )
        module = self.built.build()
        load_weights(module, self.built.initial(3))
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
        for _ in range(steps):
            rows = rng.integers(150, 900, 64)
            optimizer.zero_grad()
            said = module(torch.from_numpy(self.inputs[rows]))
            torch.nn.functional.cross_entropy(said, torch.from_numpy(self.labels[rows])).backward()
            optimizer.step()
        self.weights: Weights = to_weights(module)
        self.rng = rng

    def drawn(self, size: int) -> NDArray[np.int64]:
        """Records that neither the adversary has nor the model was trained on."""
        return self.rng.integers(900, len(self.labels), size)

    def background(self, recipe: Recipe) -> Background:
        known = Records(
            ids=tuple(map(str, range(150))), inputs=self.inputs[:150], labels=self.labels[:150]
        )
        return Background(
            architecture=self.built,
            recipe=recipe,
            candidates=known,
            population=known,
            record_range=(-1.0, 1.0),
        )

    def probe(self, name: str, rows: NDArray[np.int64], recipe: Recipe) -> Observation:
        """One step on these records, clipped and noised by the recipe."""
        x, y = self.inputs[rows], self.labels[rows]
        zero = {n: np.zeros_like(w) for n, w in self.weights.items()}
        norms = self.built.gradient_products(self.weights, x, y, [zero]).norms
        factor = clip_factors(recipe, norms)[:, None] / len(rows)
        (gradient,) = self.built.gradient_sums(self.weights, x, y, factor)
        noise = (recipe.noise_multiplier or 0.0) * (recipe.max_grad_norm or 0.0) / len(rows)
        update = {
            n: (-0.5 * (g + noise * self.rng.standard_normal(g.shape))).astype(np.float32)
            for n, g in gradient.items()
        }
        return Observation(
            name=name,
            round=1,
            clients=("hospital-1",),
            shares=(1.0,),
            records=len(rows),
            weights=self.weights,
            update=update,
            learning_rate=0.5,
        )

    def view(self, size: int, recipe: Recipe = PLAIN, repeats: int = 20) -> "Seen":
        rows = {
            f"round-001/probe-b{size}-r{i}|hospital-1": self.drawn(size) for i in range(repeats)
        }
        probes = tuple(self.probe(name, chosen, recipe) for name, chosen in rows.items())
        view = ServerView(
            background=self.background(recipe), models=(self.weights,), rounds=(), probes=probes
        )
        truth = {n: np.bincount(self.labels[r], minlength=10) for n, r in rows.items()}
        return Seen(view=view, truth=truth)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    view: ServerView
    truth: dict[str, NDArray[np.int64]]

    def recovered(self, guess: LabelCountGuess) -> NDArray[np.float64]:
        """The part of the labels that was recovered from each probe."""
        assert not guess.skipped
        return np.array(
            [np.minimum(guess.counts[n], t).sum() / t.sum() for n, t in self.truth.items()]
        )
