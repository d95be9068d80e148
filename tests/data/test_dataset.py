"""The checks, the public scaling and the digest of a dataset."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from audit.core.errors import DataError
from training.data.dataset import Dataset, Scaling
from training.data.groups import LargestGroup, largest_group


def table(**changes: object) -> Dataset:
    fields: dict[str, object] = {
        "name": "t",
        "x": np.arange(8, dtype=np.float32).reshape(4, 2),
        "y": np.array([0, 1, 0, 1]),
        "classes": 2,
        "class_names": ("a", "b"),
        "scale": Scaling.to_unit_range((0.0, 0.0), (10.0, 100.0)),
        "features": ("age", "dose"),
    }
    return Dataset(**{**fields, **changes})  # type: ignore[arg-type]


def test_inputs_are_scaled_by_public_constants_and_clipped():
    data = table(x=np.array([[0, 100], [5, 50], [20, -9], [10, 0]], dtype=np.float32))
    np.testing.assert_allclose(data.inputs([0, 1, 2]), [[-1, 1], [0, 0], [1, -1]], atol=1e-7)
    assert data.inputs(slice(1, 3)).dtype == np.float32
    assert data.shape == (2,)
    assert data.scale.output_range == (-1.0, 1.0)


@given(hnp.arrays(np.float32, (5, 2), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_scaled_values_never_leave_the_public_range(x):
    scaled = Scaling.to_unit_range((-3.0, 0.1), (7.0, 0.3)).apply(x)
    assert np.abs(scaled).max() <= 1 + 1e-6


def test_scaling_one_record_does_not_depend_on_the_others():
    data = table()
    np.testing.assert_array_equal(data.inputs([2]), data.inputs([0, 1, 2, 3])[2:3])


def test_arrays_are_read_only_and_the_callers_stay_writable():
    y = np.array([0, 1, 0, 1])
    data = table(y=y)
    with pytest.raises(ValueError, match="read-only"):
        data.y[0] = 1
    y[0] = 1


def test_digest_covers_records_labels_identifiers_and_their_types():
    base = table()
    changed = base.x.copy()
    changed[3, 1] += 1
    others = [
        table(x=changed),
        table(y=np.array([0, 1, 1, 1])),
        table(patients=np.array([1, 2, 3, 4])),
        table(sites=np.array([1, 2, 3, 4])),
        table(patients=np.array(["1", "2", "3", "4"])),
    ]
    assert base.sha256 == table(name="other", public=True).sha256
    assert len({base.sha256, *(other.sha256 for other in others)}) == 1 + len(others)
    image = Dataset(
        name="i",
        x=np.zeros((2, 1, 4, 4), np.uint8),
        y=np.array([0, 1]),
        classes=2,
        class_names=("0", "1"),
        scale=Scaling.to_unit_range(0.0, 255.0),
    )
    assert image.sha256 != replace(image, x=np.zeros((2, 1, 2, 8), np.uint8)).sha256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((4, 2))}, "x has dtype float64"),
        ({"x": np.zeros((4, 2, 2), np.float32)}, r"x has shape \(4, 2, 2\)"),
        ({"x": np.zeros((0, 2), np.float32), "y": np.zeros(0, np.int64)}, "at least one record"),
        ({"x": np.full((4, 2), np.nan, np.float32)}, "x has nan in record 0, feature 'age'"),
        ({"x": np.full((4, 2), np.inf, np.float32)}, "x has inf"),
        ({"y": np.array([0, 1, 2, 1])}, "label of record 2 is 2 .* expected 0 to 1"),
        ({"y": np.array([0, 1, -1, 1])}, "label of record 2 is -1"),
        ({"y": np.array([0, 1, 0])}, r"y has shape \(3,\), expected \(4,\)"),
        ({"y": np.array([0, 1, 0, 1], np.int32)}, "y has dtype int32"),
        ({"classes": 1}, "classes is 1"),
        ({"class_names": ("a",)}, "class_names has 1"),
        ({"features": ("age",)}, "features names 1 columns"),
        ({"holdout": np.zeros(4)}, "holdout has dtype float64"),
        ({"holdout": np.zeros(3, bool)}, "holdout has shape"),
        ({"patients": np.arange(3)}, "patients has shape"),
        ({"patients": np.array([0.0, 1, 2, np.nan])}, "patients has dtype float64"),
        ({"sites": np.array(["a", None, "b", "c"], object)}, "sites has dtype object"),
        ({"scale": Scaling.to_unit_range((0.0,) * 3, (1.0,) * 3)}, "constants for 3 features"),
    ],
)
def test_a_field_that_is_not_as_described_is_refused_by_name(changes, message):
    with pytest.raises(DataError, match=message):
        table(**changes)


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ((0.0, 1.0, 1.0, 1.0), "low < high"),
        ((0.0, 0.0, 0.0, 1.0), "divisor"),
        ((np.nan, 1.0, 0.0, 1.0), "offset is nan"),
        ((0.0, 1.0, 0.0, np.inf), "high is inf"),
    ],
)
def test_scaling_refuses_constants_that_scale_nothing(constants, message):
    offset, divisor, low, high = constants
    with pytest.raises(DataError, match=message):
        Scaling(offset=offset, divisor=divisor, low=low, high=high)


def test_a_patients_records_are_told_by_identifiers_or_by_being_identical():
    x = np.array([[1, 2], [1, 2], [3, 4], [1, 2]], dtype=np.float32)
    told = LargestGroup(records=3, told_by="identical records")
    assert largest_group(table(x=x)) == told
    named = table(x=x, patients=np.array(["a", "b", "c", "c"]))
    assert largest_group(named) == LargestGroup(records=2, told_by="patient identifiers")
    assert largest_group(table()).records == 1
