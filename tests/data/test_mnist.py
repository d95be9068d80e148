"""MNIST and MedMNIST in their published layouts, from small synthetic files and the real ones."""

import os
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from audit.core.errors import DataError
from training.data.loaders import load_dataset
from training.data.spec import DataSpec

MNIST = DataSpec(name="mnist")
PUBLISHED = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(values: NDArray[np.uint8]) -> bytes:
    header = struct.pack(">HBB", 0, 8, values.ndim)
    return header + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_mnist(root: Path, train: int = 20, test: int = 10) -> Path:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for kind, n in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        (raw / f"{kind}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{kind}-labels-idx1-ubyte").write_bytes(idx(np.arange(n, dtype=np.uint8) % 10))
    return raw


def write_medmnist(path: Path, **changes: object) -> None:
    arrays: dict[str, object] = {}
    for n, part in ((6, "train"), (2, "val"), (4, "test")):
        arrays[f"{part}_images"] = np.full((n, 28, 28), n, np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % 2)[:, None].astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{**arrays, **changes})  # type: ignore[arg-type]


def test_mnist_holds_train_then_test_as_holdout(tmp_path):
    write_mnist(tmp_path)
    data = load_dataset(MNIST, tmp_path)
    assert (len(data), data.shape, data.x.dtype, data.classes) == (30, (1, 28, 28), np.uint8, 10)
    assert data.holdout is not None and data.holdout.tolist() == [False] * 20 + [True] * 10
    assert data.y.tolist() == [*range(10)] * 3
    np.testing.assert_allclose(data.inputs([3]), (data.x[[3]] / 255 - 0.5) / 0.5, atol=1e-6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_missing_mnist_file_is_named_with_the_command_that_mends_it(tmp_path, name):
    raw = write_mnist(tmp_path)
    (raw / name).unlink()
    with pytest.raises(DataError, match=f"{name} not found in .*--download.*AUDIT_DATA/MNIST/raw"):
        load_dataset(MNIST, tmp_path)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:-1], "truncated or damaged"),
        (lambda b: b + b"0", "truncated or damaged"),
        (lambda b: b[:9], "expected"),
        (lambda b: b"", "starts with nothing"),
        (lambda b: b"\x1f\x8b" + b, "starts with 1f8b"),
    ],
)
def test_a_damaged_mnist_file_is_named(tmp_path, name, damage, message):
    path = write_mnist(tmp_path) / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"{name}: .*{message}"):
        load_dataset(MNIST, tmp_path)


def test_mnist_labels_and_shapes_are_checked(tmp_path):
    raw = write_mnist(tmp_path)
    labels = raw / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(np.full(10, 11, np.uint8)))
    with pytest.raises(DataError, match="label of record 20 is 11"):
        load_dataset(MNIST, tmp_path)
    labels.write_bytes(idx(np.zeros(9, np.uint8)))
    with pytest.raises(DataError, match="beside 9 labels"):
        load_dataset(MNIST, tmp_path)


def test_a_download_never_falls_back_to_the_old_pickled_layout(tmp_path):
    (tmp_path / "MNIST" / "processed").mkdir(parents=True)
    with pytest.raises(DataError, match="pickled"):
        load_dataset(MNIST, tmp_path, download=True)


def test_a_failed_download_is_told(tmp_path, monkeypatch):
    datasets = types.ModuleType("torchvision.datasets")

    def no_network(root: str, *, download: bool) -> None:
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    datasets.MNIST = no_network  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    with pytest.raises(DataError, match=r"download into .* failed: Error downloading train"):
        load_dataset(MNIST, tmp_path, download=True)


@pytest.mark.slow
def test_torchvision_reads_the_same_arrays_from_the_same_files(tmp_path):
    from torchvision import datasets

    write_mnist(tmp_path)
    data = load_dataset(MNIST, tmp_path)
    parts = [datasets.MNIST(str(tmp_path), train=train) for train in (True, False)]
    np.testing.assert_array_equal(
        data.x[:, 0], np.concatenate([part.data.numpy() for part in parts])
    )
    np.testing.assert_array_equal(data.y, np.concatenate([part.targets.numpy() for part in parts]))


def test_medmnist_pools_train_and_val_and_holds_out_test(tmp_path):
    path = tmp_path / "medmnist" / "tiny.npz"
    write_medmnist(path)
    data = load_dataset(DataSpec(name="medmnist", path="tiny"), tmp_path)
    assert (len(data), data.shape, data.classes, data.public) == (12, (1, 28, 28), 2, False)
    assert data.holdout is not None and np.flatnonzero(data.holdout).tolist() == [8, 9, 10, 11]
    assert data.x[:, 0, 0, 0].tolist() == [6] * 6 + [2] * 2 + [4] * 4
    by_path = load_dataset(DataSpec(name="medmnist", path=str(path)), tmp_path)
    assert by_path.sha256 == data.sha256


def test_medmnist_colour_images_become_channels_first(tmp_path):
    colour = {f"{p}_images": np.zeros((n, 28, 28, 3), np.uint8) for p, n in
              (("train", 6), ("val", 2), ("test", 4))}  # fmt: skip
    write_medmnist(tmp_path / "medmnist" / "rgb.npz", **colour)
    data = load_dataset(DataSpec(name="medmnist", path="rgb"), tmp_path)
    assert data.shape == (3, 28, 28)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": np.zeros((6, 14), np.uint8)}, r"train_labels has shape \(6, 14\)"),
        ({"val_labels": np.zeros((3, 1), np.uint8)}, "val_images has 2 records, expected 3"),
        ({"test_images": np.zeros((4, 64, 64), np.uint8)}, "expected one shape"),
        ({"test_images": np.zeros((4, 28, 28, 28), np.uint8)}, "test_images has shape"),
    ],
)
def test_medmnist_refusals_name_the_array(tmp_path, changes, message):
    write_medmnist(tmp_path / "medmnist" / "tiny.npz", **changes)
    with pytest.raises(DataError, match=rf"tiny\.npz: .*{message}"):
        load_dataset(DataSpec(name="medmnist", path="tiny"), tmp_path)


def test_medmnist_that_is_missing_or_of_another_layout(tmp_path):
    with pytest.raises(DataError, match=r"looked at .*medmnist/tiny\.npz"):
        load_dataset(DataSpec(name="medmnist", path="tiny"), tmp_path)
    (tmp_path / "medmnist").mkdir()
    np.savez(tmp_path / "medmnist" / "tiny.npz", x=np.ones(3))
    with pytest.raises(DataError, match=r"'train_images', .* is missing, found 'x'"):
        load_dataset(DataSpec(name="medmnist", path="tiny"), tmp_path)


def test_the_real_mnist_has_its_published_counts():
    root = os.environ.get("AUDIT_DATA")
    if not root or not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip("AUDIT_DATA is not set or holds no MNIST/raw")
    data = load_dataset(MNIST, Path(root))
    assert data.holdout is not None
    assert (len(data), int(data.holdout.sum())) == (70_000, 10_000)
    # Class counts of the published training labels.
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.y[~data.holdout]).tolist() == counts
