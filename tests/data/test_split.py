"""Splits keep every record in one role and every patient on one side."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from audit.core.errors import ConfigError, DataError
from training.data.dataset import Dataset, Scaling
from training.data.split import split


def data(y: NDArray[np.int64], **fields: object) -> Dataset:
    return Dataset(
        name="t",
        x=np.zeros((len(y), 1), np.float32),
        y=y,
        classes=5,
        class_names=tuple("abcde"),
        scale=Scaling.to_unit_range(0.0, 1.0),
        **fields,  # type: ignore[arg-type]
    )


def cut(
    dataset: Dataset,
    holdout: float = 0.3,
    auxiliary: float = 0.5,
    seed: int = 0,
    validation: float | None = None,
):
    return split(
        dataset,
        holdout_fraction=holdout,
        auxiliary_fraction=auxiliary,
        validation_fraction=validation,
        rng=np.random.default_rng(seed),
    )


@given(
    y=st.lists(st.integers(0, 4), min_size=20, max_size=90).map(np.array),
    patients=st.one_of(st.none(), st.integers(15, 40)),
    own_holdout=st.booleans(),
    holdout=st.floats(0.2, 0.7),
    auxiliary=st.sampled_from([0.0, 0.4, 0.6]),
)
@settings(derandomize=True, deadline=None, max_examples=200)
def test_roles_are_disjoint_cover_all_and_never_share_a_patient(
    y, patients, own_holdout, holdout, auxiliary
):
    ids = None if patients is None else np.arange(len(y)) % patients
    given_holdout = (np.arange(len(y)) if ids is None else ids) % 3 == 0
    dataset = data(y, patients=ids, holdout=given_holdout if own_holdout else None)
    parts = cut(dataset, holdout, auxiliary)
    together = np.concatenate([parts.members_pool, parts.nonmembers, parts.auxiliary])
    np.testing.assert_array_equal(np.sort(together), np.arange(len(y)))
    np.testing.assert_array_equal(
        parts.holdout, np.sort(np.concatenate([parts.nonmembers, parts.auxiliary]))
    )
    assert len(parts.members_pool) and len(parts.nonmembers)
    assert bool(len(parts.auxiliary)) == (auxiliary > 0)
    if own_holdout:
        np.testing.assert_array_equal(parts.holdout, np.flatnonzero(given_holdout))
    if ids is not None:
        roles = (parts.members_pool, parts.nonmembers, parts.auxiliary)
        seen = [set(ids[role].tolist()) for role in roles]
        assert sum(map(len, seen)) == len(set(ids.tolist()))
    again = cut(dataset, holdout, auxiliary)
    np.testing.assert_array_equal(parts.auxiliary, again.auxiliary)


def test_each_class_keeps_its_share():
    parts = cut(data(np.repeat([0, 1, 2], [100, 50, 10])), holdout=0.2, auxiliary=0.5)
    y = np.repeat([0, 1, 2], [100, 50, 10])
    assert np.bincount(y[parts.holdout]).tolist() == [20, 10, 2]
    assert np.bincount(y[parts.auxiliary]).tolist() == [10, 5, 1]


def test_another_generator_gives_another_split():
    dataset = data(np.repeat([0, 1], 50))
    assert cut(dataset, seed=0).holdout.tolist() != cut(dataset, seed=1).holdout.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"holdout": 0.0}, "holdout_fraction is 0.0"),
        ({"holdout": 1.0}, "holdout_fraction is 1.0"),
        ({"holdout": 0.01}, "leaves 0 records inside"),
        ({"holdout": 0.99}, "leaves 10 records inside and 0 outside"),
        ({"auxiliary": 1.0}, "auxiliary_fraction is 1.0"),
        ({"auxiliary": -0.1}, "auxiliary_fraction is -0.1"),
        ({"auxiliary": 0.01}, "auxiliary_fraction .* leaves 0 records"),
    ],
)
def test_a_fraction_that_leaves_a_side_empty_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        cut(data(np.array([0, 1] * 5)), **options)


def test_a_source_whose_holdout_shares_patients_is_refused():
    dataset = data(
        np.array([0, 1, 0, 1]),
        patients=np.array([1, 2, 2, 3]),
        holdout=np.array([False, False, True, True]),
    )
    with pytest.raises(DataError, match="1 records outside the source's holdout"):
        cut(dataset)


@pytest.mark.parametrize("own_holdout", [True, False])
@pytest.mark.parametrize("patients", [True, False])
def test_a_validation_share_takes_the_place_of_test_records_that_nobody_touches(
    own_holdout, patients
):
    y = np.tile(np.arange(5), 60)
    ids = np.arange(300) // 3 if patients else None
    mask = (np.arange(300) // 3) % 5 == 0 if own_holdout else None
    dataset = data(y, patients=ids, holdout=mask)
    tested = set(cut(dataset).holdout)
    final = set(cut(dataset).members_pool)
    tuning = cut(dataset, validation=0.25)
    used = {*tuning.members_pool, *tuning.holdout}
    assert used == final and not used & tested
    assert not set(tuning.members_pool) & set(tuning.holdout)
    assert len(tuning.holdout) == pytest.approx(0.25 * len(final), abs=2 if not patients else 6)
    if ids is not None:
        assert not set(ids[tuning.members_pool]) & set(ids[tuning.holdout])


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 0.0001])
def test_a_validation_share_that_leaves_a_side_empty_is_refused(share):
    with pytest.raises(ConfigError, match="validation_fraction"):
        cut(data(np.tile(np.arange(5), 10)), validation=share)
