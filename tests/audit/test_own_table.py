"""A user's own table with patients, sites and a subgroup, from training to leakage by group."""

from pathlib import Path

import numpy as np
import pytest

from attacks.attack import Budget
from audit.core.loading import load_config
from audit.formats.files import read_json, read_json_lines
from audit.pipeline.attack import AttackOptions, attack
from audit.pipeline.train import TrainOptions, train

FEATURES = [f"f{i}" for i in range(20)]
CONFIG = """
name: own
data:
  name: csv
  path: own.csv
  patient: who
  site: where
  subgroups: [sex]
  value_range: [-4, 4]
  holdout_fraction: 0.5
  auxiliary_fraction: 0.2
partition: {method: site, clients: 2}
model: {name: mlp, options: {hidden: 128}}
schedule: {rounds: 4, local_steps: 40, batch_size: 60, learning_rate: 0.5, momentum: 0.9}
privacy: {epsilons: [.inf], nominal_records: 120}
aggregation: {protocol: plain}
probes: {repeats: 0}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 patients with two visits each; the label is a coin, so that only memory can know it."""
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(1)
    lines = [",".join((*FEATURES, "label", "who", "where", "sex"))]
    for patient in range(240):
        site, sex = ("north", "south")[patient % 2], "fm"[patient % 40 == 0]
        for _ in range(2):
            features = ",".join(map(str, rng.normal(size=len(FEATURES)).round(3)))
            lines.append(f"{features},{rng.integers(0, 2)},p{patient},{site},{sex}")
    (folder / "own.csv").write_text("\n".join(lines) + "\n")
    (folder / "own.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_DATA", str(folder))
        made = train(load_config(str(folder / "own.yaml"), []), folder / "run", TrainOptions())
        attack(made, AttackOptions(only=("loss", "lira-local"), budget=Budget.QUICK))
    return made.path


def test_patients_are_found_more_surely_than_their_single_records(run: Path) -> None:
    by_slice = {
        s["slice"]: s
        for s in read_json_lines(run / "scores.jsonl")
        if (s["metric"], s["attack"], s["adversary"]) == ("auc", "lira-local", "recipient")
    }
    assert by_slice["all"]["low"] > 0.5
    assert by_slice["patients"]["value"] > by_slice["all"]["value"]
    assert by_slice["patients"]["n"] * 2 == by_slice["all"]["n"]


def test_sites_and_subgroups_are_looked_at_apart_and_small_ones_are_not_shown(run: Path) -> None:
    groups = read_json_lines(run / "groups.jsonl")
    named = {(g["column"], g["group"]) for g in groups}
    assert {("site", "north"), ("site", "south"), ("sex", "f")} <= named
    assert ("hospital", "hospital-1") in named
    assert ("sex", "m") not in named, "six patients are fewer than ten records of a kind"
    worst = [s for s in read_json_lines(run / "scores.jsonl") if s["slice"] == "worst-sex"]
    assert worst
    assert all("1 groups below 10" in s["reason"] for s in worst)
    assert not any("patient" in g["column"] for g in groups)


def test_exposed_records_say_whose_they_are_in_the_secrets_only(run: Path) -> None:
    path = run / "secrets" / "exposed" / "eps-inf" / "recipient" / "lira-local.json"
    first = read_json(path)["records"][0]
    assert {"candidate", "hospital", "class", "site", "sex", "patient"} <= set(first)
    assert first["false_positive_rate"] < 0.1
