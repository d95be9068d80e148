"""Pictures of records, their reconstructions and baselines: of public data, or where asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.formats.parcels import read_parcel
from audit.scoring import STRONGEST
from audit.store.run import RunDirectory

Panels = list[tuple[str, Mapping[str, NDArray[np.float32]]]]

MOST_SHOWN = 4
"""Reconstructed records in a row of the grid."""

USUAL = "dlg"
"""Whose pictures are shown where no attack is known to be the best."""

IMAGE = 4
"""Dimensions of a stack of images: records, channels, height and width."""


def reconstruction_panels(
    run: RunDirectory, rows: Sequence[Mapping[str, Any]], *, secret: bool = False
) -> Panels:
    """Return what a grid of reconstructions shows, a row a cell and adversary.

    Args:
        run: The run.
        rows: Of its table.
        secret: Whether pictures of patients may be taken from the run's secrets.

    Returns:
        Row titles with arrays ``truth``, ``reconstruction`` and ``baseline``, each of shape
        (records, channels, height, width); none for tables, or where nothing may be shown.
    """
    shown: Panels = []
    for row in reversed(rows):
        for adversary in ("server", "secagg-server"):
            attack = _best_pictures(row, adversary)
            places = [run.attack_folder(row["cell"], adversary, attack)]
            if secret:
                places.append(run.secrets / "panels" / row["cell"] / adversary / attack)
            for folder in places:
                path = folder / "panels.safetensors"
                if path.exists():
                    arrays = _stacked(read_parcel(path).arrays)
                    if "truth" in arrays and arrays["truth"].ndim == IMAGE:
                        shown.append((f"{row['cell']}\n{adversary}", arrays))
    return shown


def _stacked(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    grouped: dict[str, list[NDArray[np.float32]]] = {}
    for name in sorted(arrays):
        grouped.setdefault(name.rpartition("|")[2], []).append(arrays[name].astype(np.float32))
    return {kind: np.concatenate(parts)[:MOST_SHOWN] for kind, parts in grouped.items()}


def _best_pictures(row: Mapping[str, Any], adversary: str) -> str:
    """Return the attack whose pictures are most like the records."""
    for score in row["leakage"]:
        key = score["attack"], score["metric"], score["adversary"]
        if key == (STRONGEST, "ssim_over_baseline", adversary) and score.get("by"):
            return str(score["by"])
    return USUAL
