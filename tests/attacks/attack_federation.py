"""Small federations on scikit-learn's digits, and the views of those who look on."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from audit.core.config import ModelConfig
from audit.core.model import Weights
from audit.core.randomness import named_generator
from audit.core.views import (
    Background,
    Observation,
    ParticipantView,
    Recipe,
    Records,
    References,
    SecaggServerView,
    ServerView,
)
from training.dp_sgd import train_locally
from training.local_plan import LocalPlan
from training.models import TorchArchitecture, architecture
from training.randomness import NoiseStream

CLIENTS = ("hospital-a", "hospital-b", "hospital-c")


@dataclass(frozen=True, kw_only=True)
class Federation:
    """A trained federation, what it sent, and the truth.

    Args:
        view: As a server without secure aggregation sees it.
        hospital: Index of each candidate's hospital, shape (candidates,); -1: no member.
    """

    view: ServerView
    hospital: NDArray[np.int64]

    @property
    def member(self) -> NDArray[np.bool_]:
        return self.hospital >= 0

    @property
    def sums(self) -> SecaggServerView:
        """The same as means over all hospitals."""
        by_round: dict[int, list[Observation]] = {}
        for one in self.view.rounds:
            by_round.setdefault(one.round, []).append(one)
        means = tuple(
            dataclasses.replace(
                ones[0],
                name=f"round-{number}",
                clients=CLIENTS,
                shares=(1 / 3,) * 3,
                update=mean_of([one.update for one in ones]),
            )
            for number, ones in by_round.items()
        )
        return SecaggServerView(
            background=self.view.background,
            models=self.view.models,
            rounds=means,
            probes=(),
            wire=(),
        )

    def participant(self, references: References | None) -> ParticipantView:
        """As a hospital sees it."""
        background = dataclasses.replace(self.view.background, references=references)
        return ParticipantView(
            background=background,
            client=CLIENTS[0],
            models=self.view.models,
            updates={},
            own=background.population,
        )


class Digits:
    """Candidates out of scikit-learn's digits: a third as many members at each hospital.

    Args:
        name: Of the random draw.
        each: Records of a hospital; candidates are six times as many, half of them members.
        plan: What a hospital does in a round.
        rounds: How many.
        random_labels: Whether labels mean nothing, so that a model can only memorise.
    """

    def __init__(
        self,
        name: str,
        *,
        each: int,
        plan: LocalPlan,
        rounds: int,
        random_labels: bool = False,
    ) -> None:
        self.each, self.plan, self.rounds = each, plan, rounds
        self.name = name
        self.rng = named_generator(23, "federation", name)
        digits = load_digits()
        order = self.rng.permutation(len(digits.target))
        self.inputs = (digits.images[:, None] / 8 - 1).astype(np.float32)[order]
        self.labels = digits.target.astype(np.int64)[order]
        if random_labels:
            self.labels = self.rng.integers(0, 10, size=len(order))
        self.candidates = np.arange(6 * each)
        self.architecture: TorchArchitecture = architecture(
            ModelConfig(name="mlp", options={"hidden": 32}), (1, 8, 8), 10
        )

    def drawn(self) -> NDArray[np.int64]:
        """Return the hospital of each candidate, -1 for half of them."""
        places = np.repeat([0, 1, 2, -1, -1, -1], self.each)
        return self.rng.permutation(places)

    def train(self, hospital: NDArray[np.int64], name: str, *, shift: int = 0) -> Federation:
        """Train on the members; ``shift``: on the records that many places further on instead."""
        weights: Weights = self.architecture.initial(5)
        models, observations = [weights], []
        for number in range(1, self.rounds + 1):
            updates = []
            for index, client in enumerate(CLIENTS):
                rows = np.flatnonzero(hospital == index) + shift
                done = train_locally(
                    self.architecture.module(weights),
                    self.inputs[rows],
                    self.labels[rows],
                    self.plan,
                    sampling=self.stream(name, client, number, "sampling"),
                    noise=self.stream(name, client, number, "noise"),
                )
                updates.append(self.architecture.unflatten(done.update))
                observations.append(
                    Observation(
                        name=f"round-{number}|{client}",
                        round=number,
                        clients=(client,),
                        shares=(1.0,),
                        records=None,
                        weights=weights,
                        update=updates[-1],
                        learning_rate=self.plan.learning_rate,
                    )
                )
            mean = mean_of(updates)
            weights = {n: (w + mean[n]).astype(np.float32) for n, w in weights.items()}
            models.append(weights)
        view = ServerView(
            background=self.background(),
            models=tuple(models),
            rounds=tuple(observations),
            probes=(),
        )
        return Federation(view=view, hospital=hospital)

    def references(self, models: int) -> References:
        """Train reference federations in pairs that share the candidates between them."""
        trained_on, logits = [], []
        for i in range(models):
            if i % 2 == 0:
                hospital = self.drawn()
            else:  # the candidates that the one before left out
                free = self.rng.permutation(np.flatnonzero(hospital < 0))
                hospital = np.full(6 * self.each, -1)
                hospital[free] = np.repeat([0, 1, 2], self.each)
            models_seen = self.train(hospital, f"reference-{i}").view.models[1:]
            trained_on.append(hospital >= 0)
            logits.append([self.logits(weights) for weights in models_seen])
        return References(
            trained_on=np.array(trained_on),
            logits=np.array(logits, dtype=np.float32),
            population_logits=np.zeros((models, 0, 10), dtype=np.float32),
        )

    def logits(self, weights: Weights) -> NDArray[np.float64]:
        return self.architecture.logits(weights, self.inputs[self.candidates])

    def background(self) -> Background:
        plan = self.plan
        return Background(
            architecture=self.architecture,
            recipe=Recipe(
                rounds=self.rounds,
                local_steps=plan.steps,
                expected_batch_size=plan.expected_batch_size,
                sample_rate=plan.sample_rate,
                learning_rate=plan.learning_rate,
                momentum=plan.momentum,
                noise_multiplier=plan.noise_multiplier,
                max_grad_norm=plan.max_grad_norm,
            ),
            candidates=self.records(self.candidates),
            population=self.records(np.arange(1700, 1797)),
            record_range=(-1.0, 1.0),
        )

    def records(self, rows: NDArray[np.int64]) -> Records:
        return Records(
            ids=tuple(f"r{i}" for i in rows), inputs=self.inputs[rows], labels=self.labels[rows]
        )

    def stream(self, *names: object) -> NoiseStream:
        return NoiseStream(named_generator(29, self.name, *map(str, names)).bytes(32))


def mean_of(updates: list[Weights]) -> dict[str, NDArray[np.float32]]:
    return {n: np.mean([u[n] for u in updates], axis=0, dtype=np.float64) for n in updates[0]}
