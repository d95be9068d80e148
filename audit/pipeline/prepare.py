"""From a configuration to data, split, hospitals, candidates and probe victims."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.core.config import Config
from audit.core.randomness import named_generator
from audit.pipeline.game import Game, make_game
from audit.pipeline.victims import Victims, choose_victims
from training.data.configured import data_root, data_spec
from training.data.dataset import Dataset
from training.data.loaders import load_dataset
from training.data.partition import partition
from training.data.spec import DataSpec
from training.data.split import Split, split


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything about data that a run needs before training.

    Args:
        spec: How to load the dataset again.
        dataset: The dataset.
        split: Members pool, held-out records, auxiliary records.
        parts: Hospital to its records.
        victims: The records that the probes use, and those among which they are looked for.
        game: Candidates and truth.
    """

    spec: DataSpec
    dataset: Dataset
    split: Split
    parts: Mapping[str, NDArray[np.int64]]
    victims: Victims
    game: Game


def ledger_root() -> Path:
    """Return where hospitals keep their ledgers: ``$AUDIT_LEDGER``, else ``./ledger``."""
    return _SCRATCH.get() or Path(os.environ.get("AUDIT_LEDGER") or "ledger")


@contextmanager
def scratch_ledgers(folder: Path) -> Iterator[None]:
    """Keep ledgers elsewhere for a while: where no patient's record is trained on."""
    token = _SCRATCH.set(folder)
    try:
        yield
    finally:
        _SCRATCH.reset(token)


_SCRATCH: ContextVar[Path | None] = ContextVar("scratch_ledgers", default=None)


def prepare(config: Config, *, download: bool = False) -> Prepared:
    """Load, split and spread the data of a configuration.

    Args:
        config: The whole configuration.
        download: Whether missing MNIST files may be fetched.

    Raises:
        DataError: A file is missing or damaged.
        ConfigError: The data cannot serve so many hospitals or probes.
    """
    spec = data_spec(config.data)
    dataset = load_dataset(spec, data_root(), download)
    divided = split(
        dataset,
        holdout_fraction=config.data.holdout_fraction,
        auxiliary_fraction=config.data.auxiliary_fraction,
        validation_fraction=config.data.validation_fraction,
        withheld=config.data.withheld,
        rng=named_generator(config.seed, "split"),
    )
    parts = _parts(config, dataset, divided)
    return Prepared(
        spec=spec,
        dataset=dataset,
        split=divided,
        parts=parts,
        victims=choose_victims(config, dataset, parts),
        game=make_game(config, dataset, divided, parts),
    )


def class_counts(prepared: Prepared) -> dict[str, NDArray[np.int64]]:
    """Return how many records of each class each hospital has, for the vault."""
    dataset = prepared.dataset
    return {
        client: np.bincount(dataset.y[part], minlength=dataset.classes)
        for client, part in prepared.parts.items()
    }


def split_record(prepared: Prepared) -> dict[str, object]:
    """Return the split and partition as indices, for the vault."""
    return {
        "dataset": prepared.dataset.name,
        "sha256": prepared.dataset.sha256,
        "holdout": prepared.split.holdout.tolist(),
        "nonmembers": prepared.split.nonmembers.tolist(),
        "auxiliary": prepared.split.auxiliary.tolist(),
        "hospitals": {client: part.tolist() for client, part in prepared.parts.items()},
    }


def _parts(config: Config, dataset: Dataset, divided: Split) -> dict[str, NDArray[np.int64]]:
    pool = divided.members_pool
    spread = partition(
        dataset.y[pool],
        None if dataset.patients is None else dataset.patients[pool],
        clients=config.partition.clients,
        method=config.partition.method,
        alpha=config.partition.alpha,
        shards_per_client=config.partition.shards_per_client,
        sites=None if dataset.sites is None else dataset.sites[pool],
        rng=named_generator(config.seed, "partition"),
    )
    return {client: pool[part] for client, part in zip(config.clients, spread, strict=True)}
