"""What a hospital keeps of each round, so that a restart neither loses nor repeats a release."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import PolicyError
from audit.core.parcel import Parcel
from audit.formats.files import read_json, write_json
from audit.formats.parcels import read_parcel, write_parcel

STAGES = ("keys", "shares", "train", "consistency", "unmask")
"""Stages of a session in their order; a protocol may use fewer."""

_REPLY, _STATE, _DIGEST = "reply.", "state.", "request"


def session_folder(session: str) -> tuple[str, str]:
    """Split a session's name into its round's folder and a prefix for its files.

    Example:
        >>> session_folder("round-003"), session_folder("round-001/probe-b4-r0")
        (('round-003', 'round'), ('round-001', 'probe-b4-r0'))
    """
    folder, _, probe = session.partition("/")
    return folder, probe or "round"


@dataclass(frozen=True, kw_only=True)
class Release:
    """An update as it was before masking, with what the hospital noted about it.

    Args:
        update: Flat, shape (parameters,).
        notes: JSON values that stay with the hospital.
    """

    update: NDArray[np.float32]
    notes: dict[str, object]


class SessionJournal:
    """The files of one session in a hospital's folder.

    A stage's reply and the private state after it are one atomic file, written before the reply
    leaves.

    Args:
        client: Whose journal it is, for messages.
        folder: The hospital's folder in the cell.
        session: The session's name.
    """

    def __init__(self, client: str, folder: Path, session: str) -> None:
        self.client, self.session = client, session
        round_folder, self._prefix = session_folder(session)
        self._folder = folder / round_folder

    def _stage_path(self, stage: str) -> Path:
        return self._folder / f"{self._prefix}.{stage}.safetensors"

    def reply(self, stage: str, digest: str) -> Parcel | None:
        """Return the stored reply to this very request; None if the stage is still open.

        Raises:
            PolicyError: The stage was answered for another request: it is not answered twice.
        """
        if not (path := self._stage_path(stage)).exists():
            return None
        stored = read_parcel(path)
        if stored.fields[_DIGEST] != digest:
            raise PolicyError(
                f"{self.client} already answered stage {stage!r} of {self.session} "
                "for another request; a second release is refused"
            )
        return _part(stored, _REPLY)

    def state(self) -> Parcel | None:
        """Return the private protocol state after the last stage that was answered."""
        for stage in reversed(STAGES):
            if (path := self._stage_path(stage)).exists():
                state = _part(read_parcel(path), _STATE)
                return state if state.fields or state.arrays else None
        return None

    def store(self, stage: str, digest: str, reply: Parcel, state: Parcel | None) -> None:
        """Keep a stage's reply and the state after it."""
        both = ((_REPLY, reply), (_STATE, state or Parcel()))
        write_parcel(
            self._stage_path(stage),
            Parcel(
                arrays={p + k: v for p, parcel in both for k, v in parcel.arrays.items()},
                fields={
                    _DIGEST: digest,
                    **{p + k: v for p, parcel in both for k, v in parcel.fields.items()},
                },
            ),
        )

    @property
    def update_path(self) -> Path:
        """The update before masking."""
        return self._folder / f"{self._prefix}.update.safetensors"

    @property
    def _notes_path(self) -> Path:
        return self._folder / f"{self._prefix}.notes.json"

    def release(self, digest: str) -> Release | None:
        """Return the stored release made for this request, if there is one."""
        if not self.update_path.exists() or not self._notes_path.exists():
            return None
        notes = read_json(self._notes_path)
        if notes.get(_DIGEST) != digest:
            raise PolicyError(
                f"{self.client} already trained {self.session} for another request; "
                "a second release is refused"
            )
        return Release(update=read_update(self.update_path), notes=notes)

    def store_release(self, digest: str, release: Release) -> None:
        """Keep a release; the notes are written last and make it valid."""
        write_parcel(self.update_path, Parcel(arrays={"update": release.update}))
        write_json(self._notes_path, {**release.notes, _DIGEST: digest})


def read_update(path: Path) -> NDArray[np.float32]:
    """Read an update before masking, shape (parameters,)."""
    return read_parcel(path).arrays["update"].astype(np.float32, copy=False)


def stored_reply(path: Path) -> Parcel:
    """Read the reply in a stage's file."""
    return _part(read_parcel(path), _REPLY)


def stored_state(path: Path) -> Parcel:
    """Read the private protocol state in a stage's file."""
    return _part(read_parcel(path), _STATE)


def _part(parcel: Parcel, prefix: str) -> Parcel:
    return Parcel(
        arrays={k[len(prefix) :]: v for k, v in parcel.arrays.items() if k.startswith(prefix)},
        fields={k[len(prefix) :]: v for k, v in parcel.fields.items() if k.startswith(prefix)},
    )
