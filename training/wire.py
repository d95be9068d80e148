"""Parcels as Flower messages: the only place that knows the layout of a record dict."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from audit.core.parcel import Parcel, Scalar

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
PROTOCOL = "protocol."
METRIC = "metric."


def to_record(parcel: Parcel) -> RecordDict:
    """Pack a parcel; fields named ``metric.*`` become Flower's metric record."""
    metrics = {k.removeprefix(METRIC): v for k, v in parcel.fields.items() if k.startswith(METRIC)}
    config = {k: v for k, v in parcel.fields.items() if not k.startswith(METRIC)}
    record = RecordDict(
        {
            ARRAYS: ArrayRecord(
                {k: Array(np.asarray(v, order="C")) for k, v in parcel.arrays.items()}
            ),
            CONFIG: ConfigRecord(cast(Any, config)),
        }
    )
    if metrics:
        record[METRICS] = MetricRecord(cast(Any, metrics))
    return record


def from_record(record: RecordDict) -> Parcel:
    """Unpack what ``to_record`` packed."""
    arrays = {name: array.numpy() for name, array in record.array_records[ARRAYS].items()}
    fields: dict[str, Scalar] = dict(cast(Mapping[str, Scalar], record.config_records[CONFIG]))
    for name, value in record.metric_records.get(METRICS, {}).items():
        fields[METRIC + name] = value
    return Parcel(arrays=arrays, fields=fields)


def with_protocol(parcel: Parcel, protocol: Parcel) -> Parcel:
    """Lay a protocol's part beside a parcel."""
    return Parcel(
        arrays={**parcel.arrays, **{PROTOCOL + k: v for k, v in protocol.arrays.items()}},
        fields={**parcel.fields, **{PROTOCOL + k: v for k, v in protocol.fields.items()}},
    )


def protocol_part(parcel: Parcel) -> Parcel:
    """Return what ``with_protocol`` laid beside it."""
    return Parcel(
        arrays=_only(parcel.arrays),
        fields=_only(parcel.fields),
    )


def own_part(parcel: Parcel) -> Parcel:
    """Return the parcel without the protocol's part."""
    return Parcel(
        arrays={k: v for k, v in parcel.arrays.items() if not k.startswith(PROTOCOL)},
        fields={k: v for k, v in parcel.fields.items() if not k.startswith(PROTOCOL)},
    )


def message_parcel(message: Message) -> Parcel:
    """Return a message's content as a parcel; an error as its reason."""
    if message.has_error():
        return Parcel(fields={"error": str(message.error.reason)})
    return from_record(message.content)


def _only(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(PROTOCOL): v for k, v in mapping.items() if k.startswith(PROTOCOL)}
