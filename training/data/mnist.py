"""MNIST in torchvision's layout, offline unless a download is asked for."""

import math
import struct
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import DataError
from training.data.dataset import Dataset, Scaling
from training.data.sources import naming
from training.data.spec import DataSpec

_FILES: Final = (  # name, dimensions: the last byte of an IDX file's magic number
    ("train-images-idx3-ubyte", 3),
    ("train-labels-idx1-ubyte", 1),
    ("t10k-images-idx3-ubyte", 3),
    ("t10k-labels-idx1-ubyte", 1),
)


def load_mnist(spec: DataSpec, root: Path, *, download: bool = False) -> Dataset:
    """All of MNIST in one dataset: the training records first, then the test records as holdout.

    Args:
        spec: Only `public` is read.
        root: Data root; the files lie in `root/MNIST/raw`.
        download: Whether torchvision may fetch missing files.

    Raises:
        DataError: A file is missing or damaged, or the download failed.

    Files are read here, in milliseconds, where importing torchvision takes seconds.

    Source:
        LeCun et al. 1998, doi 10.1109/5.726791; 60,000 training and 10,000 test images, 28x28.
    """
    raw = root / "MNIST" / "raw"
    missing = [name for name, _ in _FILES if not (raw / name).is_file()]
    if missing and not download:
        raise DataError(
            f"MNIST: {', '.join(missing)} not found in {raw.absolute()}; download once with "
            "`audit train mnist --download`, or place the four uncompressed IDX files under "
            "$AUDIT_DATA/MNIST/raw"
        )
    if missing:
        _download(root)
    train_x, train_y, test_x, test_y = (_read_idx(raw / name, n) for name, n in _FILES)
    for kind, x, y in (("train", train_x, train_y), ("t10k", test_x, test_y)):
        if x.shape != (len(y), 28, 28):
            raise DataError(
                f"{raw.absolute()}: {kind} images have shape {x.shape} beside {len(y)} labels, "
                f"expected ({len(y)}, 28, 28)"
            )
    with naming(raw.absolute()):
        return Dataset(
            name="mnist",
            x=np.concatenate([train_x, test_x])[:, None],
            y=np.concatenate([train_y, test_y]).astype(np.int64),
            classes=10,
            class_names=tuple(str(i) for i in range(10)),
            scale=Scaling.to_unit_range(0.0, 255.0),
            holdout=np.repeat([False, True], [len(train_y), len(test_y)]),
            public=True if spec.public is None else spec.public,
        )


def _download(root: Path) -> None:
    """Have torchvision fetch the files and check their published checksums."""
    if (root / "MNIST" / "processed").exists():
        raise DataError(
            f"MNIST: {(root / 'MNIST' / 'processed').absolute()} is torchvision's old pickled "
            "layout, which it would unpickle instead of downloading; move it away"
        )
    # Imported here: torchvision takes seconds, and nothing but a download needs it.
    from torchvision.datasets import MNIST

    try:
        MNIST(str(root), download=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"MNIST: download into {root.absolute()} failed: {error}") from error


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes: magic number, sizes, values."""
    content = path.read_bytes()
    start = 4 + 4 * dimensions
    magic = struct.pack(">HBB", 0, 8, dimensions)
    if len(content) < start or content[:4] != magic:
        raise DataError(
            f"{path.absolute()}: starts with {content[:4].hex() or 'nothing'}, expected the "
            f"IDX header {magic.hex()} (uncompressed, unsigned bytes, {dimensions} dimensions)"
        )
    sizes = struct.unpack(f">{dimensions}I", content[4:start])
    expected = start + math.prod(sizes)
    if len(content) != expected:
        raise DataError(
            f"{path.absolute()}: has {len(content)} bytes, expected {expected} from its header; "
            "the file is truncated or damaged: remove it and fetch it again with "
            "`audit train mnist --download`"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(sizes)
