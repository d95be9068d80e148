"""The dataset that a configuration names: description, place of its files, one copy a process."""

import os
from functools import lru_cache
from pathlib import Path

from audit.core.config import DataConfig
from training.data.dataset import Dataset
from training.data.loaders import load_dataset
from training.data.spec import DataSpec


def data_root() -> Path:
    """Return the data root: ``$AUDIT_DATA``, else ``./data``."""
    return Path(os.environ.get("AUDIT_DATA") or "data")


def data_spec(config: DataConfig) -> DataSpec:
    """Translate the data section of a configuration."""
    return DataSpec(
        name=config.name,
        path=config.path,
        label=config.label,
        patient=config.patient,
        site=config.site,
        subgroups=config.subgroups,
        classes=config.classes,
        class_names=config.class_names,
        public=config.public,
        ranges=config.ranges,
        value_range=config.value_range,
        categories=None
        if config.categories is None
        else {name: tuple(map(str, values)) for name, values in config.categories.items()},
    )


def cached_dataset(spec: DataSpec, root: Path) -> Dataset:
    """Load a dataset once a process."""
    return _load(_Key(spec), str(root))


class _Key:
    """A hashable stand-in for a data spec, whose ranges are a mapping."""

    def __init__(self, spec: DataSpec) -> None:
        self.spec = spec
        self._text = repr(spec)

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other._text == self._text


@lru_cache(maxsize=2)
def _load(key: _Key, root: str) -> Dataset:
    return load_dataset(key.spec, Path(root))
