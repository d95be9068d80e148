"""The membership game of a run: who is asked about, what the adversary knows, and the truth.

The pool holds as many members as non-members, shuffled. The adversary knows the pool, the
population, and all records of the hospitals that are not in the pool, as in the definition of DP;
it does not know which half of the pool was trained on. Its reference federations train on what it
knows and on a random half of the pool.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.attributes import SensitiveAttribute
from audit.core.config import Config
from audit.core.fields import to_parcel_fields
from audit.core.parcel import Parcel
from audit.core.randomness import named_generator
from audit.vault import MembershipTruth
from training.data.dataset import Dataset
from training.data.sensitive import sensitive_attribute
from training.data.split import Split

POPULATION = 1_000
"""Most reference records that the adversary is given."""


@dataclass(frozen=True, kw_only=True)
class Game:
    """The membership game: what every adversary is shown, and the truth beside it.

    Args:
        shown: Candidates (shuffled, under pseudonyms) and population, raw, with public scaling.
        candidates: The same as indices into the dataset, shape (candidates,).
        population: Likewise, shape (population,).
        units: Patient (else record) of each candidate, numbered, shape (candidates,): in the game
            a patient's records are in or out together.
        rest: Hospital to its records that are not candidates, indices into the dataset.
        truth: For the vault.
        attribute: The sensitive attribute; None: the configuration names none.
        category: Pseudonym to that attribute's category; empty without one.
    """

    shown: Parcel
    candidates: NDArray[np.int64]
    population: NDArray[np.int64]
    units: NDArray[np.int64]
    rest: Mapping[str, NDArray[np.int64]]
    truth: MembershipTruth
    attribute: SensitiveAttribute | None
    category: Mapping[str, int]


def make_game(
    config: Config,
    dataset: Dataset,
    divided: Split,
    parts: Mapping[str, NDArray[np.int64]],
) -> Game:
    """Draw the pool from the public seed.

    Args:
        config: The whole configuration.
        dataset: The records.
        divided: Their roles.
        parts: Hospital to its records.
    """
    rng = named_generator(config.seed, "candidates")
    owner = {int(i): client for client, part in parts.items() for i in part}
    inside = np.array(sorted(owner), dtype=np.int64)
    each = min(
        len(inside),
        len(divided.nonmembers),
        config.candidates.members,
        config.candidates.nonmembers,
    )
    patients = dataset.patients
    members = _sample(rng, inside, each, patients)
    others = _sample(rng, divided.nonmembers, each, patients)
    chosen = rng.permutation(np.concatenate([members, others]))
    population = rng.permutation(divided.auxiliary)[:POPULATION]
    ids = [f"candidate-{i:06d}" for i in range(len(chosen))]
    units = np.arange(len(chosen)) if patients is None else _numbered(patients[chosen])
    asked = set(chosen.tolist())
    attribute = sensitive_attribute(config.data.sensitive, dataset, population)
    categories = () if attribute is None else attribute.categories(dataset.inputs(chosen))
    shown = Parcel(
        arrays={
            "candidates": dataset.x[chosen],
            "candidate_labels": dataset.y[chosen],
            "population": dataset.x[population],
            "population_labels": dataset.y[population],
            **{
                f"scale.{name}": np.atleast_1d(
                    np.array(getattr(dataset.scale, name), dtype=np.float64)
                )
                for name in ("offset", "divisor", "low", "high")
            },
        },
        fields={
            "ids": ids,
            "classes": dataset.classes,
            "per_feature": int(_per_feature(dataset)),
            **to_parcel_fields(dataset.fields),
            **(attribute.fields() if attribute is not None else {}),
        },
    )
    return Game(
        shown=shown,
        candidates=chosen,
        population=population,
        units=units,
        rest={client: part[[int(i) not in asked for i in part]] for client, part in parts.items()},
        truth=MembershipTruth(
            member={name: int(i) in owner for name, i in zip(ids, chosen, strict=True)},
            hospital={name: owner.get(int(i)) for name, i in zip(ids, chosen, strict=True)},
            groups={
                name: dict(zip(ids, column, strict=True))
                for name, column in _groups(dataset, chosen).items()
            },
        ),
        attribute=attribute,
        category={name: int(c) for name, c in zip(ids, categories, strict=attribute is not None)},
    )


def _groups(dataset: Dataset, chosen: NDArray[np.int64]) -> dict[str, tuple[str, ...]]:
    """Return the columns by which leakage is looked at apart."""
    columns = {"class": tuple(str(label) for label in dataset.y[chosen])}
    if dataset.sites is not None:
        columns["site"] = tuple(str(site) for site in dataset.sites[chosen])
    for name, values in dataset.subgroups.items():
        columns[name] = tuple(str(value) for value in values[chosen])
    if dataset.patients is not None:
        columns["patient"] = tuple(f"patient-{u:06d}" for u in _numbered(dataset.patients[chosen]))
    return columns


def _per_feature(dataset: Dataset) -> bool:
    return isinstance(dataset.scale.low, tuple)


def _sample(
    rng: np.random.Generator,
    indices: NDArray[np.int64],
    most: int,
    patients: NDArray[np.generic] | None,
) -> NDArray[np.int64]:
    """Draw records, whole patients at a time, until there are no fewer than ``most``."""
    if patients is None:
        return rng.permutation(indices)[:most]
    units = _numbered(patients[indices])
    order = rng.permutation(units.max() + 1)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    ordered = np.argsort(place[units], kind="stable")
    last = units[ordered[min(most, len(ordered)) - 1]]
    drawn: NDArray[np.int64] = indices[place[units] <= place[last]]
    return drawn


def _numbered(values: NDArray[np.generic]) -> NDArray[np.int64]:
    """Number distinct values from 0 in the order in which they appear."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    numbered: NDArray[np.int64] = rank[inverse]
    return numbered
