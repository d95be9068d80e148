"""Writing a bundle: whole or not at all, private, and the same bytes for the same input."""

import stat

import pytest

from audit.core.errors import AuditError, ConfigError, PatientDataError
from audit.signing.bundle import verify_bundle
from audit.signing.keys import generate_key_pair, load_private_key
from audit.signing.statement import AuditResult
from reports import bundle as writing
from reports.bundle import write_bundle

FILES = {
    "audit.json": b'{"schema": "x"}\n',
    "attacks/eps-1.json": b"{}\n",
    "config.resolved.yaml": b"name: demo\n",
}
RESULT = AuditResult(passed=("eps-1: consistent",))


@pytest.fixture
def key(tmp_path):
    generate_key_pair(tmp_path / "keys")
    return load_private_key(tmp_path / "keys" / "audit.key")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "evidence"


def write(folder, key, **changes):
    files = {**FILES, **changes.pop("files", {})}
    options = {"result": RESULT, "private_key": key, "forbidden_ids": (), **changes}
    write_bundle(folder, files, **options)


def content(folder):
    paths = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def test_a_written_bundle_verifies_and_holds_what_was_given(folder, key):
    write(folder, key)
    assert verify_bundle(folder, key.public_key) == []
    assert content(folder).items() >= FILES.items()
    assert set(content(folder)) - set(FILES) == {"manifest.json", "attestation.dsse.json"}
    assert [p.name for p in folder.parent.iterdir()] == ["evidence"]


def test_folders_and_files_are_for_the_owner_only(folder, key):
    write(folder, key)
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_writing_again_gives_the_same_bytes(folder, key):
    write(folder, key)
    before = content(folder)
    write(folder, key)
    assert content(folder) == before


def test_a_new_bundle_leaves_nothing_of_the_old_one(folder, key):
    write(folder, key, files={"old.json": b"{}"})
    write(folder, key)
    assert "old.json" not in content(folder)
    assert verify_bundle(folder, key.public_key) == []


def test_without_a_key_the_bundle_is_not_signed(folder, key):
    write(folder, None)
    assert [p.file for p in verify_bundle(folder, key.public_key)] == ["attestation.dsse.json"]
    write(folder, key)
    assert verify_bundle(folder, key.public_key) == []


@pytest.mark.parametrize("stop", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_report_leaves_the_old_bundle(folder, key, monkeypatch, stop):
    write(folder, key)
    before = content(folder)
    calls = []

    def interrupted(path, data):
        calls.append(path)
        if len(calls) == 3:
            raise stop
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    monkeypatch.setattr(writing, "write_bytes", interrupted)
    with pytest.raises((AuditError, KeyboardInterrupt)):
        write(folder, key, files={"new.json": b"{}"})
    assert content(folder) == before
    assert [p.name for p in folder.parent.iterdir()] == ["evidence"]


def test_an_interrupt_between_the_two_renames_puts_the_old_bundle_back(folder, key, monkeypatch):
    write(folder, key)
    before = content(folder)
    original = type(folder).rename

    def rename(self, target):
        if self.name == "new":
            raise KeyboardInterrupt
        return original(self, target)

    monkeypatch.setattr(type(folder), "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        write(folder, key, files={"new.json": b"{}"})
    assert content(folder) == before


def test_what_a_killed_process_left_is_cleared_away(folder, key):
    left = folder.parent / ".evidence.abc" / "new"
    left.mkdir(parents=True)
    (left / "audit.json").write_text("{}")
    write(folder, key)
    assert [p.name for p in folder.parent.iterdir()] == ["evidence"]


def test_nothing_is_written_where_a_patient_would_be_named(folder, key):
    with pytest.raises(PatientDataError):
        write(folder, key, files={"x.json": b'["candidate-000001"]'})
    assert not folder.parent.exists()


def test_a_folder_that_is_no_bundle_is_kept(folder, key):
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="no evidence bundle"):
        write(folder, key)
    assert content(folder) == {"thesis.tex": b"precious"}


def test_a_link_and_a_file_in_the_way_are_kept(folder, key, tmp_path):
    folder.parent.mkdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="no evidence bundle"):
        write(folder, key)
    folder.unlink()
    folder.write_text("x")
    with pytest.raises(ConfigError, match="no evidence bundle"):
        write(folder, key)


def test_a_name_that_leaves_the_bundle_is_refused(folder, key):
    with pytest.raises(ValueError, match="inside of the bundle"):
        write(folder, key, files={"../x": b"{}"})
    assert not folder.exists()
