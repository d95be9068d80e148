"""Partitions are disjoint, cover all records, leave no client empty and keep patients whole."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.core.errors import ConfigError
from training.data.partition import partition

LABELS = st.lists(st.integers(0, 4), min_size=12, max_size=80).map(np.array)
METHODS = ["iid", "dirichlet", "pathological"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(
    y=LABELS,
    options=st.fixed_dictionaries(
        {
            "clients": st.integers(1, 6),
            "method": st.sampled_from(METHODS),
            "alpha": st.sampled_from([1e-300, 1e-3, 0.1, 1.0, 1e6]),
            "shards_per_client": st.just(2),
        }
    ),
    patients=st.one_of(st.none(), st.integers(12, 30)),
    seed=st.integers(0, 99),
)
@settings(derandomize=True, deadline=None, max_examples=150)
def test_every_record_lies_at_exactly_one_client_and_patients_stay_whole(
    y, options, patients, seed
):
    # The first twelve records are of twelve patients: enough for two shards at each of six clients.
    groups = None if patients is None else np.arange(len(y)) * 7 % patients
    if groups is not None:
        groups[:12] = np.arange(12)
    parts = partition(y, groups, rng=rng(seed), **options)
    assert len(parts) == options["clients"]
    assert all(len(part) and part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(y)))
    if groups is not None:
        seen = [set(groups[part].tolist()) for part in parts]
        assert sum(map(len, seen)) == len(set(groups.tolist()))
    again = partition(y, groups, rng=rng(seed), **options)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))


@given(y=LABELS, sites=st.integers(1, 5))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_sites_become_clients_in_sorted_order(y, sites):
    names = np.array([f"site {i % sites}" for i in range(len(y))])
    parts = partition(y, clients=sites, method="site", sites=names, rng=rng())
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(part, np.flatnonzero(names == f"site {i}"))


def test_iid_parts_are_equal_and_alike():
    y = np.repeat([0, 1, 2], 3000)
    for part in partition(y, clients=3, rng=rng()):
        assert len(part) == 3000
        # 3000 draws, a third of each class: six standard deviations of a hypergeometric count.
        assert np.abs(np.bincount(y[part]) - 1000).max() < 6 * np.sqrt(3000 * 2 / 9 * 2 / 3)


def test_dirichlet_is_skewed_at_a_low_alpha_and_even_at_a_high_one():
    y = np.repeat(np.arange(10), 300)

    def largest_share(alpha: float) -> float:
        parts = partition(y, clients=5, method="dirichlet", alpha=alpha, rng=rng(1))
        assert {len(part) for part in parts} == {600}
        return max(float(np.bincount(y[part], minlength=10).max()) / 600 for part in parts)

    assert largest_share(1e-6) >= 0.5
    assert largest_share(1e6) < 0.16


def test_dirichlet_mixtures_follow_the_distribution_of_the_paper():
    # The first client draws from Dir(alpha * prior): share k has mean p and variance
    # p (1 - p) / (alpha + 1), plus the multinomial part p (1 - p) / n of the draw itself.
    y = np.repeat([0, 1], [4000, 16000])
    alpha, clients = 3.0, 20  # 1000 of 20,000 records: running out plays no part
    shares = []
    for seed in range(400):
        parts = partition(y, clients=clients, method="dirichlet", alpha=alpha, rng=rng(seed))
        shares.append(float((y[parts[0]] == 0).mean()))
    variance = 0.2 * 0.8 / (alpha + 1)
    assert abs(np.mean(shares) - 0.2) < 4 * np.sqrt(variance / 400)
    assert 0.75 < np.var(shares) / variance < 1.3


def test_pathological_clients_see_few_classes():
    y = rng(3).permutation(np.repeat(np.arange(10), 60))
    parts = partition(y, clients=10, method="pathological", shards_per_client=2, rng=rng())
    assert all(len(part) == 60 and len(set(y[part].tolist())) <= 2 for part in parts)


def test_a_patient_counts_with_its_most_frequent_class():
    # Patient 0: mostly class 1; patients 1 and 2 tie or are pure; sorted by class 0 1 | 1 1.
    groups = np.array([0, 0, 0, 1, 1, 2, 3])
    y = np.array([0, 1, 1, 0, 1, 1, 1])
    parts = partition(y, groups, clients=4, method="pathological", shards_per_client=1, rng=rng())
    assert sorted(tuple(sorted(set(groups[part].tolist()))) for part in parts) == [
        (0,), (1,), (2,), (3,)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clients": 7}, "7 clients for 6 records"),
        ({"clients": 4, "groups": np.array([0, 0, 1, 1, 2, 2])}, "4 clients for 3 patients"),
        ({"clients": 0}, "clients is 0"),
        ({"clients": 2, "method": "random"}, "method is 'random', expected one of iid"),
        ({"clients": 2, "method": "dirichlet"}, "alpha is None"),
        ({"clients": 2, "method": "dirichlet", "alpha": 0.0}, "alpha is 0.0"),
        ({"clients": 2, "method": "dirichlet", "alpha": np.nan}, "alpha is nan"),
        ({"clients": 2, "method": "pathological"}, "shards_per_client is None"),
        (
            {"clients": 2, "method": "pathological", "shards_per_client": 4},
            "2 clients with 4 shards each need 8 records, found 6",
        ),
        ({"clients": 2, "method": "site"}, "no sites"),
        ({"clients": 2, "method": "site", "sites": np.arange(3)}, r"sites of shape \(3,\)"),
        ({"clients": 2, "method": "site", "sites": np.arange(6) % 3}, "2 clients for 3 sites"),
        (
            {
                "clients": 2,
                "method": "site",
                "sites": np.array([0, 1, 0, 1, 0, 1]),
                "groups": np.array([0, 0, 1, 2, 3, 4]),
            },
            "1 patients have records at more than one site",
        ),
        ({"clients": 2, "groups": np.arange(5)}, r"groups have shape \(5,\)"),
    ],
)
def test_what_cannot_be_partitioned_is_refused_with_numbers(options, message):
    with pytest.raises(ConfigError, match=message):
        partition(np.array([0, 1, 0, 1, 0, 1]), rng=rng(), **options)


def test_no_records_are_refused():
    with pytest.raises(ConfigError, match="with records"):
        partition(np.zeros(0, np.int64), clients=1, rng=rng())


def test_data_modules_import_without_torch_pandas_and_scikit_learn():
    code = (
        "import sys, training.data.loaders, training.data.partition, training.data.split;"
        "bad = {'torch', 'torchvision', 'pandas', 'sklearn'} & set(sys.modules);"
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
