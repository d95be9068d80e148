"""Audit cells: what is kept of them, who sees what, and that the truth stays in the secrets."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from attacks.attack import Budget
from audit.core.adversaries import Adversary
from audit.core.errors import MissingEvidenceError
from audit.core.loading import load_config
from audit.disclosure import Disclosure
from audit.disclosure.canaries import canary_truth, canary_view
from audit.formats.files import read_json, read_json_lines
from audit.pipeline.attack import AttackOptions, AttackReport, attack
from audit.pipeline.audit_cells import AuditCells, AuditEffort
from audit.pipeline.train import TrainOptions, train
from audit.store.run import RunDirectory
from audit.vault import Vault
from training.faults import NoNoise, SwappedTruth

AUDITS = ("canary-update", "canary-difference", "canary-sum", "canary-own-noise", "canary-outlier")
TWO = AuditEffort(canaries=0, least=2)


def audited(path: Path, *only: str, **options) -> AttackReport:
    given = AttackOptions(only=only or AUDITS, budget=Budget.QUICK, **options)
    return attack(RunDirectory.open(path), given)


def cells_of(path: Path, fault=None) -> AuditCells:
    run = RunDirectory.open(path)
    config = run.config
    if config.reproduction:
        privacy = config.privacy.model_copy(update={"noise_key": Vault(run.secrets).noise_key()})
        config = config.model_copy(update={"privacy": privacy})
    return AuditCells(run, config, TWO, fault)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full-batch run of a model with room for many canaries; fresh noise."""
    over = [
        "schedule={rounds: 4, local_steps: 1, batch_size: 360, learning_rate: 1.0}",
        "model={name: hog, options: {bias: false, lift: {features: 600}}}",
        "privacy.epsilons=[4, .inf]",
        "privacy.noise_key=null",
        "per_epsilon={}",
        "probes.repeats=0",
    ]
    out = tmp_path_factory.mktemp("wide") / "run"
    train(load_config("demo", over), out, TrainOptions())
    audited(out)
    return out


def test_every_private_cell_has_every_audit_and_a_verdict(trained: Path) -> None:
    rows = {row["cell"]: row for row in read_json(trained / "table.json")["rows"]}
    audits = [a for a in rows["eps-2"]["audits"] if a["about"] == "recipe"]
    assert {a["attack"] for a in audits} == {*AUDITS, "canary-records"}
    assert {a["adversary"] for a in audits} == {"server", "secagg-server", "participant", "query"}
    assert all(a["verdict"] in {"consistent", "underpowered"} for a in audits)
    assert rows["eps-2"]["verdict"] in {"consistent", "underpowered"}
    assert all(a["claimed_epsilon"] == rows["eps-2"]["claimed_epsilon"] for a in audits)
    assert rows["eps-inf"]["verdict"] is None
    # What probes claim is audited for itself, by who can be named in them.
    (probe,) = [a for a in rows["eps-2"]["audits"] if a["about"] == "probe"]
    assert (probe["attack"], probe["adversary"]) == ("candidate-identification", "server")
    assert probe["claimed_epsilon"] < rows["eps-2"]["claimed_epsilon"]


def test_bounds_are_scores_of_the_table_too(trained: Path) -> None:
    scores = [
        s
        for s in read_json_lines(trained / "scores.jsonl")
        if s["metric"] == "empirical_epsilon_lower_bound"
        and s["cell"] == "eps-2"
        and s["outcome"] == "executed"
    ]
    assert {s["slice"] for s in scores} == {"all", "any-mechanism"}
    assert {s["attack"] for s in scores} >= set(AUDITS)
    assert all(0 <= s["value"] <= s["ceiling"] and s["n"] > 0 for s in scores)


def test_without_dp_every_gradient_canary_is_called_right(wide: Path) -> None:
    control = [a for a in read_json_lines(wide / "audits.jsonl") if a["cell"] == "eps-inf"]
    found = {a["attack"]: a for a in control}
    for name in ("canary-update", "canary-sum", "canary-difference", "canary-own-noise"):
        assert found[name]["lower_bound"] == pytest.approx(found[name]["ceiling"])
        assert found[name]["verdict"] is None
    # An outlier is clipped nowhere without DP, and there is nothing to hold it against.
    assert "canary-outlier" not in found


def test_with_full_batches_the_observed_distance_is_the_mechanisms(wide: Path) -> None:
    run = RunDirectory.open(wide)
    cell = run.config.cells[0]
    keys = tuple(job.key for job in cells_of(wide).jobs(cell))
    view = Disclosure(run, run.config, cell).canary_view(Adversary.SERVER, keys, outliers=False)
    sigma = read_json(run.cell(cell.id).summary)["noise_multiplier"]
    present = {}
    for key in keys:
        present |= canary_truth(key, Vault(run.secrets).canaries(cell.id, key), 3)
    inside = np.array([present[name] for name in view.canaries])
    along = view.updates.mean(axis=1)
    distance = (along[inside].mean() - along[~inside].mean()) / along[~inside].std()
    assert len(inside) > 1200
    assert distance == pytest.approx(np.sqrt(4) / sigma, abs=4 * 2 / np.sqrt(len(inside)))


def test_each_adversary_gets_its_own_slice(wide: Path) -> None:
    run = RunDirectory.open(wide)
    cell = run.config.cells[0]
    keys = tuple(job.key for job in cells_of(wide).jobs(cell))
    disclosure = Disclosure(run, run.config, cell)

    def shown(adversary: Adversary, *, outliers: bool = False) -> set[str]:
        view = disclosure.canary_view(adversary, keys, outliers=outliers)
        fields = {f.name for f in dataclasses.fields(view)} - {"background", "canaries", "cells"}
        return {name for name in fields if getattr(view, name) is not None}

    assert shown(Adversary.SERVER) == {"updates", "others", "leftovers"}
    assert shown(Adversary.SERVER, outliers=True) == {"likeness"}
    assert shown(Adversary.SECAGG_SERVER) == {"sums"}
    assert shown(Adversary.PARTICIPANT) == {"sums", "own"}
    with pytest.raises(MissingEvidenceError, match="query: no view of it shows gradient"):
        shown(Adversary.QUERY)
    everyone = disclosure.canary_view(Adversary.SERVER, keys, outliers=False)
    curious = disclosure.canary_view(Adversary.PARTICIPANT, keys, outliers=False)
    assert len(curious.canaries) < 0.75 * len(everyone.canaries)  # not about its own


def test_an_only_hospital_has_nobody_elses_canaries_to_guess(wide: Path) -> None:
    run = RunDirectory.open(wide)
    cell = run.config.cells[0]
    background = Disclosure(run, run.config, cell).view(Adversary.RECIPIENT).background
    with pytest.raises(MissingEvidenceError, match="only hospital knows all canaries"):
        canary_view(background, Adversary.PARTICIPANT, [], weights=np.ones(1), outliers=False)


def test_a_sum_of_updates_holds_what_the_single_ones_do(wide: Path) -> None:
    run = RunDirectory.open(wide)
    cell = run.config.cells[1]
    keys = tuple(job.key for job in cells_of(wide).jobs(cell))
    disclosure = Disclosure(run, run.config, cell)
    single = disclosure.canary_view(Adversary.SERVER, keys, outliers=False)
    summed = disclosure.canary_view(Adversary.SECAGG_SERVER, keys, outliers=False)
    np.testing.assert_allclose(summed.sums, single.updates, atol=1e-4)


def test_nothing_of_an_audit_cell_is_kept_but_what_is_seen_along_canaries(trained: Path) -> None:
    kept = [p for p in (trained / "audit_cells").rglob("*") if p.is_file()]
    assert kept and {p.name for p in kept} == {"result.safetensors"}
    assert not list((trained / "audit_cells").rglob("*setup.json"))


def test_audit_cells_are_no_rows_and_change_no_released_cell(trained: Path) -> None:
    rows = read_json(trained / "table.json")["rows"]
    assert [row["cell"] for row in rows] == ["eps-2", "eps-inf"]
    RunDirectory.open(trained).check_manifest()


def test_no_patients_record_is_spent(trained: Path, run_copy: Path) -> None:
    run = RunDirectory.open(run_copy)
    split = read_json(run.secrets / "split.json")
    trials = [job.payload for job in cells_of(run_copy).jobs(run.config.cells[0])]
    patients = {i for part in split["hospitals"].values() for i in part}
    for trial in trials:
        assert trial.federation.ledgers is None
        used = {int(i) for part in trial.federation.parts for i in part}
        assert used and not used & patients


def test_coins_are_fair_secret_and_their_own_in_each_cell(wide: Path) -> None:
    run = RunDirectory.open(wide)
    cells = cells_of(wide)
    bits = []
    for cell in run.config.cells:
        for job in cells.jobs(cell):
            bits.append(Vault(run.secrets).canaries(cell.id, job.key))
    counts = np.stack(bits)
    assert abs(counts.mean() - 0.5) < 4 * 0.5 / np.sqrt(counts.size)
    agreement = [(a == b).mean() for i, a in enumerate(counts) for b in counts[:i]]
    assert np.abs(np.array(agreement) - 0.5).max() < 5 * 0.5 / np.sqrt(counts.shape[1])
    shared = [p for p in wide.rglob("*.json*") if "secrets" not in p.parts]
    key = read_json(run.secrets / "canary_key.json")["key"]
    assert not [p for p in shared if key in p.read_text()]


def test_a_second_call_runs_and_guesses_nothing_again(run_copy: Path) -> None:
    came: list = []
    before = read_json_lines(run_copy / "audits.jsonl")
    report = audited(run_copy, trained=lambda *told: came.append(told))
    assert (report.failed, came) == ({}, [])
    assert read_json_lines(run_copy / "audits.jsonl") == before


def test_what_was_interrupted_goes_on(run_copy: Path) -> None:
    kept = sorted((run_copy / "audit_cells" / "eps-2" / "canaries").iterdir())
    times = {path.name: (path / "result.safetensors").stat().st_mtime_ns for path in kept}
    shutil.rmtree(kept[0])
    left = run_copy / "audit_cells" / "eps-2" / "canaries" / "running" / "some-trial" / "update"
    left.mkdir(parents=True)
    before = read_json_lines(run_copy / "audits.jsonl")
    came: list = []
    audited(run_copy, trained=lambda *told: came.append(told))
    assert len(came) == 1 and not left.exists()
    for path in kept[1:]:
        assert (path / "result.safetensors").stat().st_mtime_ns == times[path.name]
    assert read_json_lines(run_copy / "audits.jsonl") == before  # a reproduction


def test_guesses_need_no_secrets_and_verdicts_do(run_copy: Path) -> None:
    guess = run_copy / "attacks" / "eps-2" / "server" / "canary-update" / "guess.safetensors"
    before = guess.read_bytes()
    guess.unlink()
    (run_copy / "attacks" / "eps-2" / "server" / "canary-update" / "result.json").unlink()
    shutil.rmtree(run_copy / "secrets" / "canaries")
    audited(run_copy, "canary-update")
    assert guess.read_bytes() == before


def test_without_secrets_no_canaries_can_be_dealt(run_copy: Path) -> None:
    shutil.rmtree(run_copy / "secrets")
    shutil.rmtree(run_copy / "audit_cells")
    audited(run_copy, "canary-update")
    (score,) = [
        s
        for s in read_json_lines(run_copy / "scores.jsonl")
        if (s["attack"], s["cell"]) == ("canary-update", "eps-2")
    ]
    assert score["outcome"] == "not_run" and "secrets" in score["reason"]


def test_one_audit_again_is_judged_with_all_the_others(run_copy: Path) -> None:
    before = read_json_lines(run_copy / "audits.jsonl")
    audited(run_copy, "canary-sum")
    assert read_json_lines(run_copy / "audits.jsonl") == before
    claimed = [a for a in before if a["claimed_epsilon"] is not None]
    reversals = [a for a in before if a["reversal_p_value"] is not None]  # identification has none
    assert {a["tests"] for a in before} == {len(reversals) + len(claimed)} == {11 + 7}


def test_faults_make_other_audit_cells_and_swap_only_what_is_noted(run_copy: Path) -> None:
    run = RunDirectory.open(run_copy)
    cell, vault = run.config.cells[0], Vault(RunDirectory.open(run_copy).secrets)
    sound, silent = cells_of(run_copy).jobs(cell), cells_of(run_copy, NoNoise()).jobs(cell)
    assert not {job.key for job in sound} & {job.key for job in silent}
    (first, *_) = cells_of(run_copy, SwappedTruth()).jobs(cell)
    noted = vault.canaries(cell.id, first.key)
    held = np.concatenate([c.columns for c in first.payload.federation.canaries])
    assert not noted[held].any()


def test_a_model_without_a_linear_end_cannot_be_audited_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "odd_model.py").write_text(
        "from torch import nn\n"
        "def build(shape, classes):\n"
        "    return nn.Sequential(nn.Flatten(1), nn.Linear(64, 8), nn.Unflatten(1, (2, 4)),\n"
        "        nn.Conv1d(2, classes, 4), nn.Flatten(1))\n"
    )
    over = [
        "model={name: 'odd_model:build'}",
        "privacy.epsilons=[4]",
        "schedule={rounds: 1, local_steps: 1, batch_size: 90, learning_rate: 0.1}",
        "per_epsilon={}",
        "probes.repeats=0",
    ]
    train(load_config("demo", over), tmp_path / "run", TrainOptions())
    report = audited(tmp_path / "run", "canary-update")
    (score,) = read_json_lines(tmp_path / "run" / "scores.jsonl")
    assert not report.failed and score["outcome"] == "not_run"
    assert "Conv1d: gradient canaries need a linear one" in score["reason"]


def test_a_run_with_a_planted_fault_is_marked_and_refused(tmp_path: Path) -> None:
    config = load_config("smoke", ["privacy.epsilons=[2]", "probes.repeats=0"])
    run = train(config, tmp_path / "run", TrainOptions(fault=NoNoise()))
    assert run.record["faults"] == ["no-noise"]
    with pytest.raises(MissingEvidenceError, match=r"planted faults \(no-noise\)"):
        run.check_sound()
    RunDirectory.open(train(config, tmp_path / "sound", TrainOptions()).path).check_sound()
