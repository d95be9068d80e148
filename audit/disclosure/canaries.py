"""From audit cells to what each adversary saw of their canaries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.adversaries import Adversary
from audit.core.errors import MissingEvidenceError
from audit.core.parcel import Parcel
from audit.core.views import Background, CanaryView, Leftovers
from audit.executor import Store
from training.canaries import canary_sign

SEEN = {
    Adversary.SERVER: ("updates", "others", "likeness"),  # and leftovers
    Adversary.SECAGG_SERVER: ("sums",),
    Adversary.PARTICIPANT: ("sums", "own"),
}
"""What of an audit cell each adversary sees; the participant is the first hospital."""


def canary_store(run: Path, cell: str) -> Store:
    """Return where what was seen of a cell's audit cells is kept.

    Args:
        run: The run directory.
        cell: The cell's id.
    """
    return Store(folder=run / "audit_cells" / cell / "canaries")


def record_store(run: Path, cell: str) -> Store:
    """Return where what was seen of a cell's audit cells with canary records is kept.

    Args:
        run: The run directory.
        cell: The cell's id.
    """
    return Store(folder=run / "audit_cells" / cell / "records")


def hospital_store(run: Path, cell: str) -> Store:
    """Return where what was seen of a cell's audit cells with canary hospitals is kept.

    Args:
        run: The run directory.
        cell: The cell's id.
    """
    return Store(folder=run / "audit_cells" / cell / "hospitals")


@dataclass(frozen=True, kw_only=True)
class AuditCell:
    """One audit cell, as kept.

    Args:
        key: Its key.
        seen: ``updates`` of shape (hospitals, rounds, columns), ``sums`` of shape (rounds,
            columns), ``likeness`` of shape (hospitals, rounds).
        dealt: The hospital that each gradient canary would be in, shape (columns,).
    """

    key: str
    seen: Parcel
    dealt: NDArray[np.int64]


def read_audit_cells(run: Path, cell: str, keys: Sequence[str]) -> list[AuditCell]:
    """Read what was kept of a cell's audit cells.

    Raises:
        IntegrityError: It is missing or damaged.
    """
    store = canary_store(run, cell)
    read = [(key, store.read(key)) for key in keys]
    return [
        AuditCell(key=key, seen=seen, dealt=seen.arrays["dealt"].astype(np.int64))
        for key, seen in read
    ]


def canary_view(
    background: Background,
    adversary: Adversary,
    cells: Sequence[AuditCell],
    *,
    weights: NDArray[np.float64],
    outliers: bool,
) -> CanaryView:
    """Return what an adversary saw of canaries.

    Args:
        background: What it knows besides.
        adversary: Which one.
        cells: The audit cells of one cell.
        weights: Each hospital's public weight in the sum.
        outliers: Whether it looks at outlier canaries; else at gradient canaries.

    Raises:
        MissingEvidenceError: It sees nothing of audit cells.
    """
    shown = SEEN.get(adversary, ())
    if not shown:
        raise MissingEvidenceError(f"{adversary}: no view of it shows gradient canaries")
    if adversary is Adversary.PARTICIPANT and len(weights) == 1:
        raise MissingEvidenceError("the only hospital knows all canaries: nothing to guess")
    read = _outliers if outliers else _gradients
    parts = [read(cell, weights, participant=adversary is Adversary.PARTICIPANT) for cell in cells]
    names = [f"canary-{cell.key[:12]}" for cell in cells]
    seen: dict[str, Any] = {
        key: np.concatenate([part[key] for part in parts])
        for key in shown
        if all(key in part for part in parts)
    }
    return CanaryView(
        background=background,
        canaries=tuple(
            f"{name}-{'outlier-' if outliers else ''}{j:05d}"
            for name, part in zip(names, parts, strict=True)
            for j in part["numbers"]
        ),
        leftovers=_leftovers(background, cells)
        if adversary is Adversary.SERVER and not outliers
        else None,
        **seen,
    )


def record_view(
    background: Background, adversary: Adversary, cells: Mapping[str, Parcel]
) -> CanaryView:
    """Return what an adversary saw of the final models of audit cells with canary records.

    Args:
        background: What it knows besides.
        adversary: Which one.
        cells: Key of an audit cell to what was kept of it.

    Raises:
        MissingEvidenceError: It is not the one who asks the model.
    """
    if adversary is not Adversary.QUERY:
        raise MissingEvidenceError(f"{adversary}: canary records are judged by queries alone")
    arrays = [seen.arrays for seen in cells.values()]
    return CanaryView(
        background=background,
        canaries=tuple(
            name for key, seen in cells.items() for name in _names(key, len(seen.arrays["labels"]))
        ),
        labels=np.concatenate([a["labels"].astype(np.int64) for a in arrays]),
        answers=np.concatenate([a["answers"].astype(np.float64) for a in arrays]),
        cells=len(cells),
    )


def hospital_view(
    background: Background, adversary: Adversary, cells: Mapping[str, Parcel]
) -> CanaryView:
    """Return what an adversary saw of canary hospitals in the final models of audit cells.

    Args:
        background: What it knows besides.
        adversary: Which one.
        cells: Key of an audit cell to what was kept of it.

    Raises:
        MissingEvidenceError: It does not see the final weights, or there is no noise in them.
    """
    if adversary is not Adversary.RECIPIENT:
        raise MissingEvidenceError(f"{adversary}: canary hospitals are judged by the final model")
    if background.recipe.noise_multiplier is None:
        raise MissingEvidenceError("without DP there is no noise: a hospital's epsilon is infinite")
    seen = {key: cell.arrays["released"].astype(np.float64) for key, cell in cells.items()}
    return CanaryView(
        background=background,
        canaries=tuple(n for key, one in seen.items() for n in _directions(key, len(one))),
        released=np.concatenate(list(seen.values())),
        cells=len(cells),
    )


def hospital_truth(key: str, present: NDArray[np.bool_]) -> dict[str, bool]:
    """Return the pseudonyms of an audit cell's directions: did a hospital push along it?"""
    return dict(zip(_directions(key, len(present)), present.tolist(), strict=True))


def _directions(key: str, count: int) -> list[str]:
    return [f"hospital-{key[:12]}-{j:05d}" for j in range(count)]


def record_truth(key: str, present: NDArray[np.bool_]) -> dict[str, bool]:
    """Return the pseudonyms of an audit cell's canary records, with their bits."""
    return dict(zip(_names(key, len(present)), present.tolist(), strict=True))


def _names(key: str, count: int) -> list[str]:
    return [f"record-{key[:12]}-{j:05d}" for j in range(count)]


def canary_truth(key: str, present: NDArray[np.bool_], hospitals: int) -> dict[str, bool]:
    """Return the pseudonyms of an audit cell's canaries, gradients and outliers, with their bits.

    Args:
        key: Of the audit cell.
        present: Shape (columns + hospitals,).
        hospitals: Of the federation.
    """
    name, columns = f"canary-{key[:12]}", len(present) - hospitals
    bits = {f"{name}-{j:05d}": bool(present[j]) for j in range(columns)}
    return bits | {f"{name}-outlier-{j:05d}": bool(present[columns + j]) for j in range(hospitals)}


def _gradients(
    cell: AuditCell, weights: NDArray[np.float64], *, participant: bool
) -> Mapping[str, NDArray[np.generic]]:
    """A curious hospital knows its own canaries: it is not asked about them."""
    arrays, hospitals = cell.seen.arrays, len(weights)
    asked = np.flatnonzero(cell.dealt != 0) if participant else np.arange(len(cell.dealt))
    where = cell.dealt[asked]
    updates = arrays["updates"].astype(np.float64)
    each = weights[where][:, None]
    found: dict[str, NDArray[np.generic]] = {
        "numbers": asked,
        "updates": updates[where, :, asked],
        "sums": arrays["sums"].astype(np.float64)[:, asked].T / each,
        "own": updates[0][:, asked].T * weights.sum() / each,
    }
    if hospitals > 1:
        found["others"] = updates[(where + 1) % hospitals, :, asked]
    return found


def _outliers(
    cell: AuditCell, weights: NDArray[np.float64], *, participant: bool
) -> Mapping[str, NDArray[np.generic]]:
    """Without DP no outlier was planted."""
    del participant
    likeness = cell.seen.arrays["likeness"].astype(np.float64)
    found: dict[str, NDArray[np.generic]] = {"numbers": np.arange(len(weights))}
    return found if np.isnan(likeness).any() else {**found, "likeness": likeness}


def _leftovers(background: Background, cells: Sequence[AuditCell]) -> Leftovers | None:
    """Return what is left of updates without the known records; None: it is left nowhere."""
    first = np.stack([cell.seen.arrays["leftover"].astype(np.float64) for cell in cells])
    if np.isnan(first).all():
        return None
    width = len(cells[0].dealt)
    return Leftovers(
        first=first,
        places=np.concatenate(
            [np.stack([np.full(width, i), cell.dealt], axis=1) for i, cell in enumerate(cells)]
        ),
        columns=np.tile(np.arange(width), len(cells)),
        signs=np.array([canary_sign(number + 1) for number in range(first.shape[2])]),
        shapes=background.architecture.shapes,
    )
