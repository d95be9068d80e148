"""Canary hospitals: an estimate for whole hospitals, beside no claim, without a verdict."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from attacks.attack import Budget
from attacks.registry import ATTACKS
from audit.core.adversaries import Adversary
from audit.core.errors import MissingEvidenceError, ViewError
from audit.core.loading import load_config
from audit.core.randomness import named_generator
from audit.disclosure import Disclosure
from audit.disclosure.canaries import hospital_store
from audit.executor import Job
from audit.formats.files import read_json, read_json_lines
from audit.formats.guesses import read_guess
from audit.pipeline.attack import AttackOptions, AttackReport, attack
from audit.pipeline.hospital_cells import (
    HospitalCells,
    HospitalTrial,
    orthonormal,
    run_hospital_trials,
)
from audit.pipeline.train import TrainOptions, train
from audit.stats import epsilon_of_gaussians
from audit.store.run import RunDirectory
from audit.vault import Vault

ID = "canary-hospitals"
FOLDER = Path("attacks/eps-2/recipient") / ID


def attacked(path: Path, **options: object) -> AttackReport:
    given = AttackOptions(only=(ID,), budget=Budget.QUICK, **options)  # type: ignore[arg-type]
    return attack(RunDirectory.open(path), given)


def scores(path: Path) -> dict[str, dict]:
    lines = read_json_lines(path / "scores.jsonl")
    return {s["cell"]: s for s in lines if s["attack"] == ID}


def keys_of(path: Path) -> tuple[str, ...]:
    kept = hospital_store(path, "eps-2").folder.glob("*/result.safetensors")
    return tuple(sorted(p.parent.name for p in kept))


def jobs_of(path: Path) -> list[Job[HospitalTrial]]:
    run = RunDirectory.open(path)
    key = {"noise_key": Vault(run.secrets).noise_key()} if run.config.reproduction else {}
    privacy = run.config.privacy.model_copy(update=key)
    config = run.config.model_copy(update={"privacy": privacy})
    return HospitalCells(run, config, 2).jobs(config.cells[0])


@pytest.fixture(scope="module")
def weighed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unequal weights, a falling learning rate, a server's own rate, sampled steps, fresh noise."""
    over = [
        "schedule={rounds: 3, local_steps: 2, batch_size: 120, learning_rate: 1.0, "
        "final_learning_rate: 0.5, momentum: 0.5, server_learning_rate: 0.5}",
        "aggregation.weights={hospital-1: 1, hospital-2: 2, hospital-3: 2}",
        "privacy.epsilons=[2]",
        "privacy.noise_key=null",
        "per_epsilon={}",
        "probes.repeats=0",
    ]
    out = tmp_path_factory.mktemp("weighed") / "run"
    train(load_config("demo", over), out, TrainOptions())
    attack(RunDirectory.open(out), AttackOptions(only=(ID,), budget=Budget.STANDARD))
    return out


def test_a_whole_hospital_is_estimated_without_claim_verdict_or_bound(trained: Path) -> None:
    score = scores(trained)["eps-2"]
    assert score["metric"] == "hospital_epsilon_estimate" and score["outcome"] == "executed"
    assert score["n"] == 6 and score["low"] < score["value"] < score["high"]
    assert "an estimate and no bound" in score["method"]
    assert "360 records in unison; nothing is claimed" in score["reason"]
    assert "without one show at most" in score["reason"]
    # Record-level DP at epsilon 2 is no hospital-level DP.
    assert score["low"] > 100
    (row,) = (r for r in read_json(trained / "table.json")["rows"] if r["cell"] == "eps-2")
    assert all(a["attack"] != ID and a["unit"] == "record" for a in row["audits"])
    assert ID not in {a["attack"] for a in read_json_lines(trained / "audits.jsonl")}


def test_without_dp_there_is_no_noise_and_nothing_is_trained(trained: Path) -> None:
    score = scores(trained)["eps-inf"]
    assert (score["outcome"], score["value"]) == ("not_run", None)
    assert "infinite" in score["reason"]
    assert not hospital_store(trained, "eps-inf").folder.exists()


def test_readings_are_what_the_recipe_says(weighed: Path) -> None:
    run = RunDirectory.open(weighed)
    guess = read_guess(weighed / FOLDER)
    vault = Vault(run.secrets)
    names = {key[:12]: key for key in keys_of(weighed)}
    order = dict.fromkeys(name.split("-")[1] for name in guess.candidates)
    present = np.concatenate([vault.canaries("eps-2", names[name]) for name in order])
    pushed, noise = guess.scores[present], guess.scores[~present]
    assert (len(pushed), len(noise)) == (16, 8 * (64 - 2))  # the two heaviest hospitals
    # In units of the push: three hospitals' noise by weight, and the sampling of its own batches.
    multiplier = read_json(run.cell("eps-2").summary)["noise_multiplier"]
    rates, steps, batch = np.array([1.0, 0.75, 0.5]), np.array([1.0, 1.5]), 120
    spread = np.sqrt((rates**2).sum() * (steps**2).sum()) / (rates.sum() * steps.sum()) / batch
    null = multiplier * np.sqrt(1 + 4 + 4) / 2 * spread
    whole = np.hypot(null, np.sqrt(batch * (1 - batch / 360)) * spread)
    assert pushed.mean() == pytest.approx(1, abs=4 * whole / 4)
    assert pushed.std(ddof=1) == pytest.approx(whole, rel=0.6)
    assert noise.mean() == pytest.approx(0, abs=4 * null / len(noise) ** 0.5)
    assert noise.std() == pytest.approx(null, rel=4 / (2 * len(noise)) ** 0.5)
    truth = epsilon_of_gaussians(1.0, whole, null_deviation=null, delta=1e-5)
    assert scores(weighed)["eps-2"]["low"] * 0.8 < truth < scores(weighed)["eps-2"]["high"] * 1.25


def test_directions_are_orthonormal_isotropic_and_secretly_pushed(weighed: Path) -> None:
    for job in jobs_of(weighed):
        trial = job.payload
        np.testing.assert_allclose(trial.directions @ trial.directions.T, np.eye(64), atol=1e-9)
        present = Vault(RunDirectory.open(weighed).secrets).canaries("eps-2", job.key)
        held = [c.push for c in trial.federation.canaries if c.push is not None]
        assert present.sum() == len(held) == 2
        np.testing.assert_allclose(
            sorted(abs(trial.directions @ h.direction).argmax() for h in held),
            np.flatnonzero(present),
        )
        assert {h.copies for h in held} == {360}
    rng = named_generator(3, "sphere")
    many = np.stack([orthonormal(8, 2, rng) for _ in range(2000)])
    np.testing.assert_allclose(many.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose((many**2).mean(axis=0), 1 / 8, atol=0.02)


def test_no_patients_record_is_spent(trained: Path) -> None:
    split = read_json(trained / "secrets" / "split.json")
    patients = {i for part in split["hospitals"].values() for i in part}
    for job in jobs_of(trained):
        assert job.payload.federation.ledgers is None
        assert all(patients.isdisjoint(part.tolist()) for part in job.payload.federation.parts)


def test_a_reproduction_reads_the_same_again(trained: Path) -> None:
    job = jobs_of(trained)[0]
    kept = hospital_store(trained, "eps-2").read(job.key).arrays["released"]
    (again,) = run_hospital_trials([job.payload])
    assert again.arrays["released"].tobytes() == kept.tobytes()


def test_a_second_call_runs_nothing_again(run_copy: Path) -> None:
    told: list[list[str]] = []
    before = (run_copy / FOLDER / "guess.safetensors").stat().st_mtime_ns
    attacked(run_copy, planned=lambda _count, costs: told.append(costs))
    assert told == [[]]
    assert (run_copy / FOLDER / "guess.safetensors").stat().st_mtime_ns == before


def test_the_cost_is_said_before_anything_is_run(run_copy: Path) -> None:
    shutil.rmtree(run_copy / "audit_cells")
    told: list[list[str]] = []
    attacked(run_copy, planned=lambda _count, costs: told.append(costs))
    (cost,) = told[0]
    assert cost.startswith("2 audit cells with canary hospitals, about ")


def test_a_guess_needs_no_secrets_and_shows_no_truth(run_copy: Path) -> None:
    def again() -> tuple[tuple[str, ...], bytes]:
        run = RunDirectory.open(run_copy)
        disclosure = Disclosure(run, run.config, run.config.cells[0])
        view = disclosure.hospital_view(Adversary.RECIPIENT, keys_of(run_copy))
        guess = ATTACKS[ID].build(Budget.QUICK).guess(view, named_generator(1, "x"))
        return guess.candidates, guess.scores.tobytes()

    first = again()
    shutil.rmtree(run_copy / "secrets")
    assert again() == first


def test_other_views_and_adversaries_are_refused(trained: Path) -> None:
    run = RunDirectory.open(trained)
    disclosure = Disclosure(run, run.config, run.config.cells[0])
    rng, build = named_generator(1, "x"), ATTACKS[ID].build(Budget.QUICK)
    with pytest.raises(ViewError, match=f"{ID}.*RecipientView"):
        build.guess(disclosure.view(Adversary.RECIPIENT), rng)
    with pytest.raises(MissingEvidenceError, match="judged by the final model"):
        disclosure.hospital_view(Adversary.QUERY, keys_of(trained))


ODD = """from torch import nn
def conv(shape, classes):
    return nn.Sequential(nn.Flatten(1), nn.Linear(64, 8), nn.Unflatten(1, (2, 4)),
        nn.Conv1d(2, classes, 4), nn.Flatten(1))
def narrow(shape, classes):
    return nn.Sequential(nn.Flatten(1), nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, classes))
"""


@pytest.mark.parametrize(
    ("model", "said"),
    [("conv", "Conv1d: gradient canaries need a linear one"), ("narrow", "6 columns: 3 canary")],
)
def test_a_model_without_room_for_canary_hospitals_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, said: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "odd_heads.py").write_text(ODD)
    over = [
        f"model={{name: 'odd_heads:{model}'}}",
        "privacy.epsilons=[2]",
        "schedule={rounds: 1, local_steps: 1, batch_size: 90, learning_rate: 0.1}",
        "per_epsilon={}",
        "probes.repeats=0",
    ]
    train(load_config("demo", over), tmp_path / "run", TrainOptions())
    report = attacked(tmp_path / "run")
    score = scores(tmp_path / "run")["eps-2"]
    assert not report.failed and score["outcome"] == "not_run"
    assert said in score["reason"]
