"""The rules of the source tree that no linter knows: layers are complete, banned calls stay out."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("audit", "training", "attacks", "reports")
LIGHT = ("audit.core", "audit.stats", "audit.gate", "audit.history", "audit.signing", "reports")
HEAVY = ("torch", "flwr", "opacus")
MAX_LINES = 350

BANNED_IMPORTS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
BANNED_CALLS = {"torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
GLOBAL_SEEDS = {
    "numpy.random.seed",
    "random.seed",
    "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all",
    "torch.manual_seed",
    "torch.random.manual_seed",
    "torch.seed",
}
FORKED = "torch.random.fork_rng"


def _sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _contracts() -> dict[str, dict]:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {c["id"]: c for c in pyproject["tool"]["importlinter"]["contracts"]}


def _modules() -> set[str]:
    inside = {p.stem for p in (ROOT / "audit").glob("*.py")} | {
        p.name for p in (ROOT / "audit").iterdir() if any(p.glob("*.py"))
    }
    return {f"audit.{name}" for name in inside - {"__init__"}} | set(PACKAGES) - {"audit"}


def test_every_module_is_in_a_layer():
    layers = " ".join(_contracts()["layers"]["layers"])
    assert _modules() - set(re.findall(r"[\w.]+", layers)) == set()


def test_modules_that_must_start_light_are_in_the_contract():
    contract = _contracts()["light"]
    assert set(contract["source_modules"]) == set(LIGHT) & _modules()
    assert set(contract["forbidden_modules"]) == set(HEAVY)


def test_modules_that_must_not_open_the_vault_are_in_the_contract():
    blind = {"audit.disclosure", "audit.gate", "audit.history", "reports"}
    contract = _contracts()["no-secrets"]
    assert set(contract["source_modules"]) == blind & _modules()
    assert contract["forbidden_modules"] == ["audit.vault"]


def test_light_modules_load_no_training_framework():
    """What import-linter cannot see: a framework that comes in through a third package."""
    script = f"""
import importlib, pkgutil, sys
for name in {sorted(set(LIGHT) & _modules())}:
    module = importlib.import_module(name)
    for child in pkgutil.walk_packages(getattr(module, "__path__", ()), name + "."):
        importlib.import_module(child.name)
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_the_audit_package_itself_is_empty():
    assert (ROOT / "audit" / "__init__.py").read_text().strip() == ""


@pytest.mark.parametrize("package", PACKAGES)
def test_sources_use_no_banned_call(package):
    found = [
        f"{_name(path)}:{line}: {what}"
        for path in _sources(package)
        for line, what in _offences(path.read_text(), _name(path))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "path", "expected"),
    [
        ("import pickle", "audit/x.py", ["pickle"]),
        ("from joblib import dump", "audit/x.py", ["joblib"]),
        ("from torch import load as read\nread(p)", "training/x.py", ["torch.load"]),
        ("import yaml\nyaml.load(t, Loader=L)", "audit/x.py", ["yaml.load"]),
        ("import yaml\nyaml.safe_load(t)", "audit/x.py", []),
        ("import numpy as np\nnp.load(p, allow_pickle=True)", "audit/x.py", ["allow_pickle"]),
        ("import numpy as np\nnp.load(p, allow_pickle=False)", "audit/x.py", []),
        ("import numpy as np\nnp.random.seed(0)", "attacks/x.py", ["numpy.random.seed"]),
        ("import torch\ntorch.manual_seed(0)", "training/models.py", ["torch.manual_seed"]),
        (
            "import torch\nwith torch.random.fork_rng(devices=[]):\n    torch.manual_seed(0)",
            "training/models.py",
            [],
        ),
        (
            "import torch\nwith torch.random.fork_rng():\n    torch.manual_seed(0)",
            "training/steps.py",
            ["torch.manual_seed"],
        ),
        ("print(1)", "audit/pipeline/x.py", ["print"]),
        ("print(1)", "audit/cli.py", []),
        ("print(1)", "audit/cli/table.py", []),
    ],
)
def test_the_search_for_banned_calls_finds_them(source, path, expected):
    assert [what for _, what in _offences(source, path)] == expected


def test_no_file_is_called_utils():
    found = [p for p in _sources(*PACKAGES, "tests", "benchmarks") if p.stem in {"utils", "util"}]
    assert found == []


def test_no_file_is_too_long_to_hold_one_idea():
    long = {
        _name(path): lines
        for path in _sources(*PACKAGES, "tests", "benchmarks")
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert long == {}


@pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a git checkout"
)
def test_no_committed_file_looks_like_a_run():
    # safe.directory: a checkout may belong to another user than the one who runs the tests.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT, env=environment, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    names = {Path(name).name for name in listing.split("\0")}
    assert names & {"table.json", "run.json", "scores.jsonl"} == set()


def _offences(source: str, path: str) -> Iterator[tuple[int, str]]:
    """Line and name of every banned import and call; aliases are resolved to full names."""
    tree = ast.parse(source)
    aliases = _aliases(tree)
    allowed = _forked_lines(tree, aliases) if path == "training/models.py" else set()
    in_cli = path == "audit/cli.py" or path.startswith("audit/cli/")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for module in _imported(node):
                if module.partition(".")[0] in BANNED_IMPORTS:
                    yield node.lineno, module
        elif isinstance(node, ast.Call):
            name = _full_name(node.func, aliases)
            if name == "print" and not in_cli:
                yield node.lineno, name
            if name in BANNED_CALLS or (name in GLOBAL_SEEDS and node.lineno not in allowed):
                yield node.lineno, name
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and not _is_false(keyword.value):
                    yield node.lineno, keyword.arg


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if node.module else []


def _aliases(tree: ast.AST) -> dict[str, str]:
    """Local name to full dotted name, over all imports of a file."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    names[alias.asname] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _full_name(node: ast.expr, aliases: dict[str, str]) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([aliases.get(node.id, node.id), *reversed(parts)])


def _forked_lines(tree: ast.AST, aliases: dict[str, str]) -> set[int]:
    """Lines inside ``with torch.random.fork_rng(...)``, where a seed stays local."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and any(
            isinstance(item.context_expr, ast.Call)
            and _full_name(item.context_expr.func, aliases) == FORKED
            for item in node.items
        ):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False
