"""How records are spread over hospitals; a patient's records never cross from one to another."""

from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import ConfigError
from training.data.units import Units, group_units

PartitionMethod: TypeAlias = Literal["iid", "dirichlet", "pathological", "site"]


def partition(
    y: NDArray[np.int64],
    groups: NDArray[Any] | None = None,
    *,
    clients: int,
    method: PartitionMethod = "iid",
    alpha: float | None = None,
    shards_per_client: int | None = None,
    sites: NDArray[Any] | None = None,
    rng: np.random.Generator,
) -> list[NDArray[np.int64]]:
    """Spread records over clients.

    Args:
        y: Class of each record, shape (records,).
        groups: Patient of each record, same shape; None: every record its own patient. With
            patients, methods act on patients, each of its most frequent class.
        clients: Number of hospitals.
        method: `iid` deals at random in equal parts; `dirichlet` gives each client, in equal
            parts, its own class mixture; `pathological` deals shards of records sorted by class;
            `site` follows the sites, in sorted order.
        alpha: Concentration for `dirichlet`, positive; lower is more skewed.
        shards_per_client: Shards for `pathological`.
        sites: Hospital of each record, same shape, for `site`.
        rng: Source of all randomness.

    Returns:
        One ascending array of record indices a client, none empty: disjoint, together all records.

    Raises:
        ConfigError: Fewer records, patients, shards or sites than the clients need, a patient seen
            at two sites, or an option that the method needs is missing or out of range.

    Source:
        dirichlet: Hsu et al. 2019, arXiv:1909.06335, section 3: equal parts, each client's
        mixture from Dir(alpha * prior). Where a class runs out, the rest is drawn from the mixture
        over what is left. pathological: McMahan et al. 2017, arXiv:1602.05629, section 3.

    Example:
        >>> import numpy as np
        >>> parts = partition(np.zeros(6, int), clients=3, rng=np.random.default_rng(0))
        >>> [len(part) for part in parts]
        [2, 2, 2]
    """
    if method not in get_args(PartitionMethod):
        raise ConfigError(
            f"partition method is {method!r}, expected one of "
            f"{', '.join(get_args(PartitionMethod))}"
        )
    if clients < 1:
        raise ConfigError(f"clients is {clients}, expected at least 1")
    units = group_units(y, groups)
    if len(units) < clients:
        raise ConfigError(
            f"{clients} clients for {len(units)} {units.noun}: expected at least one each"
        )
    if method == "iid":
        owner = _owners(np.array_split(rng.permutation(len(units)), clients))
    elif method == "dirichlet":
        if alpha is None or not (np.isfinite(alpha) and alpha > 0):
            raise ConfigError(f"alpha is {alpha}, expected a positive number for dirichlet")
        owner = _dirichlet(units, clients, alpha, rng)
    elif method == "pathological":
        if shards_per_client is None or shards_per_client < 1:
            raise ConfigError(
                f"shards_per_client is {shards_per_client}, expected at least 1 for pathological"
            )
        owner = _pathological(units, clients, shards_per_client, rng)
    else:
        owner = _by_site(units, clients, sites)
    return [units.records(owner == client) for client in range(clients)]


def _owners(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Client of each unit, from the units of each client."""
    owner = np.empty(sum(len(part) for part in parts), dtype=np.int64)
    for client, part in enumerate(parts):
        owner[part] = client
    return owner


def _dirichlet(
    units: Units, clients: int, alpha: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Equal parts by construction, so no client stays empty however small alpha is."""
    labels, counts = np.unique(units.classes, return_counts=True)
    queues = [rng.permutation(np.flatnonzero(units.classes == label)) for label in labels]
    left = counts.copy()
    owner = np.full(len(units), -1, dtype=np.int64)
    for client in range(clients):
        size = len(units) // clients + (client < len(units) % clients)
        mixture = rng.dirichlet(alpha * counts / counts.sum())
        while size:
            weights = np.where(left > 0, mixture, 0.0)
            if not weights.sum() > 0:  # its classes ran out, or alpha underflowed
                weights = left.astype(np.float64)
            drawn = np.minimum(rng.multinomial(size, weights / weights.sum()), left)
            for k, take in enumerate(drawn):
                start = counts[k] - left[k]
                owner[queues[k][start : start + take]] = client
            left -= drawn
            size -= int(drawn.sum())
    return owner


def _pathological(
    units: Units, clients: int, shards_per_client: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    shards = clients * shards_per_client
    if len(units) < shards:
        raise ConfigError(
            f"{clients} clients with {shards_per_client} shards each need {shards} {units.noun}, "
            f"found {len(units)}"
        )
    shuffled = rng.permutation(len(units))
    by_class = shuffled[np.argsort(units.classes[shuffled], kind="stable")]
    pieces = np.array_split(by_class, shards)
    dealt = rng.permutation(shards).reshape(clients, shards_per_client)
    return _owners([np.concatenate([pieces[shard] for shard in hand]) for hand in dealt])


def _by_site(units: Units, clients: int, sites: NDArray[Any] | None) -> NDArray[np.int64]:
    if sites is None or sites.shape != units.of_record.shape:
        found = "no sites" if sites is None else f"sites of shape {sites.shape}"
        raise ConfigError(
            f"partition by site with {found}, expected one site for each of "
            f"{len(units.of_record)} records"
        )
    names, codes = np.unique(sites, return_inverse=True)
    if len(names) != clients:
        raise ConfigError(
            f"{clients} clients for {len(names)} sites ({', '.join(str(s) for s in names[:10])}), "
            "expected one client a site"
        )
    pairs = np.unique(np.stack([units.of_record, codes], axis=1), axis=0)
    if len(pairs) != len(units):
        crossing = int((np.bincount(pairs[:, 0]) > 1).sum())
        raise ConfigError(
            f"{crossing} patients have records at more than one site, expected each at one: "
            "patient identifiers must be distinct between hospitals"
        )
    return pairs[:, 1].astype(np.int64)
