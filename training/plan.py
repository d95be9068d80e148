"""The plan of one cell: everything that server and hospitals are set up with beforehand."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from audit.core.config import AggregationConfig, CellConfig, ProbesConfig
from audit.formats.files import read_json, write_json
from audit.store.run import CellDirectory
from training.data.spec import DataSpec
from training.models import TorchArchitecture
from training.policy import LocalPolicy
from training.secagg.identity import Identity, Roster

OPEN = "-open"
"""Ends the name of a kind of probe whose order is public."""


class HospitalSetup(BaseModel):
    """What a hospital has on its own disk before the federation starts.

    Attributes:
        client: Its name.
        dataset: SHA-256 of its own records.
        indices: Its records, as indices into the dataset.
        probes: Probe session to the records used in it.
        identity: Its long-term Ed25519 private key, hexadecimal.
        roster: Client to pinned Ed25519 public key, hexadecimal.
        policy: Its own limits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: str = "audit-hospital/v1"
    client: str
    dataset: str
    indices: list[int]
    probes: dict[str, list[int]]
    identity: str
    roster: dict[str, str]
    policy: LocalPolicy

    def save(self, folder: Path) -> None:
        """Write ``setup.json`` in the hospital's folder."""
        write_json(folder / "setup.json", self.model_dump())

    @classmethod
    def load(cls, folder: Path) -> "HospitalSetup":
        """Read ``setup.json``."""
        return cls.model_validate(read_json(folder / "setup.json"))

    @property
    def signing_identity(self) -> Identity:
        """The long-term key pair."""
        return Identity.from_bytes(bytes.fromhex(self.identity))

    @property
    def pinned_roster(self) -> Roster:
        """The identities that this hospital trusts."""
        return Roster({name: bytes.fromhex(key) for name, key in self.roster.items()})


@dataclass(frozen=True, kw_only=True)
class CellPlan:
    """One cell as the server, and the shared part of every hospital, knows it.

    Args:
        run_id: Unique id of the run.
        cell: Directory of the cell.
        config: Epsilon, model and schedule.
        clients: Names of the hospitals.
        roster: Client to Ed25519 public key.
        architecture: The model.
        seed: Public seed, for the initial weights.
        delta, noise_multiplier, max_grad_norm: Of DP; the last two None without.
        noise_epsilon: The target that the multiplier was solved for, over all rounds or, with
            ``epsilon_scope: per_round``, for one; None without DP.
        nominal_records: Public size of a hospital.
        aggregation: Protocol settings.
        probes: Laboratory probes.
        data: Where hospitals find their records, below ``data_root``.
        data_root: The data root on this machine.
        ledgers: Where hospitals keep their ledgers.
        device: torch device.
        noise_master: Fixed noise key of a reproduction; None: fresh noise.
    """

    run_id: str
    cell: CellDirectory
    config: CellConfig
    clients: tuple[str, ...]
    roster: dict[str, bytes]
    architecture: TorchArchitecture
    seed: int
    delta: float
    noise_multiplier: float | None
    max_grad_norm: float | None
    noise_epsilon: float | None
    nominal_records: int
    aggregation: AggregationConfig
    probes: ProbesConfig
    data: DataSpec
    data_root: Path
    ledgers: Path
    device: str
    noise_master: bytes | None

    @property
    def sample_rate(self) -> float:
        """Poisson sampling rate of a record in a step of a round."""
        return min(1.0, self.config.schedule.batch_size / self.nominal_records)

    @property
    def total_steps(self) -> int:
        """Steps over all rounds."""
        return self.config.schedule.rounds * self.config.schedule.local_steps

    def label(self, session: str) -> str:
        """Return a session's globally unique label."""
        return f"{self.run_id}/{self.config.id}/{session}"


@dataclass(frozen=True, kw_only=True)
class ProbeSession:
    """One probe of a cell.

    Args:
        name: Of its session, such as ``round-001/probe-b4-r0``, or ``.../probe-b4-s5-r0`` where it
            is of five steps; ``.../probe-b8-m4-e5-r0`` is of five epochs in batches of 4, and
            ``.../probe-b8-m4-e5-open-r0`` the same in a public order.
        round: Before which it is made.
        records: Of each hospital.
        steps: Of each hospital.
        batch: Records of a step; ``records`` where every step is on all of them.
        public_order: Whether the public seed says which records are in which batch.
    """

    name: str
    round: int
    records: int
    steps: int
    batch: int
    public_order: bool = False

    @property
    def uses(self) -> int:
        """Steps that each record is in."""
        return self.steps * self.batch // self.records


def probe_sessions(probes: ProbesConfig) -> list[ProbeSession]:
    """Return every probe of a cell, in the order in which they are made."""
    return [
        ProbeSession(
            name=f"round-{number:03d}/probe-b{size}{kind}-r{repeat}",
            round=number,
            records=size,
            steps=steps,
            batch=batch,
            public_order=kind.endswith(OPEN),
        )
        for number in probes.rounds
        for size in probes.batch_sizes
        for kind, steps, batch in _kinds(probes, size)
        for repeat in range(probes.repeats)
    ]


def _kinds(probes: ProbesConfig, size: int) -> list[tuple[str, int, int]]:
    """Return the part of the name, the steps and the records of a step of each kind of probe."""
    whole = [("" if steps == 1 else f"-s{steps}", steps, size) for steps in probes.local_steps]
    parts = [
        (
            f"-m{mini.size}-e{mini.epochs}{OPEN if mini.order == 'public' else ''}",
            mini.epochs * size // mini.size,
            mini.size,
        )
        for mini in probes.mini_batches
        if mini.divides(size)
    ]
    return [*whole, *parts]
