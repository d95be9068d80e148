"""What `audit doctor` looks at."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from audit.pipeline.opening import PACKAGES
from audit.pipeline.prepare import ledger_root
from training.data.configured import data_root
from training.ledger import Ledger


def examine() -> dict[str, Any]:
    """Return facts about this environment by name."""
    root = data_root()
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in (*PACKAGES, "ray")},
        "cuda": torch.cuda.is_available(),
        "data root": str(root),
        "mnist": (root / "MNIST" / "raw").is_dir(),
        "ledger": {
            f"{client}/{dataset[:12]}": f"{releases} releases, {steps} steps"
            for client, dataset, releases, steps in _spent()
        },
    }


def _spent() -> list[tuple[str, str, int, int]]:
    found = []
    for path in sorted(ledger_root().glob("*/*.jsonl")):
        charges = Ledger(ledger_root(), client=path.parent.name, dataset=path.stem).charges()
        steps = sum(charge.steps for charge in charges)
        found.append((path.parent.name, path.stem, len(charges), steps))
    return found


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
