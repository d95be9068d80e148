"""The victims of probes: whose records are used, and the records among which they are looked for.

The pool is known to every adversary and does not say which of its records are victims: it holds
those of all probes and, of each class, as many other records of the dataset, shuffled. A victim is
then held against decoys of its own class that are not in the same probe, are not of the same
patient, and are no near-duplicates of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.config import Config
from audit.core.errors import ConfigError
from audit.core.parcel import Parcel
from audit.core.randomness import named_generator
from training.data.dataset import Dataset
from training.plan import probe_sessions

DECOYS = 99
"""With the true record they make a hundred."""

SPARE = 41
"""More records of each class: near-duplicates and those of the same patient are left out."""

NEAR = 0.1
"""A record is a near-duplicate below this part of the median distance in its class."""


@dataclass(frozen=True, kw_only=True)
class Victims:
    """The records that the probes use, and those among which they are looked for.

    Args:
        probes: Hospital to probe session to its records, indices into the dataset.
        pool: Indices into the dataset, shuffled, shape (pool,); empty without probes.
        decoys: Index into the dataset of a victim to its decoys, places in the pool, at most 99.
    """

    probes: Mapping[str, Mapping[str, list[int]]]
    pool: NDArray[np.int64]
    decoys: Mapping[int, NDArray[np.int64]]

    def shown(self, dataset: Dataset) -> Parcel:
        """Return the pool as every adversary has it."""
        return Parcel(arrays={"inputs": dataset.inputs(self.pool), "labels": dataset.y[self.pool]})

    def truth(self, dataset: Dataset) -> Parcel:
        """Return the victims' records as scoring needs them.

        Arrays ``<session>|<client>|...``: ``inputs`` and ``labels``; ``places`` of the records in
        the pool, shape (records,); ``decoys`` there, shape (records, 99), -1 where there are fewer.
        """
        arrays: dict[str, NDArray[np.generic]] = {}
        places = {int(record): place for place, record in enumerate(self.pool)}
        for client, sessions in self.probes.items():
            for session, records in sessions.items():
                name = f"{session}|{client}"
                found = np.full((len(records), DECOYS), -1, dtype=np.int64)
                for row, record in zip(found, records, strict=True):
                    row[: len(self.decoys[record])] = self.decoys[record]
                arrays[f"{name}|inputs"] = dataset.inputs(records)
                arrays[f"{name}|labels"] = dataset.y[records]
                arrays[f"{name}|places"] = np.array([places[r] for r in records], dtype=np.int64)
                arrays[f"{name}|decoys"] = found
        low, high = dataset.scale.output_range
        return Parcel(arrays=arrays, fields={"range": [low, high]})


def choose_victims(
    config: Config, dataset: Dataset, parts: Mapping[str, NDArray[np.int64]]
) -> Victims:
    """Choose each probe's records; no record is in two probes, so one probe is what it costs.

    Args:
        config: The whole configuration.
        dataset: The records.
        parts: Hospital to its records.

    Raises:
        ConfigError: A hospital has too few records.
    """
    sessions = probe_sessions(config.probes)
    needed = sum(session.records for session in sessions)
    probes: dict[str, dict[str, list[int]]] = {}
    for client, part in parts.items():
        if needed > len(part):
            raise ConfigError(
                f"probes: {needed} records a hospital asked for, but {client} has {len(part)}: "
                "expected fewer rounds, sizes or repeats"
            )
        chosen = named_generator(config.seed, "probes", client).permutation(part)
        start, mine = 0, {}
        for session in sessions:
            mine[session.name] = [int(i) for i in chosen[start : start + session.records]]
            start += session.records
        probes[client] = mine
    pool = _pool(config, dataset, probes)
    return Victims(probes=probes, pool=pool, decoys=_decoys(dataset, probes, pool))


def _pool(
    config: Config, dataset: Dataset, probes: Mapping[str, Mapping[str, list[int]]]
) -> NDArray[np.int64]:
    """Return the victims and other records of their classes, shuffled."""
    victims = np.array(sorted({r for one in probes.values() for s in one.values() for r in s}))
    if not len(victims):
        return np.zeros(0, dtype=np.int64)
    rng = named_generator(config.seed, "pool")
    others = np.setdiff1d(np.arange(len(dataset.y)), victims)
    chosen = [victims]
    for label in np.unique(dataset.y[victims]):
        chosen.append(rng.permutation(others[dataset.y[others] == label])[: DECOYS + SPARE])
    return rng.permutation(np.concatenate(chosen))


def _decoys(
    dataset: Dataset, probes: Mapping[str, Mapping[str, list[int]]], pool: NDArray[np.int64]
) -> dict[int, NDArray[np.int64]]:
    """Return the decoys of each victim, in the pool's order, which is random."""
    together: dict[str, set[int]] = {}
    for sessions in probes.values():
        for session, records in sessions.items():
            together.setdefault(session, set()).update(records)
    if not len(pool):
        return {}
    labels, inputs = dataset.y[pool], dataset.inputs(pool).reshape(len(pool), -1)
    found: dict[int, NDArray[np.int64]] = {}
    for mates in together.values():
        for record in mates:
            same = np.flatnonzero((labels == dataset.y[record]) & ~np.isin(pool, list(mates)))
            own = dataset.inputs([record]).reshape(-1)
            distance = np.sqrt(((inputs[same] - own) ** 2).sum(axis=1))
            apart = distance >= NEAR * np.median(distance) if len(same) else distance > 0
            if dataset.patients is not None:
                apart &= dataset.patients[pool[same]] != dataset.patients[record]
            found[record] = same[apart][:DECOYS]
    return found
