"""The game and its reference federations: fair, blind, cached by content, never mixed."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from audit.core.adversaries import Adversary
from audit.core.errors import MissingEvidenceError
from audit.core.loading import load_config
from audit.disclosure import Disclosure
from audit.formats.parcels import read_parcel
from audit.pipeline.game import make_game
from audit.pipeline.prepare import prepare
from audit.pipeline.references import ReferenceTrainer, deal, half_of
from audit.store.run import RunDirectory
from audit.vault import Vault
from training.data.dataset import Dataset, Scaling
from training.data.partition import partition
from training.data.split import Split, split


def trainer(path: Path, count: int = 2) -> ReferenceTrainer:
    run = RunDirectory.open(path)
    return ReferenceTrainer(run, run.config, count)


def test_the_pool_holds_as_many_members_as_others_and_the_rest_is_no_part_of_it() -> None:
    prepared = prepare(load_config("smoke"))
    game = prepared.game
    assert sum(game.truth.member.values()) * 2 == len(game.candidates)
    rest = np.concatenate(list(game.rest.values()))
    assert not set(rest.tolist()) & set(game.candidates.tolist())
    members = sum(game.truth.member.values())
    assert len(rest) + members == sum(len(part) for part in prepared.parts.values())


@pytest.mark.parametrize("count", [4, 16])
def test_every_candidate_is_in_exactly_half_of_the_references(count: int) -> None:
    game = prepare(load_config("smoke")).game
    masks = np.stack([half_of(game, 1, k) for k in range(count)])
    assert (masks.sum(axis=0) == count // 2).all()
    assert abs(masks[0].mean() - 0.5) < 0.01


def test_a_reference_s_half_says_nothing_about_the_truth() -> None:
    game = prepare(load_config("smoke")).game
    member = np.array(list(game.truth.member.values()))
    masks = np.stack([half_of(game, seed, 0) for seed in range(60)])
    agreement = (masks == member).mean(axis=1)
    assert abs(agreement.mean() - 0.5) < 4 * 0.5 / np.sqrt(60 * len(member))


def test_a_reference_has_the_size_of_the_target_and_every_record_once() -> None:
    prepared = prepare(load_config("smoke"))
    game = prepared.game
    mask = half_of(game, 1, 0)
    parts = deal(game, prepared.dataset.y, mask, by_class=False, rng=np.random.default_rng(1))
    together = np.concatenate(parts)
    assert len(set(together.tolist())) == len(together)
    assert {len(p) for p in parts} <= {
        size + d for size in map(len, prepared.parts.values()) for d in (-1, 0, 1)
    }
    assert set(game.candidates[mask].tolist()) <= set(together.tolist())
    assert not set(game.candidates[~mask].tolist()) & set(together.tolist())


def patients_dataset() -> tuple[Dataset, Split]:
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(120), 5)
    dataset = Dataset(
        name="patients",
        x=rng.uniform(0, 1, (600, 4)).astype(np.float32),
        y=np.repeat(rng.integers(0, 2, 120), 5),
        classes=2,
        class_names=("a", "b"),
        scale=Scaling.to_unit_range(0.0, 1.0),
        patients=patients,
        public=True,
    )
    divided = split(
        dataset, holdout_fraction=0.4, auxiliary_fraction=0.2, rng=np.random.default_rng(4)
    )
    return dataset, divided


def test_a_patient_s_records_are_asked_about_and_trained_on_together() -> None:
    dataset, divided = patients_dataset()
    assert dataset.patients is not None
    pool = divided.members_pool
    spread = partition(
        dataset.y[pool],
        dataset.patients[pool],
        clients=3,
        method="iid",
        rng=np.random.default_rng(5),
    )
    config = load_config("smoke", ["candidates.members=100"])
    parts = {f"hospital-{i + 1}": pool[part] for i, part in enumerate(spread)}
    game = make_game(config, dataset, divided, parts)
    asked = dataset.patients[game.candidates]
    assert (np.unique(asked, return_counts=True)[1] == 5).all(), "whole patients are asked about"
    mask = half_of(game, 1, 0)
    for patient in np.unique(asked):
        assert len(set(mask[asked == patient].tolist())) == 1
    assert len(set(game.truth.groups["patient"].values())) == len(np.unique(asked))


def test_withheld_training_records_are_the_others_of_the_game() -> None:
    dataset, _ = patients_dataset()
    divided = split(
        dataset,
        holdout_fraction=0.4,
        auxiliary_fraction=0.2,
        withheld=60,
        rng=np.random.default_rng(4),
    )
    plain = split(
        dataset, holdout_fraction=0.4, auxiliary_fraction=0.2, rng=np.random.default_rng(4)
    )
    assert abs(len(divided.nonmembers) - 60) <= 5
    assert set(divided.nonmembers) <= set(plain.members_pool)
    assert set(divided.members_pool) | set(divided.nonmembers) == set(plain.members_pool)
    assert (divided.holdout == plain.holdout).all()


def test_references_are_the_same_again_without_the_secrets(run_copy: Path) -> None:
    shutil.rmtree(run_copy / "references")
    run = RunDirectory.open(run_copy)
    cell = run.config.cells[0]
    keys = trainer(run_copy).train(cell, lambda _count, _total: None)
    first = [read_parcel(run_copy / "references" / k / "result.safetensors") for k in keys]
    shutil.rmtree(run_copy / "references")
    shutil.rmtree(run_copy / "secrets")
    again = trainer(run_copy).train(cell, lambda _count, _total: None)
    assert again == keys
    for key, before in zip(keys, first, strict=True):
        after = read_parcel(run_copy / "references" / key / "result.safetensors")
        assert all((after.arrays[n] == a).all() for n, a in before.arrays.items())


def test_a_larger_budget_keeps_what_a_smaller_one_trained(run_copy: Path) -> None:
    shutil.rmtree(run_copy / "references")
    cell = RunDirectory.open(run_copy).config.cells[1]
    counted: list[tuple[int, int]] = []
    small = trainer(run_copy, 2).train(cell, lambda *came: counted.append(came))
    large = trainer(run_copy, 4).train(cell, lambda *came: counted.append(came))
    assert large[:2] == small
    assert counted == [(1, 2)] * 4


def test_other_data_recipe_or_code_is_another_reference(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = RunDirectory.open(run_copy).config.cells[0]
    keys = {job.key for job in trainer(run_copy).jobs(cell)}
    schedule = cell.schedule.model_copy(update={"learning_rate": 0.9})
    changed = cell.model_copy(update={"schedule": schedule})
    assert not keys & {job.key for job in trainer(run_copy).jobs(changed)}
    monkeypatch.setattr("audit.pipeline.references.code_digest", lambda *_: "other")
    assert not keys & {job.key for job in trainer(run_copy).jobs(cell)}


def test_references_are_refused_where_the_game_is_another(run_copy: Path) -> None:
    run = RunDirectory.open(run_copy)
    path = run.config_path
    path.write_text(path.read_text().replace("seed: 1\n", "seed: 2\n", 1))
    with pytest.raises(MissingEvidenceError, match="changed since"):
        trainer(run_copy).jobs(run.config.cells[0])


def test_references_resemble_the_target_in_what_they_learn(run_copy: Path) -> None:
    run = RunDirectory.open(run_copy)
    cell = next(c for c in run.config.cells if not c.private)
    keys = trainer(run_copy).train(cell, lambda _count, _total: None)
    view = Disclosure(run, run.config, cell).view(Adversary.RECIPIENT, keys)
    background = view.background
    references = background.references
    assert references is not None
    labels = background.candidates.labels
    target = background.architecture.logits(
        view.weights,
        background.candidates.inputs,  # type: ignore[union-attr]
    )
    accuracy = (target.argmax(axis=1) == labels).mean()
    theirs = (references.logits[:, -1].argmax(axis=2) == labels).mean()
    assert abs(accuracy - theirs) < 0.1
    assert references.logits.shape[:2] == (2, cell.schedule.rounds)


def test_a_curious_hospital_is_not_asked_about_its_own_records(run_copy: Path) -> None:
    run = RunDirectory.open(run_copy)
    cell = run.config.cells[0]
    keys = trainer(run_copy).train(cell, lambda _count, _total: None)
    disclosure = Disclosure(run, run.config, cell)
    view = disclosure.view(Adversary.PARTICIPANT, keys)
    everyone = disclosure.view(Adversary.RECIPIENT, keys).background
    truth = Vault(run.secrets).membership()
    asked = set(view.background.candidates.ids)
    own = {name for name, where in truth.hospital.items() if where == "hospital-1"}
    assert own and not asked & own
    assert len(asked) >= len(everyone.candidates.ids) - len(own) - 3
    references = view.background.references
    assert references is not None and everyone.references is not None
    place = [everyone.candidates.ids.index(i) for i in view.background.candidates.ids]
    assert (references.logits == everyone.references.logits[:, :, place]).all()
    assert (references.trained_on == everyone.references.trained_on[:, place]).all()
