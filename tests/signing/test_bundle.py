"""A bundle: verifies wherever it is copied, and nothing in it can be changed unseen."""

import base64
import json
import os
import shutil
from pathlib import Path

import pytest

from audit.core.errors import ConfigError, MissingEvidenceError
from audit.formats.chain import append_event
from audit.signing.bundle import check_bundle, signed_files, verify_bundle
from audit.signing.canonical import canonical_json
from audit.signing.envelope import seal
from audit.signing.keys import generate_key_pair, load_private_key
from audit.signing.manifest import manifest_bytes, sha256_hex
from audit.signing.statement import PAYLOAD_TYPE, AuditResult, Ending

RESULT = AuditResult(passed=("eps-1: consistent",), failed=("eps-10: violated",))
NAMES = (
    "audit.json",
    "attacks/eps-1.json",
    "attacks/eps-10.json",
    "config.resolved.yaml",
    "events.jsonl",
    "report.html",
)
LISTED = (*NAMES, "manifest.json", "attestation.dsse.json")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    generate_key_pair(folder / "mine")
    generate_key_pair(folder / "other")
    return {n: load_private_key(folder / n / "audit.key") for n in ("mine", "other")}


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    for kind in ("begun", "trained", "attacked"):
        append_event(path, {"event": kind})
    return path.read_bytes()


@pytest.fixture
def files(events):
    content = {name: f"{name}: something\n".encode() for name in NAMES}
    return {**content, "events.jsonl": events}


def write(folder: Path, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def bundle(tmp_path, files, keys):
    return write(tmp_path / "evidence", signed_files(files, RESULT, keys["mine"]))


@pytest.fixture
def public(keys):
    return keys["mine"].public_key


def problems(bundle, public):
    return {p.file: p.reason for p in verify_bundle(bundle, public)}


def test_an_untouched_bundle_verifies_wherever_it_is_copied(bundle, public, tmp_path):
    shutil.copytree(bundle, tmp_path / "elsewhere")
    for folder in (bundle, tmp_path / "elsewhere"):
        checked = check_bundle(folder, public)
        assert (checked.problems, checked.files) == ((), 6)
        assert checked.result == RESULT
        assert checked.result.ending is Ending.FAILED


def test_the_same_input_gives_the_same_bytes_in_any_order(files, keys):
    turned = dict(reversed(files.items()))
    assert signed_files(files, RESULT, keys["mine"]) == signed_files(turned, RESULT, keys["mine"])


def test_the_statement_is_an_in_toto_test_result_about_the_manifest(bundle):
    envelope = json.loads((bundle / "attestation.dsse.json").read_bytes())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    config = sha256_hex((bundle / "config.resolved.yaml").read_bytes())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert statement == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": "manifest.json",
                "digest": {"sha256": sha256_hex((bundle / "manifest.json").read_bytes())},
            }
        ],
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {
            "result": "FAILED",
            "configuration": [{"name": "config.resolved.yaml", "digest": {"sha256": config}}],
            "passedTests": ["eps-1: consistent"],
            "warnedTests": [],
            "failedTests": ["eps-10: violated"],
        },
    }


def test_the_ending_is_the_worst_test():
    assert AuditResult(passed=("a",)).ending is Ending.PASSED
    assert AuditResult(passed=("a",), warned=("b",)).ending is Ending.WARNED
    assert AuditResult(warned=("b",), failed=("c",)).ending is Ending.FAILED
    with pytest.raises(ValueError, match="at least one test"):
        AuditResult()
    with pytest.raises(ValueError, match="'a' is named twice"):
        AuditResult(passed=("a",), failed=("a",))


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("how", ["first", "middle", "last"])
def test_a_flipped_bit_is_found(bundle, public, name, how):
    content = bytearray((bundle / name).read_bytes())
    content[{"first": 0, "middle": len(content) // 2, "last": -1}[how]] ^= 0x01
    (bundle / name).write_bytes(content)
    assert name in problems(bundle, public)


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("length", [0, 1, -1])
def test_a_truncated_file_is_found(bundle, public, name, length):
    (bundle / name).write_bytes((bundle / name).read_bytes()[:length])
    assert name in problems(bundle, public)


@pytest.mark.parametrize("name", LISTED)
def test_a_byte_more_is_found(bundle, public, name):
    for more in (b" ", b"\n"):
        original = (bundle / name).read_bytes()
        (bundle / name).write_bytes(original + more)
        assert name in problems(bundle, public)
        (bundle / name).write_bytes(original)


@pytest.mark.parametrize("name", LISTED)
def test_a_deleted_file_is_found(bundle, public, name):
    (bundle / name).unlink()
    assert "missing" in problems(bundle, public)[name]


@pytest.mark.parametrize("name", LISTED)
def test_a_renamed_file_is_found_under_both_names(bundle, public, name):
    (bundle / name).rename(bundle / "renamed.json")
    found = problems(bundle, public)
    assert "missing" in found[name]
    if name != "manifest.json":  # without it nobody knows what else was there
        assert "added" in found["renamed.json"]


@pytest.mark.parametrize("name", ["new.txt", "attacks/new.json", "new/new.json", ".hidden"])
def test_an_added_file_is_found(bundle, public, name):
    write(bundle, {name: b"x"})
    assert "added" in problems(bundle, public)[name]


def test_an_added_empty_folder_is_found(bundle, public):
    (bundle / "attacks" / "more").mkdir()
    assert "added" in problems(bundle, public)["attacks/more"]


@pytest.mark.parametrize(
    ("one", "other"), [("audit.json", "report.html"), ("audit.json", "attestation.dsse.json"),
                       ("manifest.json", "attestation.dsse.json"), NAMES[1:3]]
)  # fmt: skip
def test_two_files_that_were_swapped_are_found(bundle, public, one, other):
    first, second = (bundle / one).read_bytes(), (bundle / other).read_bytes()
    (bundle / one).write_bytes(second)
    (bundle / other).write_bytes(first)
    assert {one, other} <= set(problems(bundle, public))


@pytest.mark.parametrize("name", [*LISTED, "attacks"])
def test_a_link_is_found_even_to_the_same_bytes(bundle, public, tmp_path, name):
    (bundle / name).rename(tmp_path / "outside")
    (bundle / name).symlink_to(tmp_path / "outside")
    assert "plain file" in problems(bundle, public)[name]


def test_an_added_link_and_a_special_file_are_found(bundle, public):
    (bundle / "link").symlink_to(bundle / "audit.json")
    (bundle / "dangling").symlink_to(bundle / "none")
    os.mkfifo(bundle / "pipe")
    found = problems(bundle, public)
    assert set(found) == {"link", "dangling", "pipe"}


def test_a_folder_in_a_files_place_is_found(bundle, public):
    for name in ("audit.json", "manifest.json", "attestation.dsse.json"):
        (bundle / name).unlink()
        (bundle / name).mkdir()
    assert set(problems(bundle, public)) >= {"manifest.json", "attestation.dsse.json"}


def test_a_file_that_is_added_with_its_hash_is_found_in_the_manifest(bundle, public):
    record = json.loads((bundle / "manifest.json").read_bytes())
    write(bundle, {"new.txt": b"x"})
    write(
        bundle, {"manifest.json": manifest_bytes(record["sha256"] | {"new.txt": sha256_hex(b"x")})}
    )
    assert "was changed" in problems(bundle, public)["manifest.json"]


def test_a_bundle_signed_again_with_another_key_is_found(bundle, files, public, keys):
    write(bundle, signed_files({**files, "audit.json": b"{}"}, RESULT, keys["other"]))
    assert "another key id" in problems(bundle, public)["attestation.dsse.json"]


def test_a_wrong_key_is_found(bundle, keys):
    found = problems(bundle, keys["other"].public_key)
    assert set(found) == {"attestation.dsse.json"}


def test_the_attestation_of_another_bundle_is_found(bundle, files, public, keys):
    other = signed_files({**files, "audit.json": b"{}"}, RESULT, keys["mine"])
    write(bundle, {"attestation.dsse.json": other["attestation.dsse.json"]})
    assert "not the one that was signed" in problems(bundle, public)["manifest.json"]


def test_an_unsigned_bundle_does_not_verify(tmp_path, files, public):
    bundle = write(tmp_path / "evidence", signed_files(files, RESULT, None))
    assert "not signed" in problems(bundle, public)["attestation.dsse.json"]
    assert check_bundle(bundle, public).result is None


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/hostname", "a/../../x", "a//b", "./a", ".", "", "a/", "a\\b", "a\nb", "a\x00b",
     "manifest.json", "attestation.dsse.json"],
)  # fmt: skip
def test_a_manifest_that_points_elsewhere_is_refused_even_if_signed(bundle, public, keys, name):
    with pytest.raises(ValueError, match=r"expected|cannot list"):
        manifest_bytes({name: "0" * 64})
    record = json.loads((bundle / "manifest.json").read_bytes())
    record["sha256"][name] = "0" * 64
    resign(bundle, keys["mine"], manifest=json.dumps(record).encode())
    assert "names" in problems(bundle, public)["manifest.json"]


def resign(bundle, key, *, manifest=None, change=lambda statement: None):
    """Sign again with the right key, after a change that the writer would not make."""
    if manifest is not None:
        (bundle / "manifest.json").write_bytes(manifest)
    envelope = json.loads((bundle / "attestation.dsse.json").read_bytes())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    digest = sha256_hex((bundle / "manifest.json").read_bytes())
    statement["subject"][0]["digest"]["sha256"] = digest
    change(statement)
    sealed = seal(canonical_json(statement), payload_type=PAYLOAD_TYPE, private_key=key)
    (bundle / "attestation.dsse.json").write_bytes(sealed)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.replace(b'"sha256": {', b'"sha256": {}, "sha256": {'), "stands twice"),
        (lambda m: m.replace(b'"audit.json": ', b'"audit.json": "", "audit.json": '), "twice"),
        (lambda m: m.replace(b"audit-bundle/v1", b"audit-manifest/v1"), "expected schema"),
        (lambda m: m.replace(b'"schema"', b'"note": 1, "schema"'), "no other"),
        (lambda m: b"[]", "expected schema"),
        (lambda m: b"not json", "not JSON"),
        (lambda m: b"\xff\xfe", "not JSON"),
    ],
)
def test_a_manifest_that_is_none_is_refused_even_if_signed(bundle, public, keys, change, reason):
    manifest = change((bundle / "manifest.json").read_bytes())
    resign(bundle, keys["mine"], manifest=manifest)
    assert reason in problems(bundle, public)["manifest.json"]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"),
        lambda s: s["predicate"].update(result="PASSED"),
        lambda s: s["predicate"].update(note="x"),
        lambda s: s["predicate"].update(failedTests="x"),
        lambda s: s["predicate"].pop("configuration"),
        lambda s: s["subject"].append({"name": "x", "digest": {"sha256": "0"}}),
        lambda s: s["predicate"]["configuration"][0]["digest"].update(sha256="0" * 64),
        lambda s: s.clear(),
    ],
)
def test_a_signed_statement_that_is_not_ours_is_refused(bundle, public, keys, change):
    resign(bundle, keys["mine"], change=change)
    assert set(problems(bundle, public)) == {"attestation.dsse.json"}


def test_a_broken_event_chain_is_found_even_if_signed(bundle, files, public, keys, events):
    first, *rest = events.splitlines(keepends=True)
    broken = b"".join([first.replace(b"begun", b"BEGUN"), *rest])
    write(bundle, signed_files({**files, "events.jsonl": broken}, RESULT, keys["mine"]))
    assert problems(bundle, public) == {
        "events.jsonl": "line 2 does not follow the line before it: "
        "that one was changed, removed or put between"
    }


def test_what_is_no_bundle_is_told_apart(tmp_path, public):
    with pytest.raises(ConfigError, match="exists"):
        verify_bundle(tmp_path / "none", public)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingEvidenceError, match=r"no manifest\.json"):
        verify_bundle(tmp_path / "empty", public)
    run = write(tmp_path / "run", {"run.json": b"{}", "manifest.json": b"{}"})
    with pytest.raises(MissingEvidenceError, match="is a run; its bundle is"):
        verify_bundle(run, public)


def test_a_name_that_could_move_the_cursor_is_shown_escaped(bundle, public):
    (bundle / "a\x1b[2Jb").write_bytes(b"")
    (Path(os.fsdecode(os.fsencode(bundle) + b"/\xff"))).write_bytes(b"")
    assert set(problems(bundle, public)) == {"'a\\x1b[2Jb'", "'\\udcff'"}


def test_a_configuration_that_is_not_in_the_bundle_is_not_signed(files, keys):
    with pytest.raises(ValueError, match=r"'config\.yaml' is not in the bundle"):
        signed_files(
            files, AuditResult(passed=("a",), configuration=("config.yaml",)), keys["mine"]
        )
