"""Datasets inside scikit-learn: they need no file and no network."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from audit.core.randomness import named_generator
from training.data.dataset import Dataset, Scaling
from training.data.spec import DataSpec

# Public plausible range (low, high) of each feature's mean, standard error and worst value. They
# are round numbers that one who knows the definitions would give (Street et al. 1993,
# doi 10.1117/12.148698): a radius in pixels up to 40, hence an area up to about pi * 40**2 and a
# perimeter somewhat above 2 * pi * 40; texture the deviation of grey levels; the shape descriptors
# small ratios. They are no fitted statistics, and values outside are clipped; yet the data set
# is public, and its published ranges were known to those who chose them.
_BREAST_CANCER_HIGH: Final[dict[str, tuple[float, float, float]]] = {
    "radius": (40.0, 5.0, 50.0),
    "texture": (60.0, 5.0, 60.0),
    "perimeter": (300.0, 30.0, 400.0),
    "area": (5000.0, 500.0, 5000.0),
    "smoothness": (0.25, 0.05, 0.3),
    "compactness": (0.5, 0.2, 1.5),
    "concavity": (0.5, 0.5, 1.5),
    "concave points": (0.3, 0.1, 0.5),
    "symmetry": (0.5, 0.1, 0.8),
    "fractal dimension": (0.15, 0.05, 0.3),
}
_STATISTICS: Final = ("mean {}", "{} error", "worst {}")


def load_digits(spec: DataSpec, root: Path) -> Dataset:
    """1,797 handwritten digits of 8x8 pixels, grey levels 0 to 16 kept as uint8; `root` is unused.

    Source:
        UCI Optical Recognition of Handwritten Digits, as shipped in scikit-learn.
    """
    # Imported here: scikit-learn takes a second, and most commands never load these.
    from sklearn import datasets

    bunch = datasets.load_digits()
    return Dataset(
        name="digits",
        x=np.asarray(bunch.images).astype(np.uint8)[:, None],
        y=np.asarray(bunch.target).astype(np.int64),
        classes=10,
        class_names=tuple(str(i) for i in range(10)),
        scale=Scaling.to_unit_range(0.0, 16.0),
        public=True if spec.public is None else spec.public,
    )


def load_mislabelled_digits(spec: DataSpec, root: Path) -> Dataset:
    """The digits with labels drawn at random, the same at every call; `root` is unused.

    Nothing but memory tells the label of one: a model that fits them knows its records by heart,
    and is at chance on all others. This is what membership inference must see.
    """
    digits = load_digits(spec, root)
    rng = named_generator(0, "mislabelled digits")
    drawn = rng.integers(0, digits.classes, size=len(digits.y))
    return replace(digits, name="mislabelled_digits", y=drawn)


def load_breast_cancer(spec: DataSpec, root: Path) -> Dataset:
    """569 tumours by 30 measurements of cell nuclei, scaled by public ranges; `root` is unused.

    Source:
        Street et al. 1993, doi 10.1117/12.148698, as shipped in scikit-learn.
    """
    from sklearn import datasets

    bunch = datasets.load_breast_cancer()
    features = tuple(str(name) for name in bunch.feature_names)
    high = {
        pattern.format(measure): highs[i]
        for measure, highs in _BREAST_CANCER_HIGH.items()
        for i, pattern in enumerate(_STATISTICS)
    }
    return Dataset(
        name="breast_cancer",
        x=np.asarray(bunch.data).astype(np.float32),
        y=np.asarray(bunch.target).astype(np.int64),
        classes=2,
        class_names=tuple(str(name) for name in bunch.target_names),
        scale=Scaling.to_unit_range(
            tuple(0.0 for _ in features), tuple(high[name] for name in features)
        ),
        public=True if spec.public is None else spec.public,
        features=features,
    )


def load_coin_table(spec: DataSpec, root: Path) -> Dataset:
    """The tumours with one made-up column, ``coin``, and labels drawn by it; `root` is unused.

    Where the coin is above a half the label is 1 with a chance of 3/4, elsewhere of 1/4. So a model
    of the labels tells more about a patient's coin than label and other fields do: this is what
    attribute inference must see.
    """
    table = load_breast_cancer(spec, root)
    rng = named_generator(0, "coin table")
    coin = rng.uniform(size=len(table.y))
    label = rng.uniform(size=len(coin)) < np.where(coin > 1 / 2, 3 / 4, 1 / 4)
    low, high = table.scale.low, table.scale.high
    assert isinstance(low, tuple) and isinstance(high, tuple)  # noqa: S101 - one a feature
    return replace(
        table,
        name="coin_table",
        x=np.column_stack([table.x, coin]).astype(np.float32),
        y=label.astype(np.int64),
        class_names=("0", "1"),
        scale=Scaling.to_unit_range((*low, 0.0), (*high, 1.0)),
        features=(*(table.features or ()), "coin"),
        fields=(),
    )
