"""Naming a sensitive attribute, and where its categories part."""

import numpy as np
import pytest

from audit.core.attributes import SensitiveAttribute
from audit.core.errors import ConfigError
from audit.core.loading import load_config
from audit.pipeline.prepare import prepare
from training.data.dataset import Dataset, Scaling
from training.data.sensitive import sensitive_attribute

ALL = np.arange(6)


def table(column: list[float]) -> Dataset:
    return Dataset(
        name="wards",
        x=np.column_stack([np.arange(6), column]).astype(np.float32),
        y=np.zeros(6, dtype=np.int64),
        classes=2,
        class_names=("a", "b"),
        scale=Scaling.to_unit_range((0.0, 0.0), (10.0, 10.0)),
        features=("age", "smoker"),
    )


@pytest.mark.parametrize("named", ["smoker", 1])
def test_a_feature_is_found_by_name_and_by_index_and_split_at_the_median(named):
    data = table([1, 2, 3, 4, 5, 6])
    found = sensitive_attribute(named, data, ALL)
    assert found is not None
    assert (found.name, found.column) == ("smoker", 1)
    assert found.categories(data.inputs(ALL)).tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("column", "expected"),
    [([0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]), ([0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1])],
)
def test_a_yes_or_no_column_is_split_between_its_values_whatever_the_majority(column, expected):
    data = table(column)
    found = sensitive_attribute("smoker", data, ALL)
    assert found is not None
    assert found.categories(data.inputs(ALL)).tolist() == expected


def test_only_the_population_sets_the_threshold():
    one, other = table([1, 2, 3, 4, 5, 6]), table([1, 2, 3, 4, 9, 9])
    first, second = (sensitive_attribute("smoker", data, ALL[:4]) for data in (one, other))
    assert first == second


@pytest.mark.parametrize(
    ("named", "column", "message"),
    [
        ("weight", [1, 2, 3, 4, 5, 6], "'weight': expected a feature of wards: age, smoker"),
        (2, [1, 2, 3, 4, 5, 6], "sensitive 2: expected an index from 0 to 1"),
        (-1, [1, 2, 3, 4, 5, 6], "sensitive -1: expected an index"),
        ("smoker", [1] * 6, "show 1 values of it, expected at least 2"),
    ],
)
def test_an_attribute_that_does_not_exist_is_refused(named, column, message):
    with pytest.raises(ConfigError, match=message):
        sensitive_attribute(named, table(column), ALL)


def test_images_have_no_sensitive_attribute():
    with pytest.raises(ConfigError, match=r"data\.sensitive 3: the records of digits are images"):
        prepare(load_config("smoke", ["data.sensitive=3"]))


def test_yes_is_no_index():
    with pytest.raises(ConfigError, match="sensitive"):
        load_config("breast_cancer", ["data.sensitive=true"])


def test_an_attribute_survives_a_parcel_and_missing_values_are_refused():
    one = SensitiveAttribute(name="smoker", column=1, threshold=0.1)
    assert SensitiveAttribute.of_fields(one.fields()) == one
    assert SensitiveAttribute.of_fields({"ids": []}) is None
    with pytest.raises(ValueError, match="'smoker' is missing in 1 records"):
        one.categories(np.array([[0.0, np.nan], [0.0, 1.0]]))
