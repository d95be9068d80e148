import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.core.errors import (
    AuditError,
    ConfigError,
    IntegrityError,
    LockedRunError,
    MissingEvidenceError,
)
from audit.core.guesses import MembershipGuess, Reconstruction, ReconstructionGuess
from audit.core.parcel import Parcel
from audit.formats.files import write_bytes, write_json
from audit.formats.guesses import read_guess, write_guess
from audit.formats.parcels import parcel_digest, read_parcel, write_parcel
from audit.store.run import RunDirectory, newest_run

scalars = st.one_of(
    st.text(max_size=8),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.binary(max_size=8),
    st.lists(st.binary(max_size=4), max_size=3),
    st.lists(st.text(max_size=4), max_size=3),
)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(fields=st.dictionaries(st.text(min_size=1, max_size=6), scalars, max_size=5))
def test_a_parcel_comes_back_from_disk_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, fields: dict
) -> None:
    path = tmp_path_factory.mktemp("parcel") / "p.safetensors"
    parcel = Parcel(arrays={"a": np.arange(6, dtype=np.uint64).reshape(2, 3)}, fields=fields)
    write_parcel(path, parcel)
    again = read_parcel(path)
    assert again.fields == fields
    assert np.array_equal(again.arrays["a"], parcel.arrays["a"])
    assert parcel_digest(again) == parcel_digest(parcel)


def test_every_truncation_of_a_parcel_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    write_parcel(path, Parcel(arrays={"a": np.ones(5)}, fields={"b": 1}))
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(IntegrityError):
            read_parcel(path)


def test_guesses_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    membership = MembershipGuess(candidates=("b", "a"), scores=np.array([0.5, -1.0]))
    write_guess(tmp_path / "m", membership)
    again = read_guess(tmp_path / "m")
    assert isinstance(again, MembershipGuess)
    assert again.candidates == membership.candidates
    assert np.array_equal(again.scores, membership.scores)
    one = Reconstruction(
        observation="round-001/probe-b1-r0",
        clients=("x", "y"),
        records=np.ones((2, 1, 8, 8), dtype=np.float32),
        labels=np.array([3, 4]),
        objective=0.25,
    )
    write_guess(tmp_path / "r", ReconstructionGuess(reconstructions=(one,), skipped={"z": "big"}))
    back = read_guess(tmp_path / "r")
    assert isinstance(back, ReconstructionGuess)
    assert back.skipped == {"z": "big"}
    assert back.reconstructions[0].clients == ("x", "y")
    assert np.array_equal(back.reconstructions[0].records, one.records)


def test_a_full_disk_is_a_clear_error_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(AuditError, match="No space left") as caught:
        write_bytes(path, b"new")
    assert caught.value.exit_code == 5
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_nan_never_reaches_a_json_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"value": float("nan")})
    assert not (tmp_path / "x.json").exists()


def test_everything_in_a_run_is_for_its_owner_only(trained: Path) -> None:
    for path in (trained, *trained.rglob("*")):
        mode = path.stat().st_mode & 0o777
        assert mode & 0o077 == 0 or path.parent.name == "report", path


def test_the_manifest_covers_the_configuration_and_every_cell_file(trained: Path) -> None:
    listed = set(json.loads((trained / "manifest.json").read_text())["sha256"])
    files = {
        p.relative_to(trained).as_posix() for p in (trained / "cells").rglob("*") if p.is_file()
    }
    assert listed == files | {"config.resolved.yaml"}


@pytest.mark.parametrize(
    "name",
    [
        "config.resolved.yaml",
        "cells/eps-2/model.safetensors",
        "cells/eps-2/transcript/round-001/round.train.hospital-1.received.safetensors",
        "cells/eps-2/clients/hospital-2/round-001/round.update.safetensors",
    ],
)
@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_damage_is_found(run_copy: Path, name: str, damage: str) -> None:
    path = run_copy / name
    if damage == "delete":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    with pytest.raises(IntegrityError, match=path.name):
        RunDirectory.open(run_copy).check_manifest()


def test_an_added_file_is_found_and_missing_secrets_are_no_damage(run_copy: Path) -> None:
    import shutil

    shutil.rmtree(run_copy / "secrets")
    RunDirectory.open(run_copy).check_manifest()
    (run_copy / "cells" / "eps-2" / "more.json").write_text("{}")
    with pytest.raises(IntegrityError, match="added"):
        RunDirectory.open(run_copy).check_manifest()


def test_a_locked_run_is_refused(run_copy: Path) -> None:
    run = RunDirectory.open(run_copy)
    with run.locked(), pytest.raises(LockedRunError, match="in use"), run.locked():
        pass


def test_what_is_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such"):
        RunDirectory.open(tmp_path / "nothing")
    with pytest.raises(MissingEvidenceError, match="no run"):
        RunDirectory.open(tmp_path)
    with pytest.raises(MissingEvidenceError, match="audit train"):
        newest_run(tmp_path)


def test_the_newest_run_is_the_one_created_last(tmp_path: Path) -> None:
    for name, created in (("b", "2026-01-02"), ("a", "2026-01-03"), ("c", "2026-01-01")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"created": created}))
    assert newest_run(tmp_path).name == "a"
