"""Reference federations: the target's recipe on records that the adversary chose.

Each is a whole federation, hospitals and rounds, but the masks: a masked sum is the plain sum. What
is kept of it is what its models say of the candidates and of the population.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audit.core.config import ScheduleConfig
from training.batched import LocalTask, set_flat, train_many
from training.data.dataset import Dataset
from training.features.fixed import trained_part
from training.local_plan import LocalPlan
from training.models import TorchArchitecture, flatten, to_weights
from training.randomness import NoiseStream, derived_key

FORWARD = 2048
"""Records that go through a model at a time."""


@dataclass(frozen=True, kw_only=True)
class ReferenceRecipe:
    """What a reference federation shares with the target.

    Args:
        architecture: The model.
        schedule: Rounds, steps and rates.
        sample_rate: Poisson sampling rate of a record in a step.
        noise_multiplier, max_grad_norm: Of DP-SGD; both None without DP.
        shares: Each hospital's part in the mean, together 1.
        seed: Public seed of the initial weights, which the adversary knows.
    """

    architecture: TorchArchitecture
    schedule: ScheduleConfig
    sample_rate: float
    noise_multiplier: float | None
    max_grad_norm: float | None
    shares: tuple[float, ...]
    seed: int

    def local_plan(self, round_number: int) -> LocalPlan:
        """Return what a hospital does in a round."""
        schedule = self.schedule
        return LocalPlan(
            steps=schedule.local_steps,
            sample_rate=self.sample_rate,
            expected_batch_size=float(schedule.batch_size),
            learning_rate=schedule.rate(round_number),
            momentum=schedule.momentum,
            noise_multiplier=self.noise_multiplier,
            max_grad_norm=self.max_grad_norm,
            loss_scale=schedule.loss_scale if self.noise_multiplier is not None else 1.0,
            augment_shift=schedule.augment_shift,
            class_priors=schedule.class_priors,
        )


@dataclass(frozen=True, kw_only=True)
class ReferenceAnswers:
    """What is kept of one reference federation.

    Args:
        logits: On the candidates after each round, shape (rounds, candidates, classes).
        population_logits: On the population after the last, shape (population, classes).
    """

    logits: NDArray[np.float32]
    population_logits: NDArray[np.float32]


def train_references(
    recipe: ReferenceRecipe,
    dataset: Dataset,
    hospitals: Sequence[Sequence[NDArray[np.int64]]],
    keys: Sequence[bytes],
    *,
    candidates: NDArray[np.int64],
    population: NDArray[np.int64],
) -> Iterator[ReferenceAnswers]:
    """Train federations side by side and yield what each says.

    Args:
        recipe: What they share with the target.
        dataset: Where the records lie.
        hospitals: Federation to hospital to its records, indices into the dataset.
        keys: 32 bytes a federation, from which its sampling and noise follow.
        candidates: Records asked about, indices into the dataset.
        population: Likewise.
    """
    used = np.unique(np.concatenate([candidates, population, *(h for f in hospitals for h in f)]))
    module, inputs = trained_part(
        recipe.architecture.module(recipe.architecture.initial(recipe.seed)), dataset.inputs(used)
    )
    labels = dataset.y[used]
    local = [[np.searchsorted(used, part) for part in parts] for parts in hospitals]
    asked, others = np.searchsorted(used, candidates), np.searchsorted(used, population)
    start = flatten(to_weights(module))
    models = [start.astype(np.float64) for _ in hospitals]
    logits: list[list[NDArray[np.float32]]] = [[] for _ in hospitals]
    shares = np.array(recipe.shares)
    for number in range(1, recipe.schedule.rounds + 1):
        tasks = [
            LocalTask(
                weights=models[f].astype(np.float32),
                records=part,
                sampling=NoiseStream(derived_key(keys[f], str(number), str(h), "sampling")),
                noise=NoiseStream(derived_key(keys[f], str(number), str(h), "noise")),
            )
            for f, parts in enumerate(local)
            for h, part in enumerate(parts)
        ]
        plan = recipe.local_plan(number)
        trained = list(train_many(module, inputs, labels, tasks, plan))
        for f in range(len(models)):
            sent = models[f].astype(np.float32)
            updates = np.stack(
                [new - sent for new in trained[f * len(shares) : (f + 1) * len(shares)]]
            )
            models[f] = sent + recipe.schedule.server_learning_rate * (shares @ updates)
            logits[f].append(_logits(module, models[f], inputs, asked))
    for f, model in enumerate(models):
        yield ReferenceAnswers(
            logits=np.stack(logits[f]), population_logits=_logits(module, model, inputs, others)
        )


def _logits(
    module: nn.Module, weights: NDArray[np.float64], inputs: Tensor, records: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return logits of shape (records, classes)."""
    set_flat(module, weights.astype(np.float32)).eval()
    with torch.no_grad():
        parts = [module(inputs[chunk]) for chunk in torch.split(torch.from_numpy(records), FORWARD)]
    return torch.cat(parts).numpy()
