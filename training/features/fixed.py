"""A model whose first part is public and fixed: only its head is trained, on cached features.

The extractor has no parameters and was fitted on nothing, so that it costs no privacy.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

CACHE_BYTES = 2**31
"""Most memory that cached features take in a process."""

WORTH_KEEPING = 256
"""Records from which features are kept: fewer are an attack's queries, never asked twice."""

CHUNK = 500
"""Records whose features are computed at a time."""


class FixedFeatures(nn.Module):
    """A parameterless extractor, then a head.

    Args:
        extractor: Record to features; a function of that record alone, without parameters.
        head: Features to logits.
        key: Names the extractor and its settings; equal keys mean equal features.

    Raises:
        ValueError: The extractor has parameters.
    """

    def __init__(self, extractor: nn.Module, head: nn.Module, *, key: str) -> None:
        super().__init__()
        if list(extractor.parameters()):
            raise ValueError("the extractor has parameters: expected fixed features")
        self.extractor, self.head, self.key = extractor, head, key

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits, shape (records, classes)."""
        logits: Tensor = self.head(self.extractor(inputs))
        return logits


def trained_part(module: nn.Module, inputs: NDArray[np.float32]) -> tuple[nn.Module, Tensor]:
    """Return the part of a model that is trained, and its inputs.

    Args:
        module: Any model.
        inputs: Records, shape (records, *input shape).

    Returns:
        The head and the records' features for a model with fixed features; else the model and
        the records.
    """
    if isinstance(module, FixedFeatures):
        return module.head, _CACHE.features(module, inputs)
    return module, torch.from_numpy(inputs)


@dataclass
class _Cache:
    """Features by extractor and content of the records; the least recently used go first."""

    held: OrderedDict[tuple[str, bytes], Tensor] = field(default_factory=OrderedDict)

    def features(self, module: FixedFeatures, inputs: NDArray[np.float32]) -> Tensor:
        if len(inputs) < WORTH_KEEPING:
            return _computed(module.extractor, inputs)
        content = hashlib.blake2b(np.ascontiguousarray(inputs).data, digest_size=16)
        content.update(str(inputs.shape).encode())
        key = (module.key, content.digest())
        if key not in self.held:
            self.held[key] = _computed(module.extractor, inputs)
        self.held.move_to_end(key)
        found = self.held[key]
        while len(self.held) > 1 and sum(t.nbytes for t in self.held.values()) > CACHE_BYTES:
            self.held.popitem(last=False)
        return found


_CACHE = _Cache()


def _computed(extractor: nn.Module, inputs: NDArray[np.float32]) -> Tensor:
    """Compute where the extractor is, keep in main memory."""
    device = next((buffer.device for buffer in extractor.buffers()), torch.device("cpu"))
    chunks = torch.split(torch.from_numpy(inputs), CHUNK)
    with torch.no_grad():
        return torch.cat([extractor(chunk.to(device)).cpu() for chunk in chunks])
