"""The pool tells nobody who the victims are, and decoys are fair."""

import dataclasses

import numpy as np
import pytest

from audit.core.config import Config, DataConfig
from audit.core.errors import ConfigError
from audit.core.loading import load_config
from audit.core.randomness import named_generator
from audit.pipeline.victims import DECOYS, SPARE, choose_victims
from training.data.configured import data_root, data_spec
from training.data.dataset import Dataset
from training.data.loaders import load_dataset

DATASET = load_dataset(data_spec(DataConfig(name="digits")), data_root(), False)
PARTS = {
    f"hospital-{i + 1}": part
    for i, part in enumerate(np.split(named_generator(1, "parts").permutation(900), 3))
}


def config(**probes: object) -> Config:
    settings = {"rounds": [1], "batch_sizes": [1, 4], "repeats": 2} | probes
    return load_config("demo", [f"probes.{key}={value}" for key, value in settings.items()])


def test_the_pool_holds_every_victim_among_others_of_its_class_in_random_order() -> None:
    found = choose_victims(config(), DATASET, PARTS)
    victims = [r for one in found.probes.values() for s in one.values() for r in s]
    assert len(victims) == len(set(victims)) == 3 * 2 * 5
    assert set(victims) <= set(found.pool.tolist())
    assert len(set(found.pool.tolist())) == len(found.pool)
    for label in np.unique(DATASET.y[victims]):
        others = [i for i in found.pool if DATASET.y[i] == label and i not in set(victims)]
        assert len(others) == DECOYS + SPARE
    places = np.flatnonzero(np.isin(found.pool, victims))
    assert abs(places.mean() / len(found.pool) - 0.5) < 0.2
    shown = found.shown(DATASET)
    assert set(shown.arrays) == {"inputs", "labels"} and not shown.fields


def test_decoys_are_of_the_class_not_in_the_same_probe_and_no_near_duplicates() -> None:
    found = choose_victims(config(), DATASET, PARTS)
    truth = found.truth(DATASET).arrays
    for client, sessions in found.probes.items():
        for session, records in sessions.items():
            together = {r for one in found.probes.values() for r in one[session]}
            decoys = truth[f"{session}|{client}|decoys"]
            assert decoys.shape == (len(records), DECOYS)
            for record, row in zip(records, decoys, strict=True):
                chosen = found.pool[row[row >= 0]]
                assert set(DATASET.y[chosen]) == {DATASET.y[record]}
                assert not together & set(chosen.tolist())
            assert (found.pool[truth[f"{session}|{client}|places"]] == records).all()


def test_copies_and_the_same_patients_records_are_no_decoys() -> None:
    x = DATASET.x.copy()
    copies = np.flatnonzero(DATASET.y == DATASET.y[PARTS["hospital-1"][0]])
    twin = copies[copies != PARTS["hospital-1"][0]][:3]
    patients = np.arange(len(x))
    found = choose_victims(config(batch_sizes=[1]), DATASET, PARTS)
    record = found.probes["hospital-1"]["round-001/probe-b1-r0"][0]
    same = np.setdiff1d(np.flatnonzero(DATASET.y == DATASET.y[record]), [record])
    x[same[:60]] = x[record]
    patients[same[60:100]] = patients[record]
    changed = dataclasses.replace(DATASET, x=x, patients=patients)
    decoys = choose_victims(config(batch_sizes=[1]), changed, PARTS)
    chosen = set(decoys.pool[decoys.decoys[record]].tolist())
    assert chosen and not chosen & set(same[:100].tolist())
    assert len(twin) == 3


def test_too_small_hospitals_are_refused_and_no_probes_have_no_pool() -> None:
    with pytest.raises(ConfigError, match="probes: 1000 records a hospital asked for"):
        choose_victims(config(batch_sizes=[500]), DATASET, PARTS)
    none = choose_victims(config(repeats=0), DATASET, PARTS)
    assert not len(none.pool) and not none.decoys


def test_a_seed_gives_the_same_victims(dataset: Dataset = DATASET) -> None:
    first, second = (choose_victims(config(), dataset, PARTS) for _ in range(2))
    assert first.probes == second.probes and (first.pool == second.pool).all()
