"""Each view holds what its adversary sees, and nothing more."""

import shutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attacks.attack import gradient_of
from audit.core.adversaries import PASSIVE, Adversary
from audit.core.errors import MissingEvidenceError
from audit.core.loading import load_config
from audit.core.views import (
    ColludingServerView,
    ParticipantView,
    QueryView,
    SecaggServerView,
    ServerView,
)
from audit.disclosure import Disclosure
from audit.pipeline.train import TrainOptions, train
from audit.store.run import RunDirectory
from training.journal import read_update


def disclosure(path: Path) -> Disclosure:
    run = RunDirectory.open(path)
    return Disclosure(run, run.config, run.config.cells[0])


def arrays(value: Any) -> Iterator[np.ndarray]:
    """Yield every array that can be reached from a view."""
    if isinstance(value, np.ndarray):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from arrays(getattr(value, field.name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from arrays(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from arrays(item)


def flat_updates(path: Path, client: str) -> list[np.ndarray]:
    folder = path / "cells" / "eps-2" / "clients" / client
    return [read_update(p) for p in sorted(folder.glob("*/*.update.safetensors"))]


def shows(view: Any, update: np.ndarray) -> bool:
    """Whether a view holds an update, whole or by its largest layer."""
    layers = [a for a in arrays(view) if a.dtype.kind == "f" and a.size > 500]
    return any(
        np.allclose(layer.ravel(), update[start : start + layer.size], rtol=0, atol=1e-7)
        for layer in layers
        for start in _starts(layer, update)
    )


def _starts(layer: np.ndarray, update: np.ndarray) -> list[int]:
    first = np.flatnonzero(np.isclose(update, layer.ravel()[0], rtol=0, atol=1e-7))
    return [int(i) for i in first if i + layer.size <= update.size]


def test_the_server_sees_every_single_update(trained: Path) -> None:
    view = disclosure(trained).view(Adversary.SERVER)
    assert isinstance(view, ServerView)
    assert len(view.rounds) == 3 * 3
    assert {o.clients for o in view.rounds} == {("hospital-1",), ("hospital-2",), ("hospital-3",)}
    assert all(shows(view, u) for u in flat_updates(trained, "hospital-2"))


def test_the_secagg_server_sees_sums_and_no_single_update(trained: Path) -> None:
    view = disclosure(trained).view(Adversary.SECAGG_SERVER)
    assert isinstance(view, SecaggServerView)
    for client in ("hospital-1", "hospital-2", "hospital-3"):
        assert not any(shows(view, update) for update in flat_updates(trained, client))
    stages = {message.stage for message in view.wire}
    assert {"keys", "shares", "train", "unmask"} <= stages
    mean = np.mean([flat_updates(trained, f"hospital-{i}")[-1] for i in (1, 2, 3)], axis=0)
    assert shows(view.rounds[-1].update, mean)


def test_a_colluding_server_sees_its_colluders_only(trained: Path) -> None:
    view = disclosure(trained).view(Adversary.COLLUDING_SERVER)
    assert isinstance(view, ColludingServerView)
    assert view.colluders == ("hospital-2", "hospital-3")
    assert not any(shows(view, u) for u in flat_updates(trained, "hospital-1"))
    assert all(shows(view, u) for u in flat_updates(trained, "hospital-3"))
    assert set(view.keys["round-001"]) == {"hospital-2", "hospital-3"}


def test_a_participant_sees_its_own_updates_only(trained: Path) -> None:
    view = disclosure(trained).view(Adversary.PARTICIPANT)
    assert isinstance(view, ParticipantView)
    assert len(view.models) == 4
    assert len(view.own.labels) > 300
    for client in ("hospital-2", "hospital-3"):
        assert not any(shows(view, update) for update in flat_updates(trained, client))


def test_query_access_shows_no_weights_and_is_counted(trained: Path) -> None:
    view = disclosure(trained).view(Adversary.QUERY)
    assert isinstance(view, QueryView)
    assert not hasattr(view, "weights")
    chances = view.oracle.probabilities(view.background.candidates.inputs[:5])
    assert np.allclose(chances.sum(axis=1), 1)
    assert view.oracle.labels(view.background.candidates.inputs[:2]).shape == (2,)
    assert view.oracle.queries == 7


def test_every_passive_view_can_be_built_without_the_secrets(run_copy: Path) -> None:
    shutil.rmtree(run_copy / "secrets")
    for adversary in PASSIVE:
        disclosure(run_copy).view(adversary)


def test_a_recording_gives_no_view_of_a_malicious_server(trained: Path) -> None:
    with pytest.raises(MissingEvidenceError, match="malicious-server"):
        disclosure(trained).view(Adversary.MALICIOUS_SERVER)


def test_candidates_carry_no_sign_of_membership(trained: Path) -> None:
    """Order and pseudonyms must not tell: position is uncorrelated with the bit."""
    from audit.vault import Vault

    view = disclosure(trained).view(Adversary.RECIPIENT)
    member = Vault(trained / "secrets").membership().member
    bits = np.array([member[name] for name in view.background.candidates.ids])
    assert 0.2 < bits.mean() < 0.8
    correlation = np.corrcoef(np.arange(len(bits)), bits)[0, 1]
    assert abs(correlation) < 3.3 / np.sqrt(len(bits))


def test_a_probe_s_gradient_does_not_depend_on_the_rate_it_was_made_with(tmp_path: Path) -> None:
    gradients = []
    for rate in (0.25, 2.0):
        settings = [
            "privacy.epsilons=[.inf]", "schedule.rounds=1", "schedule.local_steps=1",
            "probes.batch_sizes=[1]", "probes.repeats=1", f"probes.learning_rate={rate}",
        ]  # fmt: skip
        config = load_config("smoke", settings)
        run = train(config, tmp_path / f"rate-{rate}", TrainOptions())
        view = Disclosure(run, config, config.cells[0]).view(Adversary.SERVER)
        assert isinstance(view, ServerView)
        (first, *_) = view.probes
        assert first.learning_rate == rate
        assert view.rounds[0].learning_rate == config.schedule.rate(1)
        gradients.append(gradient_of(first))
    for name, array in gradients[0].items():
        np.testing.assert_allclose(array, gradients[1][name], atol=1e-5)
