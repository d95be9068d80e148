"""Positive controls: an attack that works finds its own, and one that is broken does not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from attacks.attack import Budget
from attacks.inversion.exact.first_layer import FirstLayerInversion
from attacks.membership.loss import LossThreshold
from attacks.registry import ATTACKS
from audit.core.adversaries import Adversary
from audit.core.controls import ControlKind, ControlRecord
from audit.core.errors import IntegrityError
from audit.core.guesses import MembershipGuess
from audit.core.parcel import Parcel
from audit.executor import Store
from audit.pipeline import control_plans, controls
from audit.pipeline.attack import AttackOptions, attack
from audit.pipeline.control_plans import BASELINES, ControlPlan, control_plan
from audit.pipeline.control_records import keep_controls, read_controls
from audit.pipeline.control_runs import ControlTask, packed, read_records, run_controls
from audit.pipeline.controls import Controls, cache_folder
from audit.store.run import RunDirectory
from audit.vault import MembershipTruth, Vault
from training.faults import SwappedTruth


def plan_of(attack_id: str) -> ControlPlan:
    plan = control_plan(ATTACKS[attack_id])
    assert plan is not None
    return plan


def brief(attack_id: str = "loss", *overrides: str) -> ControlPlan:
    """The control without its probes, which membership and canaries do not need."""
    return replace(plan_of(attack_id), overrides=("probes.repeats=0", *overrides))


def found(*attacks: str, plan: ControlPlan | None = None) -> dict[str, bool | None]:
    """Run the controls of attacks that share a federation; what each adversary detected."""
    tasks = [
        ControlTask(attack=one, plan=plan or plan_of(one), budget=Budget.QUICK) for one in attacks
    ]
    return {
        record.name: record.detected
        for parcel in run_controls(tasks)
        for record in read_records(parcel)
    }


def everyone(*attacks: str) -> set[tuple[Adversary, str]]:
    return {(adversary, one) for one in attacks for adversary in ATTACKS[one].adversaries}


def empty_run(path: Path) -> RunDirectory:
    path.mkdir()
    return RunDirectory(path)


def test_every_attack_has_a_control_that_names_one_metric_beforehand():
    for entry in ATTACKS.values():
        plan = control_plan(entry)
        assert (plan is None) == (entry.id in BASELINES)
        if plan is not None:
            assert len(plan.settings.cells) == 1
            assert plan.settings.data.path is None, "a control needs no file"
            assert plan.settings.reproduction, "a control is the same at every call"


def test_working_attacks_find_members_learned_by_heart_and_single_records():
    names = ("loss", "lira-offline", "update-regression", "candidate-identification")
    assert found(*names) == {
        f"{adversary.value}/{one}": True for adversary, one in everyone(*names)
    }


def with_bits(monkeypatch: pytest.MonkeyPatch, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Have scoring read other membership bits."""
    honest = Vault.membership

    def other(vault: Vault) -> MembershipTruth:
        truth = honest(vault)
        bits = change(np.array(list(truth.member.values())))
        return replace(truth, member=dict(zip(truth.member, map(bool, bits), strict=True)))

    monkeypatch.setattr(Vault, "membership", other)


def test_members_swapped_with_others_are_not_detected(monkeypatch: pytest.MonkeyPatch):
    with_bits(monkeypatch, np.logical_not)
    assert set(found("loss", "update-regression", plan=brief()).values()) == {False}


def test_members_that_the_model_never_saw_are_not_detected(monkeypatch: pytest.MonkeyPatch):
    with_bits(monkeypatch, np.random.default_rng(5).permutation)
    assert set(found("loss", "update-regression", plan=brief()).values()) == {False}


def test_a_model_that_learned_nothing_is_not_detected():
    # A rate of 1e-6 would not do: relative to references even such a step shows its records.
    untrained = ("schedule.rounds=1", "schedule.local_steps=1", "schedule.learning_rate=1e-30")
    attacks = ("loss", "modified-entropy", "art-rule", "lira-online", "rmia")
    assert set(found(*attacks, plan=brief("loss", *untrained)).values()) == {False}


def test_an_attack_whose_scores_are_noise_is_not_detected(monkeypatch: pytest.MonkeyPatch):
    honest = LossThreshold.guess

    def noise(self, view, rng) -> MembershipGuess:
        guess = honest(self, view, rng)
        return replace(guess, scores=rng.normal(size=len(guess.scores)))

    monkeypatch.setattr(LossThreshold, "guess", noise)
    assert found("loss", plan=brief()) == {"query/loss": False, "recipient/loss": False}


def test_reconstructions_that_are_noise_are_not_detected(monkeypatch: pytest.MonkeyPatch):
    honest = FirstLayerInversion.guess

    def noise(self, view, rng):
        guess = honest(self, view, rng)
        rebuilt = tuple(
            replace(one, records=rng.uniform(-1, 1, one.records.shape).astype(np.float32))
            for one in guess.reconstructions
        )
        return replace(guess, reconstructions=rebuilt)

    monkeypatch.setattr(FirstLayerInversion, "guess", noise)
    assert set(found("first-layer").values()) == {False}


def test_an_attack_that_raises_misses_its_control_and_says_why(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(LossThreshold, "guess", broken)
    (parcel,) = run_controls([ControlTask(attack="loss", plan=brief(), budget=Budget.QUICK)])
    for record in read_records(parcel):
        assert record.detected is False
        assert "planted" in (record.reason or "")
        assert record.value is None


def test_canaries_told_from_a_swapped_truth_are_not_detected():
    plan = replace(brief("canary-update"), fault=SwappedTruth())
    assert found("canary-update", plan=plan) == {"server/canary-update": False}


def test_a_seed_search_finds_planted_seeds():
    assert found("canary-noise-seed") == {"server/canary-noise-seed": True}


@pytest.mark.slow
@pytest.mark.parametrize("one", ["canary-noise-seed", "canary-outlier"])
def test_an_audit_that_looks_for_a_fault_finds_nothing_where_there_is_none(one: str):
    assert found(one, plan=replace(plan_of(one), fault=None)) == {f"server/{one}": False}


@pytest.mark.slow
def test_every_attack_finds_its_control_at_quick(tmp_path: Path):
    entries = list(ATTACKS.values())
    stage = Controls(entries, Budget.QUICK, folder=tmp_path / "cache")
    records = stage.check(empty_run(tmp_path / "run"), everyone(*ATTACKS))
    assert [r.name for r in records if r.detected is not True and r.attack not in BASELINES] == []


def test_a_control_that_does_not_fit_says_so_and_is_no_detection():
    parcels = run_controls([ControlTask(attack="dlg", plan=brief("dlg"), budget=Budget.QUICK)])
    records = [record for parcel in parcels for record in read_records(parcel)]
    assert [record.detected for record in records] == [None, None]
    assert all("no control fits" in (record.reason or "") for record in records)


def test_the_stage_keeps_lines_in_the_run_and_results_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AUDIT_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made_up = packed([_record(attack="loss", detected=None, reason="made up")])
    entries, ran = [ATTACKS["loss"], ATTACKS["prior-mean"]], everyone("loss", "prior-mean")
    stage, run = Controls(entries, Budget.QUICK), empty_run(tmp_path / "run")
    cost = stage.cost()
    assert cost is not None and "1 attacks" in cost
    records = stage.check(run, ran)
    assert read_controls(run) == records
    assert not (tmp_path / "ledger").exists(), "no hospital's ledger is charged"
    line = json.loads((run.path / "controls.jsonl").read_text().splitlines()[0])
    assert line["schema"] == "audit-control/v1"
    assert (line["attack"], line["control"], line["detected"]) == ("loss", "overfit", True)
    assert line["low"] > line["chance"] == 0.5
    assert [(r.control, r.detected) for r in records if r.attack == "prior-mean"] == [
        (ControlKind.NONE, None)
    ] * 2

    # No weights, updates or records of a federation stay behind.
    (kept,) = (path for path in cache_folder().rglob("*") if path.is_file())
    assert Store(folder=cache_folder()).read(kept.parent.name).arrays == {}

    monkeypatch.setattr(controls, "run_controls", _never)
    assert stage.cost() is None
    other = empty_run(tmp_path / "other")
    assert stage.check(other, {(Adversary.QUERY, "loss")}) == records[:1]
    assert len(read_controls(other)) == 1

    monkeypatch.setattr(controls, "run_controls", lambda _: iter([made_up]))
    kept.write_bytes(kept.read_bytes().replace(b"0.5", b"0.1"))
    (again, *_) = stage.check(run, ran)
    assert again.reason == "made up", "a damaged result is made anew"
    assert stage.check(other, {(Adversary.QUERY, "loss")}) == [again]


def _never(_: object) -> None:
    raise AssertionError("the cache was not used")


def test_a_folder_that_cannot_be_written_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made_up = packed([_record(attack="loss", detected=True, low=0.6, chance=0.5)])
    monkeypatch.setattr(controls, "run_controls", lambda _: iter([made_up]))
    (tmp_path / "file").write_text("in the way")
    stage = Controls([ATTACKS["loss"]], Budget.QUICK, folder=tmp_path / "file" / "cache")
    records = stage.check(empty_run(tmp_path / "run"), {(Adversary.QUERY, "loss")})
    assert [r.detected for r in records] == [True]


def test_a_control_that_cannot_be_run_leaves_the_attack_unchecked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(controls, "run_controls", broken)
    run = empty_run(tmp_path / "run")
    stage = Controls([ATTACKS["loss"]], Budget.QUICK, folder=tmp_path / "cache")
    (record,) = stage.check(run, {(Adversary.QUERY, "loss")})
    assert record.detected is None
    assert "planted" in (record.reason or "")


def test_lines_of_attacks_that_did_not_run_again_stay(tmp_path: Path):
    run = empty_run(tmp_path / "run")
    old, new = (_record(attack=name, detected=None, reason="made up") for name in ("rmia", "loss"))
    keep_controls(run, [old])
    keep_controls(run, [new])
    keep_controls(run, [new])
    assert read_controls(run) == [new, old], "in the order of the registry, each once"


def _record(**fields: object) -> ControlRecord:
    common = {"adversary": "query", "control": "overfit", "code": "0", "budget": "quick"}
    return ControlRecord.model_validate({**common, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"detected": True, "low": 0.4, "chance": 0.5},
        {"detected": False, "low": 0.6, "chance": 0.5},
        {"detected": True, "low": 0.5, "chance": 0.5},
        {"detected": True, "value": 0.9, "chance": 0.5},
        {"detected": True},
        {"detected": None},
        {"detected": False, "low": float("nan"), "chance": 0.5},
    ],
)
def test_a_record_cannot_claim_what_its_interval_does_not_show(fields):
    with pytest.raises(ValidationError):
        _record(attack="loss", **fields)


def test_damaged_records_are_refused():
    with pytest.raises(IntegrityError):
        read_records(Parcel(arrays={}, fields={"records": "[]", "sha256": "0"}))


def test_the_key_follows_what_shapes_a_control(monkeypatch: pytest.MonkeyPatch):
    def key(plan: ControlPlan, budget: Budget = Budget.QUICK) -> str:
        return ControlTask(attack="loss", plan=plan, budget=budget).job.key

    plan = plan_of("loss")
    keys = [
        key(plan),
        key(plan, Budget.STANDARD),
        key(replace(plan, metric="advantage")),
        key(replace(plan, overrides=("seed=2",))),
        key(replace(plan, fault=SwappedTruth())),
    ]
    monkeypatch.setattr("audit.pipeline.control_runs.code_digest", lambda *_: "other code")
    assert len({*keys, key(plan)}) == 6


@pytest.mark.parametrize("given", ["", "relative/path"])
def test_the_cache_is_below_the_home_folder_without_an_absolute_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert cache_folder() == tmp_path / ".cache" / "fl-privacy-audit" / "controls"


def test_attack_runs_the_controls_of_what_measured_something(run_copy: Path):
    options = AttackOptions(
        only=("loss", "attribute-match"),
        adversaries=("query",),
        budget=Budget.QUICK,
        controls=True,
    )
    report = attack(RunDirectory.open(run_copy), options)
    assert [(r.name, r.detected) for r in report.controls] == [("query/loss", True)]
    *_, event = (json.loads(x) for x in (run_copy / "events.jsonl").read_text().splitlines())
    assert (event["event"], event["detected"], event["missed"]) == ("controls", 1, 0)
    result = json.loads((run_copy / "attacks/eps-2/query/loss/result.json").read_text())
    assert result["code"] == report.controls[0].code, "the attack that ran is the one checked"
    assert RunDirectory.open(run_copy).record.get("faults") is None


def test_the_searched_seeds_lie_where_every_budget_looks():
    fault = plan_of("canary-noise-seed").fault
    assert isinstance(fault, control_plans.SearchedSeed)
    for i in range(20):
        seed = fault.noise(bytes([i] * 32), "hospital-1", "round-001").seed  # type: ignore[attr-defined]
        assert (seed - fault.start) % 2**32 < 2**18
