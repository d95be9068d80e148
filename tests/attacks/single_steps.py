"""Views with one probe: a single step on known records, in double precision or as on the wire."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits

from audit.core.config import ModelConfig
from audit.core.randomness import named_generator
from audit.core.views import Background, Observation, Recipe, Records, ServerView
from audit.stats import match
from training.models import TorchArchitecture, architecture

LEARNING_RATE = 0.5
CLIPPED_AT = 0.05

Inputs = NDArray[np.float32]
Labels = NDArray[np.int64]


def digits() -> tuple[Inputs, Labels]:
    """Images of 8x8 pixels in [-1, 1]; ten classes."""
    found = load_digits()
    return (found.images[:, None] / 8 - 1).astype(np.float32), found.target.astype(np.int64)


def breast_cancer() -> tuple[Inputs, Labels]:
    """30 standardised measurements; two classes."""
    found = load_breast_cancer()
    inputs = (found.data - found.data.mean(axis=0)) / found.data.std(axis=0)
    return inputs.astype(np.float32), found.target.astype(np.int64)


class Patients:
    """Records of a dataset and a fresh model for them.

    Args:
        data: Inputs and labels.
        seed: Of the model and of who is in a probe.
        model: Name in ``training.models``.
        options: Of the model.
    """

    def __init__(
        self, data: tuple[Inputs, Labels], seed: int = 1, model: str = "mlp", **options: object
    ) -> None:
        self.rng = named_generator(seed, "patients")
        order = self.rng.permutation(len(data[0]))
        self.inputs, self.labels = data[0][order], data[1][order]
        classes = int(self.labels.max()) + 1
        self.architecture: TorchArchitecture = architecture(
            ModelConfig(name=model, options=options), self.inputs.shape[1:], classes
        )
        self.weights = self.architecture.initial(seed)

    def view(
        self,
        rows: Sequence[int],
        *,
        wire: bool = False,
        clients: int = 1,
        clip: bool = False,
        noise: float = 0.0,
        priors: tuple[float, ...] | None = None,
    ) -> ServerView:
        """Return a view with one probe on these records.

        Args:
            rows: Which records, at equal parts at each client.
            wire: Whether the update is float32, the difference of rounded weights.
            clients: Hospitals whose mean is seen.
            clip: Whether each record's gradient is clipped.
            noise: Standard deviation of noise, in parts of the whole gradient's root mean square.
            priors: Class priors that the loss evens out.
        """
        names = list(self.weights)
        total = {name: np.zeros(self.weights[name].shape) for name in names}
        for row in rows:
            one = self.gradient(row, priors)
            norm = np.sqrt(sum((g**2).sum() for g in one.values()))
            factor = min(1.0, CLIPPED_AT / norm) if clip else 1.0
            for name in names:
                total[name] += factor * one[name] / len(rows)
        scale = noise * np.sqrt(np.mean(np.concatenate([g.ravel() for g in total.values()]) ** 2))
        update: dict[str, NDArray[np.floating]] = {}
        for name in names:
            step = -LEARNING_RATE * (
                total[name] + scale * self.rng.standard_normal(total[name].shape)
            )
            old = self.weights[name]
            update[name] = (old + step).astype(np.float32) - old if wire else step
        probe = Observation(
            name="round-001/probe-b1-r0",
            round=1,
            clients=tuple(f"hospital-{i}" for i in range(clients)),
            shares=(1 / clients,) * clients,
            records=len(rows) // clients,
            weights=self.weights,
            update=update,  # type: ignore[arg-type]
            learning_rate=LEARNING_RATE,
        )
        return ServerView(
            background=self.background(clip=clip, priors=priors),
            models=(self.weights,),
            rounds=(),
            probes=(probe,),
        )

    def gradient(
        self, row: int, priors: tuple[float, ...] | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Return a record's own gradient, by torch."""
        module = self.architecture.module(self.weights).double()
        offsets = torch.log(torch.tensor(priors or (1.0,), dtype=torch.float64))
        loss = torch.nn.functional.cross_entropy(
            module(torch.from_numpy(self.inputs[row : row + 1]).double()) + offsets,
            torch.from_numpy(self.labels[row : row + 1]),
        )
        found = torch.autograd.grad(loss, list(module.parameters()))
        return {name: g.numpy() for name, g in zip(self.weights, found, strict=True)}

    def background(self, *, clip: bool, priors: tuple[float, ...] | None) -> Background:
        everyone = Records(
            ids=tuple(f"p{i}" for i in range(60)),
            inputs=self.inputs[-60:],
            labels=self.labels[-60:],
        )
        return Background(
            architecture=self.architecture,
            recipe=Recipe(
                rounds=1,
                local_steps=1,
                expected_batch_size=1.0,
                sample_rate=1.0,
                learning_rate=LEARNING_RATE,
                momentum=0.0,
                noise_multiplier=0.0 if clip else None,
                max_grad_norm=CLIPPED_AT if clip else None,
                class_priors=priors,
            ),
            candidates=everyone,
            population=everyone,
            record_range=(float(self.inputs.min()), float(self.inputs.max())),
        )

    def errors(self, records: NDArray[np.float32], rows: Sequence[int]) -> NDArray[np.float64]:
        """Return each true record's mean squared error, by the best assignment."""
        truth = self.inputs[list(rows)]
        gaps = (records[match(records, truth)].astype(np.float64) - truth) ** 2
        return gaps.reshape(len(truth), -1).mean(axis=1)


def unbiased(input_shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """A perceptron whose first layer has no bias."""
    features = int(np.prod(input_shape))
    return torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(features, 32, bias=False),
        torch.nn.ReLU(),
        torch.nn.Linear(32, classes),
    )


class Deep(torch.nn.Module):
    """A perceptron with two hidden layers, its activations no modules."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.one = torch.nn.Linear(features, hidden)
        self.two = torch.nn.Linear(hidden, 32)
        self.three = torch.nn.Linear(32, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.one(x.flatten(1)))
        out: torch.Tensor = self.three(torch.relu(self.two(hidden)))
        return out


def deep(input_shape: tuple[int, ...], classes: int, *, hidden: int) -> torch.nn.Module:
    """Two hidden layers."""
    return Deep(int(np.prod(input_shape)), hidden, classes)
