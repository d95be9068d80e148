"""Datasets in NumPy's npz files: MedMNIST's layout, and the user's own arrays. Never unpickles."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import DataError
from audit.core.fields import Field
from training.data.categories import Columns, check_categories, joined
from training.data.dataset import Dataset, Scaling
from training.data.sources import (
    class_list,
    find_file,
    integer_labels,
    naming,
    required_path,
    table_scaling,
)
from training.data.spec import DataSpec

_PARTS = ("train", "val", "test")


def load_medmnist(spec: DataSpec, root: Path) -> Dataset:
    """A MedMNIST file: train and val are the pool, test is the holdout.

    Args:
        spec: `path` is a file, or a bare name for `root/medmnist/<name>.npz`.
        root: Data root.

    Raises:
        DataError: The file is missing, damaged or not in MedMNIST's 2D single-label layout.

    Source:
        Yang et al. 2023, doi 10.1038/s41597-022-01721-8.
    """
    given = required_path(spec)
    named = [Path(given), root / given, root / "medmnist" / given]
    path = find_file(spec, named if given.endswith(".npz") else [named[2].with_suffix(".npz")])
    keys = [f"{part}_{kind}" for part in _PARTS for kind in ("images", "labels")]
    found = _read(path, keys)
    with naming(path):
        images, labels = [], []
        for part in _PARTS:
            y = found[f"{part}_labels"]
            if y.ndim == 2 and y.shape[1] == 1:
                y = y[:, 0]
            if y.ndim != 1:
                raise DataError(
                    f"{part}_labels has shape {y.shape}, expected (records,) or (records, 1): "
                    "one class a record"
                )
            x = _images(found[f"{part}_images"], f"{part}_images")
            if len(x) != len(y):
                raise DataError(
                    f"{part}_images has {len(x)} records, expected {len(y)}: one per label"
                )
            images.append(x)
            labels.append(integer_labels(y, f"{part}_labels"))
        shapes = {x.shape[1:] for x in images}
        if len(shapes) > 1:
            raise DataError(f"images have shapes {sorted(shapes)}, expected one shape")
        y = np.concatenate(labels)
        classes, class_names = class_list(spec, y)
        x = np.concatenate(images)
        return Dataset(
            name=f"medmnist-{path.stem}",
            x=x,
            y=y,
            classes=classes,
            class_names=class_names,
            scale=_image_scaling(spec, x),
            holdout=np.repeat([False, False, True], [len(part) for part in labels]),
            public=bool(spec.public),
        )


def load_npz(spec: DataSpec, root: Path) -> Dataset:
    """The user's arrays: x, y and, where present, patient, site and features (column names).

    Args:
        spec: `patient` and `site` name the arrays of identifiers, `patient` and `site` unless
            given. Tables need `ranges` or `value_range` and may have `categories`, whose values are
            written as numbers without trailing zeros; images that are not uint8 need `value_range`.
        root: Data root, for a path that is not found as given.

    Raises:
        DataError: The file is missing, damaged, or an array is not as described.
    """
    given = required_path(spec)
    path = find_file(spec, [Path(given), root / given])
    ids = {"patients": spec.patient or "patient", "sites": spec.site or "site"}
    wanted = [key for key in (spec.patient, spec.site, *spec.subgroups) if key is not None]
    found = _read(path, ["x", "y", *wanted], optional=[*ids.values(), "features"])
    with naming(path):
        raw, y = found["x"], found["y"]
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            raise DataError(f"y has shape {y.shape}, expected (records,): one class a record")
        y = integer_labels(y, "y")
        features: tuple[str, ...] | None = None
        fields: tuple[Field, ...] = ()
        if raw.ndim == 2:
            names = found.get("features", np.arange(raw.shape[1]))
            table = _columns(spec, _numeric(raw, "x"), tuple(str(n) for n in names.ravel()))
            x, features, fields = table.x, table.names, table.fields
            scale = table_scaling(spec, features, table.ranges)
        else:
            if spec.categories:
                raise DataError("categories are given, but the records are images")
            x = _images(raw, "x")
            scale = _image_scaling(spec, x)
        classes, class_names = class_list(spec, y)
        return Dataset(
            name=path.stem,
            x=x,
            y=y,
            classes=classes,
            class_names=class_names,
            scale=scale,
            patients=found.get(ids["patients"]),
            sites=found.get(ids["sites"]),
            subgroups={name: found[name] for name in spec.subgroups},
            public=bool(spec.public),
            features=features,
            fields=fields,
        )


def _read(path: Path, keys: list[str], optional: list[str] | None = None) -> dict[str, Any]:
    """The named arrays of an npz file."""
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"{path}: {path.stat().st_size} bytes that are no zip archive, expected an npz file; "
            "it may be truncated"
        )
    key = "archive"
    arrays: dict[str, Any] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in keys if name not in archive.files]
            if missing:
                raise DataError(
                    f"{path}: array {', '.join(map(repr, missing))} is missing, "
                    f"found {', '.join(map(repr, sorted(archive.files))) or 'none'}"
                )
            for key in dict.fromkeys(keys + (optional or [])):
                if key in archive.files:
                    arrays[key] = archive[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: array {key!r} cannot be read ({error}), expected plain arrays; "
            "the file is damaged or holds pickled objects"
        ) from error
    return arrays


def _numeric(values: NDArray[Any], field: str) -> NDArray[np.float32]:
    if values.dtype.kind not in "biuf":
        raise DataError(f"{field} has dtype {values.dtype}, expected numbers")
    with np.errstate(over="ignore"):  # too large for float32 becomes inf, which Dataset refuses
        return values.astype(np.float32)


def _columns(spec: DataSpec, x: NDArray[np.float32], names: tuple[str, ...]) -> Columns:
    """A table's columns, with a column for each category of those that hold categories."""
    if not spec.categories:
        return Columns(x=x, names=names, fields=(), ranges={})
    if len(names) != x.shape[1] or len(set(names)) != len(names):
        raise DataError(f"features has {len(names)} names, expected {x.shape[1]} distinct ones")
    lists = check_categories(spec, names)
    by_name = dict(zip(names, x.T, strict=True))
    texts = {name: [f"{value:.10g}" for value in by_name[name].tolist()] for name in lists}
    return joined(names, by_name, texts, lists)


def _images(values: NDArray[Any], field: str) -> NDArray[Any]:
    """Images as (records, channels, height, width), uint8 kept, other numbers as float32."""
    x = values if values.dtype == np.uint8 else _numeric(values, field)
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4:
        first, last = x.shape[1] in (1, 3), x.shape[3] in (1, 3)
        if first != last:
            return x if first else np.ascontiguousarray(np.moveaxis(x, 3, 1))
    raise DataError(
        f"{field} has shape {values.shape}, expected (records, height, width), "
        "(records, height, width, 1 or 3) or (records, 1 or 3, height, width)"
    )


def _image_scaling(spec: DataSpec, x: NDArray[Any]) -> Scaling:
    if spec.value_range is not None:
        return Scaling.to_unit_range(float(spec.value_range[0]), float(spec.value_range[1]))
    if x.dtype != np.uint8:
        raise DataError(
            "images are not uint8 and value_range is not given, expected value_range: [low, high], "
            "public and known beforehand: a range fitted on hospitals' records is not free under "
            "differential privacy"
        )
    return Scaling.to_unit_range(0.0, 255.0)
