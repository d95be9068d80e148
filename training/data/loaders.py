"""The one door to datasets: a name to its loader. Sources lie in files of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from audit.core.errors import ConfigError
from training.data.arrays import load_medmnist, load_npz
from training.data.builtin import (
    load_breast_cancer,
    load_coin_table,
    load_digits,
    load_mislabelled_digits,
)
from training.data.dataset import Dataset
from training.data.mnist import load_mnist
from training.data.spec import DATASETS, DataSpec
from training.data.table import load_csv

_LOADERS: Final[dict[str, Callable[[DataSpec, Path], Dataset]]] = {
    "digits": load_digits,
    "mislabelled_digits": load_mislabelled_digits,
    "breast_cancer": load_breast_cancer,
    "coin_table": load_coin_table,
    "medmnist": load_medmnist,
    "npz": load_npz,
    "csv": load_csv,
}

WITH_CATEGORIES: Final = ("npz", "csv")
"""Sources whose columns may hold categories that the user lists."""


def load_dataset(spec: DataSpec, root: Path, download: bool = False) -> Dataset:
    """Load a dataset by name; never touches the network unless asked to.

    Args:
        spec: Which dataset, and what the user states about it.
        root: Data root ($AUDIT_DATA or ./data).
        download: Whether missing MNIST files may be fetched; the other sources have no download.

    Returns:
        The checked dataset, raw values and public scaling.

    Raises:
        ConfigError: The name is unknown, or such a source has no categories.
        DataError: A file is missing, damaged or not of the shape expected.
    """
    if spec.categories and spec.name not in WITH_CATEGORIES:
        raise ConfigError(
            f"data.categories of {spec.name}: expected a table of the user's own "
            f"({', '.join(WITH_CATEGORIES)})"
        )
    if spec.name == "mnist":
        return load_mnist(spec, root, download=download)
    if spec.name not in _LOADERS:
        raise ConfigError(f"dataset name is {spec.name!r}, expected one of {', '.join(DATASETS)}")
    return _LOADERS[spec.name](spec, root)
