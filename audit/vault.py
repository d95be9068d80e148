"""The secrets of a run: the truth, and a fixed noise key. Only scoring and training read them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import MissingEvidenceError
from audit.core.parcel import Parcel
from audit.formats.files import private_folder, read_json, write_json
from audit.formats.parcels import read_parcel, write_parcel


@dataclass(frozen=True, kw_only=True)
class MembershipTruth:
    """The truth of the membership game.

    Args:
        member: Pseudonym to whether a hospital trained on it.
        hospital: Pseudonym to that hospital; None for a non-member.
        groups: Column (``class``, ``site``, ``patient``, ...) to pseudonym to group.
    """

    member: Mapping[str, bool]
    hospital: Mapping[str, str | None]
    groups: Mapping[str, Mapping[str, str]]


class Vault:
    """The folder ``RUN/secrets``.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def _need(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file():
            raise MissingEvidenceError(
                f"{path} is missing: without the run's secrets nothing can be scored"
            )
        return path

    def write_membership(self, truth: MembershipTruth) -> None:
        """Record which candidate was trained on, where, and what groups it is in."""
        private_folder(self.path)
        write_json(
            self.path / "membership.json",
            {
                "schema": "audit-membership/v2",
                "member": dict(truth.member),
                "hospital": dict(truth.hospital),
                "groups": {name: dict(column) for name, column in truth.groups.items()},
            },
        )

    def membership(self) -> MembershipTruth:
        """Return what ``write_membership`` wrote.

        Raises:
            MissingEvidenceError: The secrets were deleted.
        """
        kept = read_json(self._need("membership.json"))
        return MembershipTruth(
            member=kept["member"], hospital=kept["hospital"], groups=kept.get("groups", {})
        )

    def write_exposed(self, cell: str, adversary: str, attack: str, records: object) -> None:
        """Keep the records that an attack exposed most; never part of a report."""
        path = self.path / "exposed" / cell / adversary / f"{attack}.json"
        write_json(path, {"schema": "audit-exposed/v1", "records": records})

    def write_measured(self, cell: str, adversary: str, attack: str, values: object) -> None:
        """Keep the values of each victim behind an attack's scores; never part of a report."""
        path = self.path / "measured" / cell / adversary / f"{attack}.json"
        write_json(path, {"schema": "audit-measured/v1", "values": values})

    def measured(self, cell: str, adversary: str, attack: str) -> dict[str, Any] | None:
        """Return what ``write_measured`` wrote, or None."""
        path = self.path / "measured" / cell / adversary / f"{attack}.json"
        return dict(read_json(path)["values"]) if path.exists() else None

    def write_attributes(self, name: str, categories: dict[str, int]) -> None:
        """Record the sensitive attribute of each candidate.

        Args:
            name: The attribute.
            categories: Pseudonym to category, 0 or 1.
        """
        write_json(
            self.path / "attributes.json",
            {"schema": "audit-attributes/v1", "attribute": name, "category": categories},
        )

    def attributes(self) -> dict[str, int]:
        """Return pseudonym to category.

        Raises:
            MissingEvidenceError: The secrets were deleted, or the run names no attribute.
        """
        return dict(read_json(self._need("attributes.json"))["category"])

    def write_split(self, split: dict[str, object]) -> None:
        """Record the split and the partition, as indices into the dataset."""
        write_json(self.path / "split.json", {"schema": "audit-split/v1", **split})

    def write_victims(self, victims: Parcel) -> None:
        """Record the records that the probes used.

        Args:
            victims: Arrays ``<probe>/<client>/inputs`` and ``.../labels``.
        """
        write_parcel(self.path / "victims.safetensors", victims)

    def victims(self) -> Parcel:
        """Return what ``write_victims`` wrote.

        Raises:
            MissingEvidenceError: The secrets were deleted.
        """
        return read_parcel(self._need("victims.safetensors"))

    def write_class_counts(self, counts: Mapping[str, NDArray[np.int64]]) -> None:
        """Record how many records of each class a hospital has.

        Args:
            counts: Hospital to counts, shape (classes,).
        """
        write_json(
            self.path / "class_counts.json",
            {
                "schema": "audit-class-counts/v1",
                "hospitals": {client: of_class.tolist() for client, of_class in counts.items()},
            },
        )

    def class_counts(self) -> dict[str, NDArray[np.int64]] | None:
        """Return what ``write_class_counts`` wrote; None: the run is older than that.

        Raises:
            MissingEvidenceError: The secrets were deleted.
        """
        self._need("membership.json")
        path = self.path / "class_counts.json"
        if not path.is_file():
            return None
        kept = read_json(path)["hospitals"]
        return {client: np.array(counts, dtype=np.int64) for client, counts in kept.items()}

    def canary_key(self, fresh: Callable[[], bytes]) -> bytes:
        """Return the key from which the coins of canaries follow; it is made once a run.

        Args:
            fresh: Gives 32 random bytes.

        Raises:
            MissingEvidenceError: The secrets were deleted.
        """
        path = self.path / "canary_key.json"
        if not path.is_file():
            self._need("membership.json")
            write_json(path, {"schema": "audit-canary-key/v1", "key": fresh().hex()})
        return bytes.fromhex(read_json(path)["key"])

    def write_canaries(self, cell: str, key: str, present: NDArray[np.bool_]) -> None:
        """Record which canaries of an audit cell were in.

        Args:
            cell: Whose recipe was audited.
            key: Of the audit cell.
            present: Shape (gradient canaries + hospitals,): these, then each hospital's outlier.
        """
        path = self.path / "canaries" / cell / f"{key}.safetensors"
        write_parcel(path, Parcel(arrays={"present": present}))

    def canaries(self, cell: str, key: str) -> NDArray[np.bool_]:
        """Return what ``write_canaries`` wrote.

        Raises:
            MissingEvidenceError: The secrets were deleted.
        """
        path = self._need(f"canaries/{cell}/{key}.safetensors")
        return read_parcel(path).arrays["present"].astype(np.bool_)

    def write_noise_key(self, key: str) -> None:
        """Keep the fixed noise key of a reproduction, 64 hexadecimal digits."""
        write_json(self.path / "noise_key.json", {"schema": "audit-noise-key/v1", "key": key})

    def noise_key(self) -> str:
        """Return the fixed noise key.

        Raises:
            MissingEvidenceError: The secrets were deleted.
        """
        return str(read_json(self._need("noise_key.json"))["key"])
