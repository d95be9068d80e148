"""What to load: the loader's own description of a dataset, free of the configuration's format."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

DATASETS: Final = (
    "digits",
    "mislabelled_digits",
    "breast_cancer",
    "coin_table",
    "mnist",
    "medmnist",
    "npz",
    "csv",
)


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """A dataset by source, and what the user states about it.

    Args:
        name: One of `DATASETS`.
        path: File of medmnist, npz and csv, looked up as given and then below the data root; for
            medmnist also a bare name such as `pneumoniamnist`.
        label: Label column of a csv.
        patient: Patient column of a csv or array of an npz (there `patient` is found unasked).
        site: Hospital column of a csv or array of an npz (there `site` is found unasked).
        subgroups: Columns of a csv or arrays of an npz by which records are grouped.
        classes: Number of classes; None: the highest label plus one.
        class_names: Names of the classes; needed where a csv has text labels.
        public: Whether showing records is harmless; None: the source's default, which is no for
            medmnist, npz and csv.
        ranges: Public plausible (low, high) of each feature of a table, in the feature's unit.
        categories: Public list of the categories of each categorical column of a csv or npz table;
            it becomes a column for each category (one-hot).
        value_range: Public (low, high) for every value that `ranges` does not name; None means
            (0, 255) for 8-bit images and is an error for all else.
    """

    name: str
    path: str | None = None
    label: str = "label"
    patient: str | None = None
    site: str | None = None
    subgroups: tuple[str, ...] = ()
    classes: int | None = None
    class_names: tuple[str, ...] | None = None
    public: bool | None = None
    ranges: Mapping[str, tuple[float, float]] | None = None
    value_range: tuple[float, float] | None = None
    categories: Mapping[str, tuple[str, ...]] | None = None
