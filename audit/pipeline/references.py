"""The reference federations that an adversary trains: which records, which jobs, what they cost."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.core.config import CellConfig, Config
from audit.core.errors import MissingEvidenceError
from audit.core.parcel import Parcel
from audit.core.randomness import named_generator
from audit.executor import Job, Store, execute, processors
from audit.formats.files import read_json
from audit.formats.parcels import parcel_digest, read_parcel
from audit.pipeline.cells import cell_model
from audit.pipeline.code import code_digest, weights_digest
from audit.pipeline.game import Game
from audit.pipeline.prepare import Prepared, prepare
from audit.store.run import RunDirectory
from training.batched import LocalTask, train_many
from training.data.configured import cached_dataset, data_root
from training.data.spec import DataSpec
from training.features.fixed import trained_part
from training.layers import is_perceptron
from training.models import flatten, to_weights
from training.randomness import NoiseStream
from training.references import ReferenceRecipe, train_references

TRIAL = 256
"""Records of each hospital in the timed step."""

WORTH_A_PROCESS = 20.0
"""Seconds of work from which a second process pays for its start."""


@dataclass(frozen=True, kw_only=True)
class ReferenceTask:
    """All that a worker needs for one reference federation.

    Args:
        recipe: What it shares with the target.
        spec, root: Where the records lie.
        hospitals: Its hospitals' records, indices into the dataset.
        trained_on: True where it trains on the candidate, shape (candidates,).
        candidates, population: Indices into the dataset.
        key: 32 bytes from which its sampling and noise follow.
    """

    recipe: ReferenceRecipe
    spec: DataSpec
    root: Path
    hospitals: tuple[NDArray[np.int64], ...]
    trained_on: NDArray[np.bool_]
    candidates: NDArray[np.int64]
    population: NDArray[np.int64]
    key: bytes


def reference_answers(tasks: Sequence[ReferenceTask]) -> Iterator[Parcel]:
    """Train the federations of one cell side by side (``audit.executor.Work``)."""
    first = tasks[0]
    answers = train_references(
        first.recipe,
        cached_dataset(first.spec, first.root),
        [task.hospitals for task in tasks],
        [task.key for task in tasks],
        candidates=first.candidates,
        population=first.population,
    )
    for task, said in zip(tasks, answers, strict=True):
        yield Parcel(
            arrays={
                "trained_on": task.trained_on,
                "logits": said.logits,
                "population_logits": said.population_logits,
            }
        )


class ReferenceTrainer:
    """The reference federations of a run.

    Args:
        run: The run.
        config: Its configuration.
        count: Federations a cell.
    """

    def __init__(self, run: RunDirectory, config: Config, count: int) -> None:
        self._run, self._config, self._count = run, config, count
        self._store = Store(folder=run.path / "references")
        self._jobs: dict[str, list[Job[ReferenceTask]]] = {}
        self._seconds: dict[str, float] = {}

    @cached_property
    def _prepared(self) -> Prepared:
        return prepare(self._config)

    def cost(self, cells: Sequence[CellConfig]) -> str | None:
        """Say what is about to be trained and how long it takes; None: all is there already."""
        missing, seconds = 0, 0.0
        for cell in cells:
            todo = len(self._store.missing(self.jobs(cell)))
            missing += todo
            seconds += todo * self._seconds_each(cell) if todo else 0.0
        if not missing:
            return None
        kept = self._count * len(cells) - missing
        return (
            f"{missing} reference federations ({self._count} a cell, {kept} kept from before), "
            f"about {max(1.0, seconds):.0f} s of one core, {processors()} cores"
        )

    def train(self, cell: CellConfig, done: Callable[[int, int], None]) -> tuple[str, ...]:
        """Train what is missing for a cell.

        Args:
            cell: Which cell.
            done: Told how many came in, and how many are trained in this call.

        Returns:
            The keys of all its references, in order.
        """
        jobs = self.jobs(cell)
        todo = len(self._store.missing(jobs))
        if todo:
            worth = todo * self._seconds_each(cell) > WORTH_A_PROCESS
            workers = processors() if worth else 1
            module = jobs[0].payload.recipe.architecture.build()
            head, _ = trained_part(module, np.zeros((1, *self._prepared.dataset.shape), np.float32))
            together = math.ceil(todo / workers) if is_perceptron(head) else 1
            execute(
                jobs,
                reference_answers,
                self._store,
                workers=workers,
                batch=together,
                done=lambda count: done(count, todo),
            )
        return tuple(job.key for job in jobs)

    def jobs(self, cell: CellConfig) -> list[Job[ReferenceTask]]:
        """Return the jobs of a cell; the first few are the same at every budget.

        Raises:
            MissingEvidenceError: The data are not those that the run was trained on.
        """
        if cell.id not in self._jobs:
            self._jobs[cell.id] = self._made(cell)
        return self._jobs[cell.id]

    def _made(self, cell: CellConfig) -> list[Job[ReferenceTask]]:
        prepared, directory = self._prepared, self._run.cell(cell.id)
        if parcel_digest(prepared.game.shown) != parcel_digest(read_parcel(directory.candidates)):
            raise MissingEvidenceError(
                "the data or the code that draws the membership game changed since this run was "
                "trained: no reference federation can be trained for it"
            )
        recipe = self._recipe(cell, read_json(directory.summary)["noise_multiplier"])
        return [self._job(cell, recipe, k) for k in range(self._count)]

    def _recipe(self, cell: CellConfig, noise_multiplier: float | None) -> ReferenceRecipe:
        config = self._config
        given = config.aggregation.weights
        weights = np.array([given[c] if given else 1 for c in config.clients], dtype=np.float64)
        return ReferenceRecipe(
            architecture=cell_model(config, cell, self._prepared),
            schedule=cell.schedule,
            sample_rate=min(1.0, cell.schedule.batch_size / config.privacy.nominal_records),
            noise_multiplier=noise_multiplier,
            max_grad_norm=config.privacy.max_grad_norm if cell.private else None,
            shares=tuple(float(w) for w in weights / weights.sum()),
            seed=config.seed,
        )

    def _job(self, cell: CellConfig, recipe: ReferenceRecipe, number: int) -> Job[ReferenceTask]:
        prepared, game, seed = self._prepared, self._prepared.game, self._config.seed
        trained_on = half_of(game, seed, number)
        stream = hashlib.sha256(f"reference|{seed}|{cell.id}|{number}".encode()).digest()
        task = ReferenceTask(
            recipe=recipe,
            spec=prepared.spec,
            root=data_root().absolute(),
            hospitals=deal(
                game,
                prepared.dataset.y,
                trained_on,
                by_class=self._config.partition.method != "iid",
                rng=named_generator(seed, "reference-hospitals", str(number)),
            ),
            trained_on=trained_on,
            candidates=game.candidates,
            population=game.population,
            key=stream,
        )
        return Job(key=_key(task, prepared.dataset.sha256), payload=task)

    def _seconds_each(self, cell: CellConfig) -> float:
        """Estimate the seconds of one federation, once a cell."""
        if cell.id not in self._seconds:
            self._seconds[cell.id] = self._timed(cell)
        return self._seconds[cell.id]

    def _timed(self, cell: CellConfig) -> float:
        """Time one step on made-up records, as many federations at a time as will be trained."""
        config, schedule, dataset = self._config, cell.schedule, self._prepared.dataset
        recipe = self._recipe(cell, 1.0 if cell.private else None)
        inputs = np.zeros((TRIAL, *dataset.shape), dtype=np.float32)
        module, x = trained_part(recipe.architecture.build(), inputs)
        federations = min(self._count, 16) if is_perceptron(module) else 1
        plan = recipe.local_plan(1)
        stream = NoiseStream(bytes(32))
        start = flatten(to_weights(module))
        tasks = [
            LocalTask(weights=start, records=np.arange(TRIAL), sampling=stream, noise=stream)
            for _ in range(federations * len(config.clients))
        ]
        timed = replace(plan, steps=1, sample_rate=1.0)
        fastest = math.inf
        for _ in range(3):
            began = time.perf_counter()
            for _ in train_many(module, x, np.zeros(TRIAL, dtype=np.int64), tasks, timed):
                pass
            fastest = min(fastest, time.perf_counter() - began)
        step = fastest / federations
        return schedule.rounds * schedule.local_steps * step * schedule.batch_size / TRIAL


def half_of(game: Game, seed: int, number: int) -> NDArray[np.bool_]:
    """Return which candidates a reference trains on: a random half; two make one whole.

    Args:
        game: The pool; a patient's records stay together.
        seed: Public seed.
        number: Of the reference, from 0; an odd one has the other half of the one before it.
    """
    rng = named_generator(seed, "reference-half", str(number // 2))
    units = int(game.units.max()) + 1
    chosen = np.zeros(units, dtype=np.bool_)
    chosen[rng.permutation(units)[: units // 2]] = True
    mask: NDArray[np.bool_] = chosen[game.units]
    return ~mask if number % 2 else mask


def deal(
    game: Game,
    labels: NDArray[np.int64],
    trained_on: NDArray[np.bool_],
    *,
    by_class: bool,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], ...]:
    """Spread a reference's candidates over its hospitals, which have their other records already.

    Args:
        game: The pool and the hospitals' other records.
        labels: Of the whole dataset.
        trained_on: The candidates to spread.
        by_class: Whether a candidate goes where its class is more frequent, by chance; else to the
            smallest hospital.
        rng: Decides the order, and by class also the hospital.

    Returns:
        Each hospital's records, indices into the dataset, ascending.
    """
    rest = list(game.rest.values())
    sizes = np.array([float(len(part)) for part in rest])
    classes = int(labels.max()) + 1
    counts = np.stack([np.bincount(labels[part], minlength=classes) for part in rest]) + 1e-9
    given: list[list[NDArray[np.int64]]] = [[part] for part in rest]
    chosen = np.flatnonzero(trained_on)
    ordered = chosen[np.argsort(game.units[chosen], kind="stable")]
    starts = np.flatnonzero(np.diff(game.units[ordered])) + 1
    patients = np.split(game.candidates[ordered], starts)
    for i in rng.permutation(len(patients)):
        records = patients[i]
        if by_class:
            chances = counts[:, labels[records[0]]]
            hospital = int(rng.choice(len(rest), p=chances / chances.sum()))
        else:
            hospital = int(sizes.argmin())
        sizes[hospital] += len(records)
        given[hospital].append(records)
    return tuple(np.sort(np.concatenate(parts)) for parts in given)


def _key(task: ReferenceTask, dataset: str) -> str:
    """Hash everything that shapes a reference: data, records, recipe, streams, code."""
    recipe = task.recipe
    digest = hashlib.sha256()
    for text in (
        "audit-reference/v1",
        dataset,
        recipe.architecture.name,
        repr(sorted(recipe.architecture.options.items())),
        repr((recipe.architecture.classes, recipe.architecture.input_shape)),
        recipe.schedule.model_dump_json(),
        repr((recipe.sample_rate, recipe.noise_multiplier, recipe.max_grad_norm)),
        repr((recipe.shares, recipe.seed)),
        task.key.hex(),
        weights_digest(recipe.architecture.start),
        code_digest("training"),
        version("torch"),
    ):
        digest.update(text.encode() + b"\x00")
    for array in (*task.hospitals, task.candidates, task.population):
        digest.update(f"{len(array)}|".encode() + np.asarray(array, dtype=np.int64).tobytes())
    return digest.hexdigest()
