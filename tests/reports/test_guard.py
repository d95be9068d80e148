"""The search before evidence leaves: it refuses what names a patient, and lets evidence pass."""

import base64
import io
import json

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import save

from audit.core.errors import AuditError, PatientDataError
from reports.guard import check_free_of_patients, find_patients

IDS = ("candidate-000012", "P-12.345 / Müller", "MRN00012345")
WORDS = {"hospital": "hospital-1", "cell": "eps-1"}


def _image(kind):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def _refused(name, content, **options):
    content = content if isinstance(content, bytes) else content.encode()
    with pytest.raises(PatientDataError) as caught:
        check_free_of_patients({"ok.md": b"fine", name: content}, IDS, **options)
    assert caught.value.exit_code == 5
    assert not any(one in str(caught.value) for one in IDS)
    return str(caught.value)


def _score(number):
    return {
        **WORDS, "attack": f"attack-{number}", "metric": "auc", "value": 0.5, "low": 0.4,
        "high": 0.6, "n": 1150, "confidence": 0.95,
    }  # fmt: skip


@pytest.fixture
def harmless():
    roc = [[i / 120, (i / 120) ** 0.5] for i in range(121)]
    curve = [{"delta": 10.0**-k, "epsilon": 0.1 * k} for k in range(1, 31)]
    audit = {
        "schema": "audit-evidence/v1",
        "leakage": [_score(i) for i in range(500)],
        "dp": {"curve": curve, "claims": [{**WORDS, "claimed_epsilon": 1.0} for _ in range(6)]},
        "classes": [str(i) for i in range(10)],
        "accuracy_of_class": [0.9] * 10,
        "records": [360, 360, 360],
        "roc": {"server": {"loss": roc}},
        "groups": [{**WORDS, "members": 191, "nonmembers": 575} for _ in range(40)],
        "cells": {"eps-1": {f"fact_{i}": i for i in range(35)}},
        "rounds": [{"round": i, "spent": 0.1 * i} for i in range(200)],
        "manifest": {"sha256": "0" * 64},
    }
    figure = '<svg xmlns="http://www.w3.org/2000/svg"><path d="' + "M 1.5 2.5 L 3 4 " * 400
    report = f'<!doctype html><h1>hospital-1, eps-1</h1>{figure}"/></svg><p>{"-" * 500}</p>'
    events = "".join(
        json.dumps({"sequence": i, "previous": "0" * 64, "event": "x", "cell": "eps-1"}) + "\n"
        for i in range(60)
    )
    config = {"name": "demo", "privacy": {"epsilons": [0.1] * 20}, "seed": 1, "public": None}
    schema = {"properties": {"member": {"type": "boolean"}, "scores": {"type": "array"}}}
    table = "cell,accuracy,epsilon\n" + "eps-1,0.9,1\n" * 20
    return {
        "audit.json": json.dumps(audit).encode(),
        "attacks/eps-1.json": json.dumps([_score(i) for i in range(30)]).encode(),
        "report.html": report.encode(),
        "events.jsonl": events.encode(),
        "config.resolved.yaml": yaml.safe_dump(config).encode(),
        "schemas/audit.json": json.dumps(schema).encode(),
        "table.csv": table.encode(),
        "summary.md": b"AUC 0.52 (0.48 to 0.56), n = 1150\n",
        "table.tex": b"\\begin{tabular}{ll} 0.5 & 0.6 \\end{tabular}\n",
    }


def test_a_harmless_bundle_passes(harmless):
    assert list(find_patients(harmless, IDS)) == []
    check_free_of_patients(harmless, IDS)


ID_TEXTS = {
    "in JSON": ("audit.json", '{"a": "candidate-000012"}'),
    "as a key": ("audit.json", '{"a": {"MRN00012345": 1}}'),
    "escaped in JSON": ("audit.json", '{"a": "M\\u0052N00012345"}'),
    "escaped in JSON lines": ("events.jsonl", '{"e": 1}\n{"e": "M\\u0052N00012345"}\n'),
    "escaped in YAML": ("config.resolved.yaml", 'a: "\\x4dRN00012345"\n'),
    "in HTML": ("report.html", "<td>MRN00012345</td>"),
    "escaped in HTML": ("report.html", "<td>&#77;RN00012345</td>"),
    "with other characters": ("report.html", "<td>P-12.345 / M&uuml;ller</td>"),
    "in CSV": ("table.csv", "cell,who\neps-1,MRN00012345\n"),
    "in Markdown": ("summary.md", "worst: MRN00012345."),
    "in LaTeX": ("summary.tex", "% candidate-000012"),
    "in an embedded drawing": (
        "report.html",
        f'<img src="data:image/svg+xml;base64,{base64.b64encode(b"<t>MRN00012345</t>").decode()}">',
    ),
    "in an escaped drawing": ("report.html", '<img src="data:image/svg+xml,%4dRN00012345">'),
    "a patient that is not listed": ("audit.json", '["patient-000001"]'),
    "inside of a longer word": ("audit.json", '["row_candidate-999999"]'),
    "of the pool": ("audit.json", '["pool-000001"]'),
    "of a canary": ("audit.json", '["canary-0123456789ab-outlier-00001"]'),
    "of a canary record": ("audit.json", '["record-0123456789ab-00001"]'),
}


@pytest.mark.parametrize("how", ID_TEXTS)
def test_an_id_is_refused(how):
    name, text = ID_TEXTS[how]
    assert f"{name}: holds the id of a record" in _refused(name, text)


def test_an_id_in_a_files_name_is_refused_and_not_repeated():
    assert "its name holds the id" in _refused("attacks/candidate-000012.json", "{}")


def test_the_place_of_a_finding_does_not_name_the_record():
    text = json.dumps({"MRN00012345": {"x": [0.1] * 100}})
    assert len(list(find_patients({"a.json": text.encode()}, IDS))) == 2
    assert "more findings" in _refused("a.json", text)


def test_an_id_too_short_to_search_for_is_no_silent_pass():
    with pytest.raises(ValueError, match="1 ids are shorter than 6"):
        check_free_of_patients({}, ["12", "candidate-000001"])


NUMBERS = {
    "a list": ("a.json", {"values": [0.1] * 17}),
    "scores, however few": ("a.json", {"scores": [0.5]}),
    "losses inside of a curve": ("a.json", {"curve": {"losses": [0.1, 0.2]}}),
    "thresholds inside of a curve": ("a.json", {"roc": {"thresholds": [0.1] * 20}}),
    "more than a curve has": ("a.json", {"roc": [0.1] * 5001}),
    "nested": ("a.json", {"x": [[0.1, 0.2]] * 20}),
    "an image": ("a.json", {"x": [[[0] * 8] * 8]}),
    "as text": ("a.json", {"x": ["0.25"] * 30}),
    "bits": ("a.json", {"x": [True, False] * 10}),
    "beside a word": ("a.json", {"x": ["server", *([0.5] * 30)]}),
    "in objects": ("a.json", {"x": [{"a": 0.5}] * 30}),
    "in objects with words": ("a.json", {"x": [{"hospital": "hospital-1", "loss": 0.5}] * 30}),
    "by key": ("a.json", {"x": {f"r{i}": 0.1 for i in range(100)}}),
    "a membership bit": ("a.json", {"x": {"hospital": "a", "member": True}}),
    "at the top": ("a.json", [0.1] * 17),
    "in JSON lines": ("a.jsonl", '{"a": 0.5}\n' * 30),
    "in YAML": ("a.yaml", {"x": [0.1] * 17}),
    "in CSV": ("a.csv", "record,value\n" + "x,0.5\n" * 20),
    "in CSV by cell": ("a.csv", "cell,value\n" + "eps-1,0.5\n" * 65),
    "bits as text": ("a.md", "guess: " + "01" * 16),
}


@pytest.mark.parametrize("how", NUMBERS)
def test_values_by_record_are_refused(how):
    name, value = NUMBERS[how]
    assert f"refused to write {name}: holds" in _refused(
        name, value if isinstance(value, str) else json.dumps(value)
    )


def test_a_caller_can_name_another_curve():
    files = {"a.json": json.dumps({"gain": [0.1] * 50}).encode()}
    with pytest.raises(PatientDataError, match="a list of 50 numbers at 'gain'"):
        check_free_of_patients(files, ())
    check_free_of_patients(files, (), curves=frozenset({"gain"}))


PNG, JPEG = _image("PNG"), _image("JPEG")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><path d="M 1 2"/></svg>'


def _uri(media, content):
    return f'<img src="data:{media};base64,{base64.b64encode(content).decode()}">'


IMAGES = {
    "PNG": ("a.png", PNG),
    "JPEG": ("a.jpg", JPEG),
    "GIF": ("a.gif", _image("GIF")),
    "BMP": ("a.bmp", _image("BMP")),
    "TIFF": ("a.tif", _image("TIFF")),
    "another name": ("audit.json", PNG),
    "in HTML": ("report.html", _uri("image/png", PNG)),
    "in HTML, escaped": ("report.html", _uri("image/png", PNG).replace("data:", "&#100;ata:")),
    "in HTML, capitals": ("report.html", _uri("IMAGE/PNG", PNG).replace("data:", "DATA:")),
    "in SVG": ("a.svg", f'<svg><image href={_uri("image/jpeg", JPEG)[9:]}/></svg>'),
    "in Markdown": ("summary.md", f"![x](data:image/png;base64,{base64.b64encode(PNG).decode()})"),
    "in JSON": ("audit.json", json.dumps({"x": _uri("image/png", PNG)})),
}  # fmt: skip


@pytest.mark.parametrize("how", IMAGES)
def test_an_image_is_refused_unless_it_is_allowed(how):
    name, content = IMAGES[how]
    assert "image" in _refused(name, content)
    if how not in {"another name"}:
        content = content if isinstance(content, bytes) else content.encode()
        check_free_of_patients({name: content}, IDS, allow_images=True)


def test_an_image_over_several_lines_as_matplotlib_writes_it_can_be_allowed():
    noise = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    lines = base64.encodebytes(buffer.getvalue()).decode()
    svg = {"a.svg": f'<svg><image href="data:image/png;base64,\n{lines}"/></svg>'.encode()}
    check_free_of_patients(svg, IDS, allow_images=True)
    assert [p.reason for p in find_patients(svg, IDS)] == [
        "holds an embedded image or data (a PNG image)"
    ]


DATA = {
    "safetensors": ("a.safetensors", save({"x": np.zeros(3, dtype=np.float32)}), "safetensors"),
    "empty safetensors": ("a.json", save({}), "safetensors"),
    "npz": ("a.npz", b"PK\x03\x04\x00", "zip"),
    "PDF": ("a.pdf", b"%PDF-1.7\n", "PDF"),
    "noise": ("a.bin", b"\xff\xfe\x00", "no text"),
    "NUL": ("a.md", b"a\x00b", "NUL"),
    "tensors in HTML": ("a.html", _uri("application/octet-stream", b"x").encode(), "octet-stream"),
    "a long code": ("a.md", base64.b64encode(bytes(range(256)) * 2), "encoded data"),
    "damaged JSON": ("a.json", b"{", "cannot be read as .json"),
    "damaged YAML": ("a.yaml", b"a: [", "cannot be read as .yaml"),
    "damaged address": ("a.html", b'"data:image/svg+xml;base64,A"', "cannot be decoded"),
}


@pytest.mark.parametrize("how", DATA)
def test_what_nobody_can_check_is_refused_even_with_images_allowed(how):
    name, content, word = DATA[how]
    assert word in _refused(name, content)
    assert word in _refused(name, content, allow_images=True)


def test_an_embedded_drawing_passes_and_an_image_inside_of_it_does_not():
    check_free_of_patients({"a.html": _uri("image/svg+xml", SVG).encode()}, IDS)
    hidden = SVG.replace(b"<path", _uri("image/png", PNG).encode() + b"<path")
    with pytest.raises(PatientDataError, match="a PNG image"):
        check_free_of_patients({"a.html": _uri("image/svg+xml", hidden).encode()}, IDS)


def test_the_error_is_one_of_the_projects_own():
    assert issubclass(PatientDataError, AuditError)
