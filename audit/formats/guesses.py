"""Guesses on disk, so that every score can be computed again from them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import IntegrityError
from audit.core.guesses import (
    AttributeGuess,
    Coincidence,
    Guess,
    IdentificationGuess,
    LabelCountGuess,
    MembershipGuess,
    Reconstruction,
    ReconstructionGuess,
)
from audit.core.parcel import Parcel, Scalar
from audit.formats.parcels import read_parcel, write_parcel

NAME = "guess.safetensors"


def write_guess(folder: Path, guess: Guess) -> None:
    """Write ``guess.safetensors`` in an attack's folder."""
    write_parcel(folder / NAME, _pack(guess))


def read_guess(folder: Path) -> Guess:
    """Read what ``write_guess`` wrote.

    Raises:
        IntegrityError: It is missing or damaged.
    """
    parcel = read_parcel(folder / NAME)
    try:
        return _unpack(parcel)
    except (KeyError, IndexError, ValueError) as error:
        raise IntegrityError(f"{folder / NAME} is damaged: {error}") from None


def _pack(guess: Guess) -> Parcel:
    if isinstance(guess, MembershipGuess):
        fields: dict[str, Scalar] = {"kind": "membership", "candidates": list(guess.candidates)}
        if guess.hospitals is not None:
            fields["hospitals"] = list(guess.hospitals)
        if guess.note is not None:
            fields["note"] = guess.note
        if guess.coincidence is not None:
            fields["coincidence"] = [guess.coincidence.chance, guess.coincidence.least]
        return Parcel(arrays={"scores": guess.scores}, fields=fields)
    if isinstance(guess, AttributeGuess):
        return Parcel(
            arrays={"categories": guess.categories, "scores": guess.scores},
            fields={"kind": "attribute", "candidates": list(guess.candidates)},
        )
    skipped: dict[str, Scalar] = {
        "skipped": list(guess.skipped),
        "reasons": list(guess.skipped.values()),
    }
    if isinstance(guess, IdentificationGuess):
        return Parcel(
            arrays={"scores": guess.scores},
            fields={
                "kind": "identification",
                "observations": list(guess.observations),
                "clients": [",".join(clients) for clients in guess.clients],
                "pool": list(guess.pool),
                **skipped,
            },
        )
    if isinstance(guess, LabelCountGuess):
        return Parcel(
            arrays={f"{i}.counts": counts for i, counts in enumerate(guess.counts.values())},
            fields={
                "kind": "labels",
                "observations": list(guess.counts),
                "clients": [",".join(guess.clients[name]) for name in guess.counts],
                "shares": [",".join(map(repr, guess.shares[name])) for name in guess.counts],
                **skipped,
            },
        )
    done = (*guess.reconstructions, *guess.controls)
    arrays: dict[str, NDArray[np.generic]] = {}
    for i, reconstruction in enumerate(done):
        arrays[f"{i}.records"] = reconstruction.records
        arrays[f"{i}.labels"] = reconstruction.labels
    return Parcel(
        arrays=arrays,
        fields={
            "kind": "reconstruction",
            "observations": [r.observation for r in done],
            "clients": [",".join(r.clients) for r in done],
            "objectives": [float(r.objective) for r in done],
            "controls": len(guess.controls),
            **skipped,
        },
    )


def _unpack(parcel: Parcel) -> Guess:
    fields = parcel.fields
    if fields["kind"] == "membership":
        sign = fields.get("coincidence")
        return MembershipGuess(
            candidates=tuple(_texts(fields["candidates"])),
            scores=parcel.arrays["scores"].astype(np.float64),
            hospitals=tuple(_texts(fields["hospitals"])) if "hospitals" in fields else None,
            note=str(fields["note"]) if "note" in fields else None,
            coincidence=Coincidence(chance=float(sign[0]), least=float(sign[1]))
            if isinstance(sign, list)
            else None,
        )
    if fields["kind"] == "attribute":
        return AttributeGuess(
            candidates=tuple(_texts(fields["candidates"])),
            categories=parcel.arrays["categories"].astype(np.int64),
            scores=parcel.arrays["scores"].astype(np.float64),
        )
    observations = _texts(fields["observations"])
    clients = [tuple(names.split(",")) for names in _texts(fields["clients"])]
    skipped = dict(zip(_texts(fields["skipped"]), _texts(fields["reasons"]), strict=True))
    if fields["kind"] == "identification":
        return IdentificationGuess(
            observations=tuple(observations),
            clients=tuple(clients),
            pool=tuple(_texts(fields["pool"])),
            scores=parcel.arrays["scores"].astype(np.float64),
            skipped=skipped,
        )
    if fields["kind"] == "labels":
        pairs = zip(observations, _texts(fields["shares"]), strict=True)
        return LabelCountGuess(
            counts={
                name: parcel.arrays[f"{i}.counts"].astype(np.float64)
                for i, name in enumerate(observations)
            },
            clients=dict(zip(observations, clients, strict=True)),
            shares={name: tuple(map(float, text.split(","))) for name, text in pairs},
            skipped=skipped,
        )
    objectives = [float(text) for text in _texts(fields["objectives"])]
    done = tuple(
        Reconstruction(
            observation=name,
            clients=clients[i],
            records=parcel.arrays[f"{i}.records"].astype(np.float32),
            labels=parcel.arrays[f"{i}.labels"].astype(np.int64),
            objective=objectives[i],
        )
        for i, name in enumerate(observations)
    )
    controls = int(str(fields.get("controls", 0)))
    return ReconstructionGuess(
        reconstructions=done[: len(done) - controls],
        skipped=skipped,
        controls=done[len(done) - controls :],
    )


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []
