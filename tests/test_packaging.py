"""The lock pins and hashes everything, and the wheel holds the code and the configurations."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REQUIRED = (
    "flwr",
    "torch",
    "torchvision",
    "opacus",
    "adversarial-robustness-toolbox",
    "scikit-learn",
    "pandas",
    "typer",
)
# name==version, a marker if any, then hashes on continued lines
PINNED = re.compile(
    r"[a-z0-9][a-z0-9.-]*(\[[a-z0-9,-]+\])?==[^ ;]+( ; .+?)?( --hash=sha256:\w{64})+"
)


@pytest.fixture(scope="module")
def requirements():
    """Logical lines of the lock."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel's file names; built offline, with the build backend of the environment."""
    folder = tmp_path_factory.mktemp("wheel")
    offline = {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1", "HOME": str(folder)}
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT, env=os.environ | offline, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def test_every_requirement_is_pinned_with_a_hash(requirements):
    assert [line for line in requirements if not PINNED.fullmatch(line)] == []


def test_the_lock_names_no_index_and_no_address():
    text = (ROOT / "requirements.lock").read_text()
    assert re.findall(r"\w+://|@ file|--(?:extra-)?index|--find-links|^-", text, re.MULTILINE) == []


@pytest.mark.parametrize("package", REQUIRED)
def test_a_required_package_is_a_locked_direct_dependency(package, requirements, project):
    direct = {re.split(r"[\[<>=~!; ]", d)[0] for d in project["project"]["dependencies"]}
    locked = {re.split(r"[\[=]", line)[0] for line in requirements}
    assert package in direct
    assert package in locked


def test_every_declared_dependency_is_locked(requirements, project):
    """Run, extra and development dependencies, and the build backend (there is no isolation)."""
    declared = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["ray"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]
    names = {re.split(r"[\[<>=~!; ]", d)[0] for d in declared}
    assert names - {re.split(r"[\[=]", line)[0] for line in requirements} == set()


def test_the_wheel_holds_every_configuration(wheel):
    shipped = {f"audit/configs/{p.name}" for p in (ROOT / "configs").glob("*.yaml")}
    assert shipped
    assert shipped <= set(wheel)


def test_the_wheel_holds_every_requirements_file(wheel):
    folder = ROOT / "reports" / "requirements"
    shipped = {path.relative_to(ROOT).as_posix() for path in folder.glob("*.yaml")}
    assert shipped
    assert shipped <= set(wheel)


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel):
    roots = {name.partition("/")[0] for name in wheel if ".dist-info/" not in name}
    assert roots == {"audit", "training", "attacks", "reports"}
