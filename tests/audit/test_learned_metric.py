"""A learned distance is scored where it is installed, and refused by name where it is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_inversion_scoring import PICTURES, rebuilt, scored

from audit.core.guesses import ReconstructionGuess
from audit.core.scores import Outcome
from audit.scoring import learned
from audit.scoring.learned import Learned, learned_metric

GUESS = ReconstructionGuess(reconstructions=rebuilt(PICTURES))


def test_a_machine_without_the_package_says_so(monkeypatch) -> None:
    monkeypatch.setattr(learned, "find_spec", lambda _: None)
    assert learned_metric() == Learned(reason=learned.NO_PACKAGE)
    score = scored(GUESS)["lpips"]
    assert (score.outcome, score.value) == (Outcome.NOT_RUN, None)
    assert score.reason == "needs the package lpips: install fl-privacy-audit[lpips]"


def test_a_package_without_weights_downloads_nothing(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(learned, "find_spec", lambda _: object())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found = learned_metric()
    assert found.distance is None and "downloads nothing" in (found.reason or "")
    assert list(tmp_path.iterdir()) == []


def test_a_distance_is_scored_beside_the_best_baseline_and_smaller_is_closer() -> None:
    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.abs(a - b).reshape(len(a), -1).mean(axis=1).astype(np.float64)

    score = scored(GUESS, learned=Learned(distance=distance))["lpips"]
    assert (score.outcome, score.value, score.better, score.n) == ("executed", 0.0, "down", 12)
    assert score.chance is not None and 0.1 < score.chance < 0.5
    tables = replace(GUESS, reconstructions=())
    assert "lpips" not in scored(tables, learned=Learned(distance=distance))


def test_the_packages_own_distance_is_zero_for_the_same_picture_and_grows_with_noise() -> None:
    pytest.importorskip("lpips")
    found = learned_metric()
    if found.distance is None:
        pytest.skip(found.reason or "")
    noisy = np.clip(PICTURES[:4] + 0.2, 0, 1).astype(np.float32)
    same = found.distance(PICTURES[:4], PICTURES[:4])
    apart = found.distance(PICTURES[:4], PICTURES[4:8])
    assert same == pytest.approx(0, abs=1e-5)
    assert (found.distance(PICTURES[:4], noisy) > 0).all() and (apart > 0).all()
