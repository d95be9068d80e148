"""What a parcel holds comes back from a Flower message, bytes and types alike."""

import numpy as np
from flwr.app import Error, Message
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from audit.core.parcel import Parcel
from training.wire import (
    from_record,
    message_parcel,
    own_part,
    protocol_part,
    to_record,
    with_protocol,
)

NAMES = st.text("abcdefgh.|_-0", min_size=1, max_size=12).filter(
    lambda name: not name.startswith(("protocol.", "metric."))
)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False)
SCALARS = st.one_of(
    st.text(max_size=10),
    INTEGERS,
    FLOATS,
    st.binary(max_size=20),
    st.lists(st.text(max_size=5), max_size=3),
    st.lists(INTEGERS, max_size=3),
    st.lists(FLOATS, max_size=3),
    st.lists(st.binary(max_size=5), max_size=3),
)
DTYPES = st.sampled_from(["f4", "f8", "i8", "u1", "u4", "u8"]).map(np.dtype)
ARRAYS = DTYPES.flatmap(
    lambda dtype: arrays.arrays(
        dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    )
)
METRICS = st.dictionaries(NAMES.map("metric.".__add__), st.one_of(INTEGERS, FLOATS), max_size=2)
PARCELS = st.builds(
    lambda named, fields, metrics: Parcel(arrays=named, fields={**fields, **metrics}),
    st.dictionaries(NAMES, ARRAYS, max_size=3),
    st.dictionaries(NAMES, SCALARS, max_size=3),
    METRICS,
)


def same(first: Parcel, second: Parcel) -> bool:
    assert dict(first.fields) == dict(second.fields)
    assert {k: type(v) for k, v in first.fields.items()} == {
        k: type(v) for k, v in second.fields.items()
    }
    assert list(first.arrays) == list(second.arrays)
    for name, array in first.arrays.items():
        other = second.arrays[name]
        assert (array.dtype, array.shape) == (other.dtype, other.shape)
        assert array.tobytes() == other.tobytes()
    return True


@settings(derandomize=True, max_examples=150, deadline=None)
@given(PARCELS)
def test_a_parcel_survives_the_wire(parcel):
    assert same(from_record(to_record(parcel)), parcel)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(PARCELS, PARCELS)
def test_a_protocol_s_part_is_laid_beside_and_taken_apart_again(parcel, protocol):
    both = with_protocol(parcel, protocol)
    assert same(own_part(both), parcel)
    assert same(protocol_part(both), protocol)


def test_arrays_that_are_not_contiguous_survive():
    array = np.arange(12.0).reshape(3, 4).T[::2]
    assert np.array_equal(from_record(to_record(Parcel(arrays={"a": array}))).arrays["a"], array)


def test_an_error_is_a_parcel_with_its_reason():
    TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1
    request = Message(to_record(Parcel()), 7, "train")
    reply = Message(Error(code=0, reason="declined"), reply_to=request)
    assert message_parcel(reply).fields == {"error": "declined"}
