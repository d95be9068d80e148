"""Guesses made side by side are those of one process, and what goes wrong there is said here."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from attacks.attack import Budget
from attacks.membership.loss import LossThreshold
from audit.core.scores import Outcome
from audit.pipeline import guessing
from audit.pipeline.attack import AttackOptions, attack
from audit.store.run import RunDirectory

ONLY = ("loss", "art-rule", "label-counts", "inverting-gradients", "lira-offline", "tabular")


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few guesses be many."""
    monkeypatch.setattr(guessing, "MANY", 1)


def attacked(run: Path, *only: str, workers: int = 2):
    shutil.rmtree(run / "attacks")
    options = AttackOptions(only=only, budget=Budget.QUICK, workers=workers)
    return attack(RunDirectory.open(run), options)


def results(run: Path) -> dict[str, dict]:
    return {
        str(path.relative_to(run)): json.loads(path.read_text())
        for path in sorted((run / "attacks").rglob("result.json"))
    }


@pytest.mark.usefixtures("many")
def test_processes_side_by_side_make_the_same_guesses(trained: Path, run_copy: Path) -> None:
    assert not attacked(run_copy, *ONLY).failed
    found, before = results(run_copy), results(trained)
    assert len(found) > 20
    assert {result["attack"] for result in found.values()} >= set(ONLY)
    for name, result in found.items():
        assert result == before[name]
        guess = Path(name).parent / "guess.safetensors"
        assert (run_copy / guess).exists() is result["guessed"]
        if result["guessed"]:
            assert (run_copy / guess).read_bytes() == (trained / guess).read_bytes()


def test_few_guesses_are_made_here(run_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    whole = LossThreshold.guess
    monkeypatch.setattr(LossThreshold, "guess", lambda *given: seen.append(1) or whole(*given))
    assert not attacked(run_copy, "loss").failed
    assert len(seen) == 4  # two cells, two adversaries


@pytest.mark.usefixtures("many")
def test_what_an_attack_raises_elsewhere_is_recorded(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def threads(count: int) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(count) as pool:
            yield pool

    def broken(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(guessing, "processes", threads)
    monkeypatch.setattr(LossThreshold, "guess", broken)
    report = attacked(run_copy, "loss", "modified-entropy")
    assert len(report.failed) == 4
    assert set(report.failed.values()) == {"ZeroDivisionError: planted"}
    found = results(run_copy)
    outcomes = {(r["attack"], r["outcome"]) for r in found.values()}
    assert outcomes == {("loss", Outcome.FAILED), ("modified-entropy", Outcome.EXECUTED)}
