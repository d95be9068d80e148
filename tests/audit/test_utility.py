"""What a model is worth: measured on the released model, pooled over seeds, chosen at a price."""

import json

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from audit.core.config import Config
from audit.core.errors import MissingEvidenceError
from audit.core.loading import load_config
from audit.formats.parcels import read_weights
from audit.pipeline.prepare import prepare
from audit.pipeline.seeds import pool_seeds
from audit.pipeline.train import TrainOptions, train
from audit.store.run import RunDirectory
from reports.terminal import render_seeds, render_table
from training.models import architecture

SETTINGS = [
    "privacy.epsilons=[8, .inf]", "schedule.rounds=2",
    "probes.repeats=0", "privacy.tuning_trials=30",
]  # fmt: skip


def settings(seed: int) -> Config:
    return load_config("breast_cancer", [*SETTINGS, f"seed={seed}"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[RunDirectory]:
    folder = tmp_path_factory.mktemp("seeds")
    return [train(settings(seed), folder / f"s{seed}", TrainOptions()) for seed in (1, 2, 3)]


def rows(run: RunDirectory) -> list[dict]:
    return json.loads((run.path / "table.json").read_text())["rows"]


def shown(rendered) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(rendered)
    return console.export_text()


def test_utility_is_that_of_the_released_model_on_the_held_out_records(runs):
    run, config = runs[0], settings(1)
    ready = prepare(config)
    dataset, holdout = ready.dataset, ready.split.holdout
    labels = dataset.y[holdout]
    for row, cell in zip(rows(run), config.cells, strict=True):
        built = architecture(cell.model, dataset.shape, 2)
        logits = built.logits(read_weights(run.cell(cell.id).model), dataset.inputs(holdout))
        guess = logits.argmax(axis=1)
        assert row["accuracy"] == pytest.approx((guess == labels).mean())
        assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, guess))
        margin = logits[:, 1] - logits[:, 0]
        assert row["auroc"] == pytest.approx(roc_auc_score(labels, margin))
        for name in ("accuracy", "balanced_accuracy", "auroc"):
            assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
        assert row["test_records"] == len(labels)


def test_more_than_two_classes_have_no_auroc(trained):
    table = json.loads((trained / "table.json").read_text())
    assert all(row["auroc"] is None for row in table["rows"])
    assert all(row["balanced_accuracy"] > 0 for row in table["rows"])
    assert "AUROC" not in shown(render_table(table, title="t"))


def test_seeds_are_pooled_to_a_mean_with_an_interval(runs):
    pooled = pool_seeds(runs)
    assert pooled["seeds"] == [1, 2, 3]
    for i, row in enumerate(pooled["rows"]):
        each = [rows(run)[i] for run in runs]
        assert row["accuracy"] == pytest.approx(np.mean([r["accuracy"] for r in each]))
        assert row["accuracy_low"] <= row["accuracy_worst"] <= row["accuracy_best"]
    text = shown(render_seeds(pooled, title="t"))
    for word in ("AUROC", "balanced accuracy", "Student", "no DP", "honest choice"):
        assert word in text


def test_runs_that_are_not_of_one_configuration_are_not_pooled(runs, tmp_path):
    with pytest.raises(MissingEvidenceError, match="different seeds"):
        pool_seeds([runs[0], runs[0]])
    other = load_config("breast_cancer", [*SETTINGS, "seed=9", "schedule.momentum=0.1"])
    strange = train(other, tmp_path / "other", TrainOptions())
    with pytest.raises(MissingEvidenceError, match="more than the seed"):
        pool_seeds([runs[0], strange])


def test_a_choice_on_the_same_records_is_priced_above_the_claim(runs):
    private, plain = rows(runs[0])
    assert private["selection_epsilon"] > private["claimed_epsilon"]
    assert plain["selection_epsilon"] is None


def test_a_tuning_run_is_tested_on_training_records_and_says_so(tmp_path):
    whole, config = (
        settings(1),
        load_config("breast_cancer", [*SETTINGS, "data.validation_fraction=0.2"]),
    )
    run = train(config, tmp_path / "tuning", TrainOptions())
    tested, pool = set(prepare(whole).split.holdout), set(prepare(whole).split.members_pool)
    ready = prepare(config)
    assert set(ready.split.holdout) < pool
    assert not tested & {*ready.split.members_pool, *ready.split.holdout}
    assert all(row["tuning"] for row in rows(run))
    table = json.loads((run.path / "table.json").read_text())
    assert "tuning run" in shown(render_table(table, title="t"))
