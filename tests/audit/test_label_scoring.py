"""Label counts meet the truth: probes by overlap, rounds by the distance of shares."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from attacks.registry import ATTACKS
from audit.core.errors import MissingEvidenceError
from audit.core.guesses import LabelCountGuess
from audit.core.parcel import Parcel
from audit.core.randomness import named_generator
from audit.core.scores import Outcome, Score
from audit.formats.files import read_json, read_json_lines
from audit.formats.guesses import read_guess, write_guess
from audit.pipeline.attack import AttackOptions, attack
from audit.scoring import Origin, score_labels
from audit.store.run import RunDirectory
from audit.vault import Vault
from reports.details import render_details

ORIGIN = Origin(cell="eps-1", adversary="server", attack="label-counts")
PROBE = "round-001/probe-b4-r0"
VICTIMS = Parcel(
    arrays={
        f"{PROBE}|h1|labels": np.array([0, 0, 1, 2]),
        f"{PROBE}|h2|labels": np.array([2, 2, 2, 2]),
    }
)
HOSPITALS = {"h1": np.array([30, 10, 0]), "h2": np.array([0, 0, 7])}


def guessed(**counts: list[float]) -> LabelCountGuess:
    """Counts by ``h1``, ``h2`` (probes), ``sum`` and ``rounds`` (a sum over both)."""
    names = {
        "h1": f"{PROBE}|h1",
        "h2": f"{PROBE}|h2",
        "sum": PROBE,
        "rounds_h1": "rounds|h1",
        "rounds": "rounds|h1,h2",
    }
    both = {"sum", "rounds"}
    return LabelCountGuess(
        counts={names[k]: np.array(v, dtype=np.float64) for k, v in counts.items()},
        clients={names[k]: ("h1", "h2") if k in both else (k[-2:],) for k in counts},
        shares={names[k]: (0.25, 0.75) if k in both else (1.0,) for k in counts},
    )


def scored(
    guess: LabelCountGuess, baseline: LabelCountGuess | None = None, hospitals: object = HOSPITALS
) -> dict[str, Score]:
    found = score_labels(
        guess,
        baseline,
        VICTIMS,
        hospitals,  # type: ignore[arg-type]
        ORIGIN,
        rng=named_generator(1),
    )
    assert {score.metric for score in found.scores} == {"label_accuracy"}
    scores = {score.slice: score for score in found.scores}
    for part, kept in found.values.items():
        values = kept["label_accuracy"]
        assert np.mean(values.updates) == pytest.approx(scores[part].value)
        assert values.chance == scores[part].chance
    assert "rounds" not in found.values
    return scores


def test_a_probe_s_value_is_the_part_of_its_labels_that_were_recovered() -> None:
    score = scored(guessed(h1=[2, 1, 1], h2=[4, 0, 0]))["round-1/batch-4"]
    assert (score.value, score.n) == (0.5, 2)
    assert scored(guessed(h1=[1, 3, 0]))["round-1/batch-4"].value == 0.5
    assert scored(guessed(sum=[2, 1, 5]))["round-1/batch-4"].value == 1.0


def test_one_observation_alone_has_the_whole_range_as_its_interval() -> None:
    score = scored(guessed(h1=[2, 1, 1]))["round-1/batch-4"]
    assert (score.value, score.low, score.high, score.n) == (1.0, 0.0, 1.0, 1)


def test_rounds_are_held_against_the_hospital_s_own_shares() -> None:
    assert scored(guessed(rounds_h1=[300, 100, 0]))["rounds"].value == 1.0
    assert scored(guessed(rounds_h1=[0, 5, 5]))["rounds"].value == pytest.approx(0.25)


def test_a_sum_over_rounds_is_held_against_the_weighted_shares() -> None:
    exact = [0.25 * 0.75, 0.25 * 0.25, 0.75]
    assert scored(guessed(rounds=exact))["rounds"].value == pytest.approx(1.0)


def test_the_baseline_on_the_same_observations_is_the_chance_level() -> None:
    baseline = guessed(h1=[0, 4, 0], h2=[4, 0, 0])
    assert scored(guessed(h1=[2, 1, 1]), baseline)["round-1/batch-4"].chance == 0.25
    assert scored(guessed(h1=[2, 1, 1]))["round-1/batch-4"].chance is None


def test_what_was_skipped_or_not_kept_is_said() -> None:
    skipped = LabelCountGuess(counts={}, clients={}, shares={}, skipped={f"{PROBE}|h1": "blank"})
    (score,) = scored(skipped).values()
    assert (score.outcome, score.reason, score.value) == (Outcome.NOT_RUN, "blank", None)
    old = scored(guessed(h1=[2, 1, 1], rounds_h1=[1, 0, 0]), hospitals=None)
    assert old["rounds"].outcome is Outcome.NOT_RUN
    assert "class counts" in str(old["rounds"].reason)
    assert old["round-1/batch-4"].value == 1.0


@pytest.mark.parametrize("counts", [[np.nan, 1, 1], [-1, 2, 3], [0, 0, 0]])
def test_counts_that_are_none_are_refused(counts: list[float]) -> None:
    with pytest.raises(ValueError, match="expected non-negative"):
        scored(guessed(h1=counts))


def test_a_guess_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    before = guessed(h1=[0.1, 1 / 3, 2], rounds=[1, 2, 3])
    write_guess(tmp_path, LabelCountGuess(**{**vars(before), "skipped": {"x": "why"}}))
    after = read_guess(tmp_path)
    assert isinstance(after, LabelCountGuess)
    assert (after.clients, after.shares) == (before.clients, before.shares)
    assert after.skipped == {"x": "why"}
    assert all(np.array_equal(after.counts[n], c) for n, c in before.counts.items())


def test_a_run_keeps_each_hospital_s_classes_in_its_secrets(trained: Path, tmp_path: Path) -> None:
    kept = Vault(trained / "secrets").class_counts()
    assert kept is not None
    split = read_json(trained / "secrets" / "split.json")["hospitals"]
    assert {c: int(n.sum()) for c, n in kept.items()} == {c: len(i) for c, i in split.items()}
    with pytest.raises(MissingEvidenceError):
        Vault(tmp_path).class_counts()


def test_a_run_shows_labels_in_its_details(trained: Path) -> None:
    lines = read_json_lines(trained / "scores.jsonl")
    found = {
        (s["cell"], s["adversary"], s["slice"]): s for s in lines if s["attack"] == "label-counts"
    }
    slices = ("round-1/batch-1", "round-1/batch-1/steps-2", "rounds")
    assert len(found) == 2 * len(ATTACKS["label-counts"].adversaries) * len(slices)
    assert found["eps-inf", "server", "round-1/batch-1"]["value"] == 1.0
    assert found["eps-inf", "server", "round-1/batch-1"]["n"] == 6
    assert found["eps-inf", "server", "rounds"]["n"] == 3
    assert found["eps-2", "server", "round-1/batch-1"]["chance"] is not None
    console = Console(width=200, record=True, file=StringIO())
    console.print(render_details(read_json(trained / "table.json")))
    shown = console.export_text()
    assert "Labels recovered" in shown
    assert "label-counts" in shown
    assert "label-prior" not in shown


def test_an_older_run_is_still_scored_by_its_probes(run_copy: Path) -> None:
    (run_copy / "secrets" / "class_counts.json").unlink()
    attack(RunDirectory.open(run_copy), AttackOptions(only=("label-counts",)))
    found = {
        s["slice"]: s["outcome"]
        for s in read_json_lines(run_copy / "scores.jsonl")
        if (s["cell"], s["adversary"], s["attack"]) == ("eps-inf", "server", "label-counts")
    }
    assert found.pop("rounds") == "not_run"
    assert set(found.values()) == {"executed"}
