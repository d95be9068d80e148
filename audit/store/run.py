"""One run directory: where things lie, who holds it, and whether it is whole."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from audit.core.config import Config
from audit.core.errors import ConfigError, IntegrityError, LockedRunError, MissingEvidenceError
from audit.core.loading import validate
from audit.formats.chain import EVENTS, append_event
from audit.formats.files import (
    TEMPORARY,
    private_folder,
    read_json,
    sha256_of,
    write_json,
    write_text,
)

RUN_SCHEMA = "audit-run/v1"
MANIFEST_SCHEMA = "audit-manifest/v1"


class RunDirectory:
    """Paths and records of one run.

    Args:
        path: The directory; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(
        cls, path: Path, *, config: Config, config_text: str, **facts: Any
    ) -> "RunDirectory":
        """Make a new run directory.

        Args:
            path: Must not exist, or be empty.
            config: The resolved configuration.
            config_text: The same as YAML, without secrets.
            facts: Written to ``run.json`` beside the schema and the time.

        Raises:
            ConfigError: The directory is not empty.
        """
        cls.check_free(path)
        run = cls(path)
        private_folder(path)
        path.chmod(0o700)
        write_text(run.config_path, config_text)
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        record = {"schema": RUN_SCHEMA, "created": now, "config": config.name, **facts}
        write_json(run.path / "run.json", record)
        return run

    @staticmethod
    def check_free(path: Path) -> None:
        """Check that a run can be made there.

        Raises:
            ConfigError: The directory is not empty.
        """
        if path.exists() and (not path.is_dir() or any(_foreign(p) for p in path.iterdir())):
            raise ConfigError(
                f"--out {path}: expected a new or empty directory; "
                "use --resume to go on with an interrupted run"
            )

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Open an existing run.

        Raises:
            ConfigError: The path does not exist.
            MissingEvidenceError: It is no run directory.
            IntegrityError: ``run.json`` is damaged.
        """
        if not path.exists():
            raise ConfigError(f"run {path}: no such directory")
        if not (path / "run.json").is_file():
            raise MissingEvidenceError(f"{path} is no run: it has no run.json")
        run = cls(path)
        if not isinstance(run.record, dict) or run.record.get("schema") != RUN_SCHEMA:
            raise MissingEvidenceError(f"{path}/run.json: expected schema {RUN_SCHEMA!r}")
        return run

    @property
    def record(self) -> Any:
        """The content of ``run.json``."""
        return read_json(self.path / "run.json")

    def update_record(self, **facts: Any) -> None:
        """Set facts in ``run.json``."""
        write_json(self.path / "run.json", {**self.record, **facts})

    @property
    def config_path(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.resolved.yaml"

    @property
    def config(self) -> Config:
        """The resolved configuration, checked; a fixed noise key is not in it."""
        import yaml

        try:
            tree = yaml.safe_load(self.config_path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise IntegrityError(f"{self.config_path} is missing or damaged: {error}") from None
        return validate(Config, tree, where=str(self.config_path))

    def cell(self, cell: str) -> "CellDirectory":
        """Return the directory of one cell."""
        return CellDirectory(self.path / "cells" / cell)

    def attack_folder(self, cell: str, adversary: str, attack: str) -> Path:
        """Return where one attack's guess and result lie."""
        return self.path / "attacks" / cell / adversary / attack

    @property
    def secrets(self) -> Path:
        """The folder of the truth."""
        return self.path / "secrets"

    def event(self, kind: str, **facts: Any) -> None:
        """Append to the hash-chained ``events.jsonl``; no fact may depend on patients' data."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        append_event(self.path / EVENTS, {"time": now, "event": kind, **facts})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process.

        Raises:
            LockedRunError: Another process holds it.
        """
        private_folder(self.path)
        descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedRunError(f"run {self.path} is in use by another process") from None
            yield
        finally:
            os.close(descriptor)

    def mark_faults(self, names: Sequence[str]) -> None:
        """Note that faults were planted in this run or its audit cells: it is no evidence.

        Args:
            names: Of the faults.
        """
        self.update_record(faults=sorted({*self.record.get("faults", []), *names}))

    def check_sound(self) -> None:
        """Refuse a run in which a self-test planted a fault.

        Raises:
            MissingEvidenceError: It carries one; says which.
        """
        faults = self.record.get("faults", [])
        if faults:
            raise MissingEvidenceError(
                f"{self.path} carries planted faults ({', '.join(faults)}): "
                "it shows what audits find, and is no evidence about a model"
            )

    def clear_leftovers(self) -> None:
        """Delete what a killed process left half written; call it with the run locked."""
        for path in self.path.rglob(f"{TEMPORARY}*"):
            path.unlink(missing_ok=True)

    def write_manifest(self) -> None:
        """Record the SHA-256 of the configuration and of every file of a finished cell."""
        cells = [CellDirectory(p) for p in sorted((self.path / "cells").glob("*"))]
        files = [self.config_path]
        for cell in cells:
            if cell.done:
                files += [p for p in sorted(cell.path.rglob("*")) if p.is_file()]
        hashes = {p.relative_to(self.path).as_posix(): sha256_of(p) for p in files}
        write_json(self.path / "manifest.json", {"schema": MANIFEST_SCHEMA, "sha256": hashes})

    def check_manifest(self, *, below: str = "") -> None:
        """Compare what lies on disk with the manifest.

        Args:
            below: Only names that start with this; empty: all.

        Raises:
            MissingEvidenceError: There is no manifest: no cell is finished.
            IntegrityError: A file is missing, changed, or was added to a finished cell.
        """
        path = self.path / "manifest.json"
        if not path.exists():
            raise MissingEvidenceError(f"{self.path} has no manifest.json: no cell is finished")
        hashes = read_json(path).get("sha256")
        if not isinstance(hashes, dict) or "config.resolved.yaml" not in hashes:
            raise IntegrityError(f"{path} is damaged: it lists no configuration")
        for name, expected in hashes.items():
            if not name.startswith(below):
                continue
            file = self.path / name
            if not file.is_file():
                raise IntegrityError(f"{file} is missing; the manifest names it")
            if sha256_of(file) != expected:
                raise IntegrityError(f"{file} was changed: its SHA-256 is not the manifest's")
        listed = {name.split("/")[1] for name in hashes if name.startswith("cells/")}
        for cell in sorted(listed):
            inside = f"cells/{cell}/"
            if not (inside.startswith(below) or below.startswith(inside)):
                continue
            for file in sorted((self.path / "cells" / cell).rglob("*")):
                name = file.relative_to(self.path).as_posix()
                if file.is_file() and name.startswith(below) and name not in hashes:
                    raise IntegrityError(f"{file} was added; the manifest does not name it")


class CellDirectory:
    """Paths of one cell.

    Args:
        path: ``RUN/cells/<cell>``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    @property
    def summary(self) -> Path:
        """Facts of the finished cell; its presence says that the cell is finished."""
        return self.path / "cell.json"

    @property
    def privacy(self) -> Path:
        """The mechanism of the cell, its claim and its epsilon(delta) curve."""
        return self.path / "privacy.json"

    @property
    def utility(self) -> Path:
        """The released model's accuracy by class, site, subgroup and hospital."""
        return self.path / "utility.json"

    @property
    def done(self) -> bool:
        """Whether the cell is finished."""
        return self.summary.is_file()

    @property
    def model(self) -> Path:
        """The released model."""
        return self.path / "model.safetensors"

    @property
    def metrics(self) -> Path:
        """The server's log, one line a round."""
        return self.path / "metrics.jsonl"

    @property
    def candidates(self) -> Path:
        """Candidates and population: what the membership game shows to every adversary."""
        return self.path / "candidates.safetensors"

    @property
    def pool(self) -> Path:
        """The records among which those of the probes are: shown to every adversary."""
        return self.path / "pool.safetensors"

    def transcript(self, round_number: int) -> Path:
        """The wire of one round."""
        return self.path / "transcript" / f"round-{round_number:03d}"

    def client(self, client: str) -> Path:
        """What one hospital held."""
        return self.path / "clients" / client


def _foreign(path: Path) -> bool:
    """Whether a file is more than what a killed ``create`` leaves behind."""
    return path.name not in {"config.resolved.yaml", ".lock"} and not path.name.startswith(
        TEMPORARY
    )


def newest_run(folder: Path) -> Path:
    """Return the run below a folder that was created last.

    Raises:
        MissingEvidenceError: There is none.
    """
    runs: list[tuple[str, Path]] = []
    for path in folder.glob("*/run.json"):
        record = read_json(path)
        if isinstance(record, dict) and isinstance(record.get("created"), str):
            runs.append((record["created"], path.parent))
    if not runs:
        raise MissingEvidenceError(f"no run in {folder}: make one with `audit train`")
    return max(runs)[1]
