"""Canary records: a model that remembers shows them, one under DP does not; what they cost."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from attacks.attack import Budget
from attacks.auditing import record_canary
from audit.core.config import Config
from audit.core.errors import MissingEvidenceError, ViewError
from audit.core.loading import load_config
from audit.core.randomness import named_generator
from audit.core.sections import AuditConfig
from audit.core.views import CanaryView
from audit.disclosure import Adversary, Disclosure
from audit.formats.files import read_json, read_json_lines
from audit.formats.parcels import read_parcel, read_weights
from audit.pipeline.attack import AttackOptions, attack
from audit.pipeline.audit_cells import EFFORT, AuditCells
from audit.pipeline.cells import cell_model
from audit.pipeline.prepare import prepare
from audit.pipeline.record_cells import RecordCells
from audit.pipeline.references import ReferenceTrainer
from audit.pipeline.train import TrainOptions, train
from audit.scoring import Claimed, Origin, score_audit
from audit.stats import epsilon_of_mu, paired_difference_interval
from audit.store.run import RunDirectory
from audit.vault import Vault
from training.models import architecture

RECORDS = ("canary-records", "canary-runs")


def run_of(out: Path, *over: str) -> RunDirectory:
    key = "privacy.noise_key='" + "5eed" + "0" * 60 + "'"
    config = load_config("digits_overfit", ["probes.repeats=0", key, *over])
    run = train(config, out, TrainOptions())
    report = attack(run, AttackOptions(only=RECORDS, budget=Budget.QUICK))
    assert report.failed == {}
    return run


@pytest.fixture(scope="module")
def overfit(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A model that remembers, and one under strong DP; canaries of one run each."""
    return run_of(tmp_path_factory.mktemp("records") / "run", "privacy.epsilons=[0.5, .inf]")


def cells_of(run: RunDirectory, **over: object) -> RecordCells:
    """The run's record cells, some of its settings changed."""
    privacy = run.config.privacy.model_copy(update={"noise_key": Vault(run.secrets).noise_key()})
    return RecordCells(run, run.config.model_copy(update={"privacy": privacy, **over}))


def audits_of(run: RunDirectory) -> dict[str, dict]:
    return {a["cell"]: a for a in read_json_lines(run.path / "audits.jsonl")}


def view_of(run: RunDirectory, cell: int) -> CanaryView:
    which = run.config.cells[cell]
    folder = run.path / "audit_cells" / which.id / "records"
    keys = tuple(sorted(p.name for p in folder.iterdir()))
    return Disclosure(run, run.config, which).record_view(Adversary.QUERY, keys)


def test_a_model_that_remembers_shows_every_canary(overfit: RunDirectory) -> None:
    found = audits_of(overfit)["eps-inf"]
    assert (found["attack"], found["adversary"]) == ("canary-records", "query")
    assert found["lower_bound"] == pytest.approx(found["ceiling"])
    assert found["lower_bound"] > 1 and found["verdict"] is None
    assert found["n"] == 12 and "12 of 27 canaries" in found["note"]


def test_under_strong_dp_nothing_is_shown(overfit: RunDirectory) -> None:
    found = audits_of(overfit)["eps-0.5"]
    assert found["lower_bound"] == 0
    assert found["verdict"] in {"consistent", "underpowered"}
    assert found["method"] == "one-run"


def test_what_canaries_cost_in_accuracy_is_measured(overfit: RunDirectory) -> None:
    for found in audits_of(overfit).values():
        low, value, high = (found[f"accuracy_change{end}"] for end in ("_low", "", "_high"))
        assert low < value < high and abs(value) < 0.2
    run, cell = overfit, overfit.config.cells[1]
    ready = prepare(run.config)
    from audit.pipeline.utility import released_correct

    released = read_json(run.cell(cell.id).summary)["accuracy"]
    assert released_correct(run, run.config, cell).mean() == pytest.approx(released)
    assert len(released_correct(run, run.config, cell)) == len(ready.split.holdout)


def test_the_change_of_accuracy_is_that_of_a_count_by_hand(overfit: RunDirectory) -> None:
    ready = prepare(overfit.config)
    holdout = ready.split.holdout
    inputs, labels = ready.dataset.inputs(holdout), ready.dataset.y[holdout]
    for number, cell in enumerate(overfit.config.cells):
        (job,) = cells_of(overfit).jobs(cell)
        kept = read_parcel(
            overfit.path / "audit_cells" / cell.id / "records" / job.key / "result.safetensors"
        )
        built = architecture(cell.model, ready.dataset.shape, ready.dataset.classes)
        released = built.logits(read_weights(overfit.cell(cell.id).model), inputs).argmax(1)
        audited = kept.arrays["correct"].astype(bool)
        found = audits_of(overfit)[cell.id]
        change = audited.mean() - (released == labels).mean()
        assert found["accuracy_change"] == pytest.approx(change), number
        gained = int((audited & (released != labels)).sum())
        lost = int((~audited & (released == labels)).sum())
        interval = paired_difference_interval(gained, lost, len(labels), 0.95)
        assert found["accuracy_change_low"] == pytest.approx(interval.low)
        assert found["accuracy_change_high"] == pytest.approx(interval.high)


def test_coins_are_fair_and_follow_from_the_secret_alone(
    overfit: RunDirectory, tmp_path: Path
) -> None:
    shutil.copytree(overfit.path, tmp_path / "run")
    run = RunDirectory.open(tmp_path / "run")
    cell, many = run.config.cells[0], AuditConfig(canaries=1, runs=100)

    def coins(**over: object) -> np.ndarray:
        jobs = cells_of(run, audit=many, **over).jobs(cell)
        held = [sum(len(c.labels) for c in j.payload.federation.canaries) for j in jobs]
        bits = np.array([Vault(run.secrets).canaries(cell.id, job.key)[0] for job in jobs])
        assert (bits == held).all() and len({job.key for job in jobs}) == len(jobs)
        return bits

    first = coins()
    assert abs(first.mean() - 0.5) < 4 * 0.5 / 10
    assert (coins(seed=run.config.seed + 1) == first).all()
    Vault(run.secrets).write_noise_key("0b" * 32)
    assert abs((coins() == first).mean() - 0.5) < 4 * 0.5 / 10


def test_what_was_interrupted_goes_on_and_the_rest_is_kept(
    overfit: RunDirectory, tmp_path: Path
) -> None:
    shutil.copytree(overfit.path, tmp_path / "run")
    run = RunDirectory.open(tmp_path / "run")
    (lost,) = (run.path / "audit_cells" / "eps-inf" / "records").iterdir()
    (kept,) = (run.path / "audit_cells" / "eps-0.5" / "records").iterdir()
    result = kept / "result.safetensors"
    before, when = read_json_lines(run.path / "audits.jsonl"), result.stat().st_mtime_ns
    shutil.rmtree(lost)
    came: list = []
    options = AttackOptions(
        only=RECORDS, budget=Budget.QUICK, trained=lambda *told: came.append(told)
    )
    assert attack(run, options).failed == {}
    assert came == [("record cells", "eps-inf", 1, 1)]
    assert result.stat().st_mtime_ns == when and (lost / "result.safetensors").is_file()
    assert read_json_lines(run.path / "audits.jsonl") == before  # a reproduction


def test_that_patients_records_are_spent_is_said_beforehand(overfit: RunDirectory) -> None:
    cells = cells_of(overfit, audit=AuditConfig(canaries=1, runs=8))
    said = cells.cost(overfit.config.cells[:1])
    assert said is not None
    assert said.startswith("8 audit cells with canary records, charged to the hospitals' ledgers")


def test_ideal_scores_bound_epsilon_from_below() -> None:
    """200 studies of 200 runs of a Gaussian mechanism of full batches, epsilon 9.92."""
    mu, claim = 100**0.5 / 5.03, {"delta": 1e-5, "sample_rate": 1.0, "steps": 100}
    claimed = Claimed(epsilon=9.98, noise_multiplier=5.03, **claim)
    origin = Origin(cell="c", adversary="query", attack="canary-runs")
    rng, bounds = np.random.default_rng(11), []
    for _ in range(200):
        present = rng.random(200) < 0.5
        names = tuple(str(i) for i in range(200))
        answers = -np.logaddexp(0, -(rng.normal(size=200) + mu * present - 3))
        view = CanaryView(
            background=None,  # type: ignore[arg-type]
            canaries=names,
            labels=np.zeros(200, dtype=np.int64),
            answers=answers[:, None],
            cells=200,
        )
        guess = record_canary.ManyRuns().guess(view, rng)
        truth = dict(zip(names, present.tolist(), strict=True))
        bounds.append(score_audit(guess, truth, claimed, origin).record.lower_bound)
    assert sum(b > epsilon_of_mu(mu, 1e-5) for b in bounds) <= 15  # 5 %, binomial
    assert 5.2 < np.mean(bounds) < 6.5


def test_of_many_runs_and_of_one_the_other_audit_says_why_not(overfit: RunDirectory) -> None:
    scores = read_json_lines(overfit.path / "scores.jsonl")
    (reason,) = {s["reason"] for s in scores if s["attack"] == "canary-runs"}
    assert "needs many audit runs" in reason


def test_canaries_are_known_records_with_wrong_labels(overfit: RunDirectory) -> None:
    ready = prepare(overfit.config)
    (job,) = cells_of(overfit).jobs(overfit.config.cells[0])
    trial = job.payload
    patients = {int(i) for part in ready.parts.values() for i in part}
    population = {ready.dataset.inputs([i]).tobytes(): i for i in ready.game.population}
    origins = [population[record.tobytes()] for record in trial.inputs[:, None]]
    assert not set(origins) & patients and len(set(origins)) == len(origins) == 27
    assert (ready.dataset.y[origins] != trial.labels).all()
    assert [len(p) for p in trial.federation.parts] == [len(p) for p in ready.parts.values()]
    present = Vault(overfit.secrets).canaries(overfit.config.cells[0].id, job.key)
    held = sum(len(c.labels) for c in trial.federation.canaries)
    assert held == present.sum() and 0 < held < 27


def test_patients_records_that_audits_train_on_are_charged(overfit: RunDirectory) -> None:
    (job,) = cells_of(overfit).jobs(overfit.config.cells[0])
    ledgers = job.payload.federation.ledgers
    assert ledgers is not None and ledgers.is_dir()
    lines = [line for path in ledgers.rglob("*.jsonl") for line in read_json_lines(path)]
    assert {line["session"] for line in lines if line["run"].startswith("records-eps-0.5")} == {
        f"round-{number:03d}" for number in range(1, 11)
    }


def test_guesses_are_the_same_without_the_secrets(overfit: RunDirectory, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(overfit.path, copy)
    first = record_canary.OneRun().guess(view_of(overfit, 0), named_generator(1))
    shutil.rmtree(copy / "secrets")
    again = record_canary.OneRun().guess(view_of(RunDirectory.open(copy), 0), named_generator(1))
    assert first.candidates == again.candidates
    assert first.scores.tobytes() == again.scores.tobytes()


def test_only_queries_are_judged(overfit: RunDirectory) -> None:
    cell = overfit.config.cells[0]
    disclosure = Disclosure(overfit, overfit.config, cell)
    with pytest.raises(MissingEvidenceError, match="judged by queries alone"):
        disclosure.record_view(Adversary.SERVER, ())
    for attack_, name in (
        (record_canary.OneRun(), "canary-records"),
        (record_canary.ManyRuns(), "canary-runs"),
    ):
        with pytest.raises(ViewError, match=f"{name} needs the final models"):
            attack_.guess(disclosure.view(Adversary.RECIPIENT), named_generator(1))


def test_one_canary_in_many_runs_is_told_by_a_threshold_that_needs_no_truth(
    tmp_path: Path,
) -> None:
    run = run_of(
        tmp_path / "run",
        "privacy.epsilons=[.inf]",
        "audit={canary: blank, canaries: 1, runs: 32}",
        "per_epsilon={inf: {schedule: {rounds: 1, local_steps: 30, batch_size: 45,"
        " learning_rate: 0.1, momentum: 0.9}}}",
    )
    found = audits_of(run)["eps-inf"]
    assert found["attack"] == "canary-runs"
    assert found["inside"] + found["outside"] == 24 and "8 of 32 runs" in found["note"]
    right = found["guessed_in"] + found["outside"] - found["guessed_in_wrongly"]
    assert right >= 20 and found["lower_bound"] > 0
    view = view_of(run, 0)
    assert view.cells == 32 and len(set(view.labels.tolist())) == 1
    with pytest.raises(ViewError, match="has 32: see canary-runs"):
        record_canary.OneRun().guess(view, named_generator(1))
    with pytest.raises(ViewError, match="one canary a run, this view has 32 in 16"):
        record_canary.ManyRuns().guess(dataclasses.replace(view, cells=16), named_generator(1))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"canary": "blank"}, "expected canaries 1 and runs of at least 8"),
        ({"canary": "blank", "canaries": 1, "runs": 1}, "expected canaries 1 and runs"),
        ({"runs": 3}, "runs 3: expected 1, or at least 8"),
        ({"runs": 8}, "canaries 1000 with runs 8: .* expected canaries 1"),
        ({"canaries": 2, "runs": 200}, "not independent of each other"),
        ({"canaries": 0}, "greater than or equal to 1"),
        ({"canary": "odd"}, "mislabelled"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        AuditConfig(**given)


def pretraining(**changed) -> Config:
    return load_config(
        "demo", ["pretraining={epochs: 3}", *(f"{k}={v}" for k, v in changed.items())]
    )


def test_pretraining_starts_every_cell_alike_from_public_records_only() -> None:
    config, plain = pretraining(), load_config("demo")
    ready = prepare(config)
    first, again = (cell_model(config, config.cells[0], ready).initial(1) for _ in range(2))
    random = cell_model(plain, plain.cells[0], ready).initial(1)
    assert all(np.array_equal(first[k], again[k]) for k in first)
    assert any(np.abs(first[k] - random[k]).max() > 0.05 for k in first)
    built = cell_model(config, config.cells[0], ready)
    known = ready.split.auxiliary
    right = (
        built.logits(first, ready.dataset.inputs(known)).argmax(axis=1) == ready.dataset.y[known]
    )
    assert right.mean() > 0.5
    assert not set(known.tolist()) & {int(i) for p in ready.parts.values() for i in p}


def test_without_pretraining_nothing_changes() -> None:
    config = load_config("demo")
    ready, cell = prepare(config), config.cells[0]
    given = architecture(cell.model, ready.dataset.shape, ready.dataset.classes)
    built = cell_model(config, cell, ready)
    assert built.start is None and built == given
    first, plain = built.initial(1), given.initial(1)
    assert all(first[name].tobytes() == plain[name].tobytes() for name in plain)


def test_server_references_and_audit_cells_start_from_the_pretrained_weights(
    tmp_path: Path,
) -> None:
    from audit.disclosure.observations import Recording

    config = pretraining(**{"privacy.epsilons": "[2]", "probes.repeats": 0})
    run = train(config, tmp_path / "run", TrainOptions())
    cell = run.config.cells[0]
    sent = Recording(run.config, cell, run.cell(cell.id)).models()[0]
    start = cell_model(config, cell, prepare(config)).initial(config.seed)
    assert all(np.array_equal(sent[name], start[name]) for name in start)
    trainers = (
        ReferenceTrainer(run, run.config, 2).jobs(cell)[0].payload.recipe.architecture,
        AuditCells(run, run.config, EFFORT["quick"]).jobs(cell)[0].payload.federation.architecture,
        RecordCells(run, run.config).jobs(cell)[0].payload.federation.architecture,
    )
    for built in trainers:
        assert all(np.array_equal(built.initial(config.seed)[name], start[name]) for name in start)
