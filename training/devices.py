"""The device that hospitals compute on."""

import torch

from audit.core.errors import ConfigError


def resolve_device(name: str) -> str:
    """Return a torch device for ``cpu``, ``cuda`` or ``auto``.

    Raises:
        ConfigError: CUDA was asked for and is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: no CUDA device is available; use cpu or auto")
    return name
