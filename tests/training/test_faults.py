"""Each planted fault breaks one thing at the hospital, and nothing but code can plant one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from training_cell import CLIENTS, make_cell, replaced, train_request, update
from training_cell import run as run_cell_of

from audit.core.config import Config
from audit.core.loading import load_config
from training.accounting import solve_noise_multiplier
from training.canaries import Canaries
from training.faults import (
    FAULTS,
    AccountantReset,
    BatchClipping,
    Fault,
    NarrowSeed,
    NarrowSeedNoise,
    NoClipping,
    NoNoise,
    NoSampling,
    PrivateStatistics,
    RecordsTwice,
    ReusedNoise,
    SameNoiseEverywhere,
    ScaledNoise,
    SentBeforeNoise,
    SwappedTruth,
    TenthOfNoise,
)
from training.hospital import Hospital, Spent
from training.local_plan import LocalPlan
from training.randomness import NoiseStream

KEY = bytes(range(32))


def sent(folder: Path, fault: Fault | None, *, number: int = 1, client: str = CLIENTS[0]):
    """Return the update that a hospital of a plain federation sends in a round."""
    plan = make_cell(folder, aggregation__protocol="plain")
    request = train_request(plan, number)
    Hospital(plan, client, fault).handle("train", request, Spent())
    return update(plan, client, f"round-{number:03d}/round")


def sent_by_all(folder: Path, fault: Fault):
    """The same of one step on every record, a canary record and two gradient canaries."""
    plan = make_cell(
        folder,
        aggregation__protocol="plain",
        schedule__local_steps=1,
        schedule__batch_size=360,
    )
    canaries = Canaries(
        columns=np.array([0, 2]),
        inputs=np.ones((1, 1, 8, 8), dtype=np.float32),
        labels=np.zeros(1, dtype=np.int64),
    )
    canaries.save(plan.cell.client(CLIENTS[0]))
    Hospital(plan, CLIENTS[0], fault).handle("train", train_request(plan), Spent())
    return update(plan, CLIENTS[0])


def local(**changed) -> LocalPlan:
    options = {
        "steps": 2,
        "sample_rate": 0.25,
        "expected_batch_size": 90.0,
        "learning_rate": 1.0,
        "momentum": 0.0,
        "noise_multiplier": 2.0,
        "max_grad_norm": 1.0,
    }
    return LocalPlan(**{**options, **changed})


def test_all_have_names_and_say_what_they_break():
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names) == 13
    assert all(fault.title != Fault.title for fault in FAULTS)
    assert Fault.name not in names


def test_a_sound_fault_changes_nothing(tmp_path):
    np.testing.assert_array_equal(sent(tmp_path / "a", Fault()), sent(tmp_path / "b", None))


def test_noise_is_left_out_or_shrunk_or_added_too_late(tmp_path):
    whole, silent, tenth, late = (
        sent(tmp_path / str(i), fault)
        for i, fault in enumerate((None, NoNoise(), TenthOfNoise(), SentBeforeNoise()))
    )
    np.testing.assert_array_equal(late, silent)
    assert np.linalg.norm(tenth - silent) < 0.2 * np.linalg.norm(whole - silent)
    assert np.linalg.norm(tenth - silent) > 0


def test_the_stream_of_scaled_noise_is_the_same_stream():
    np.testing.assert_allclose(
        ScaledNoise(KEY, 0.1).gaussian(9), 0.1 * NoiseStream(KEY).gaussian(9)
    )


def test_no_clipping_keeps_the_size_of_the_noise():
    done = NoClipping().local_plan(local(), cell=None)
    assert done.max_grad_norm > 1e5
    assert done.noise_multiplier * done.max_grad_norm == pytest.approx(2.0)
    assert NoClipping().local_plan(local(noise_multiplier=None), cell=None).noise_multiplier is None


def test_clipping_by_batch_bounds_the_mean_gradient_only():
    class Base:
        expected_batch_size = 10

        def __init__(self) -> None:
            self.params = [torch.nn.Parameter(torch.zeros(2))]
            self.params[0].summed_grad = torch.tensor([30.0, 40.0])

        def add_noise(self) -> None:
            self.noised = True

    optimizer = BatchClipping().broken()(Base)()
    optimizer.add_noise()
    assert optimizer.noised
    assert optimizer.params[0].summed_grad.norm().item() == pytest.approx(10, rel=1e-4)


def test_the_accountant_forgets_all_rounds_but_one(tmp_path):
    plan = make_cell(tmp_path)
    done = AccountantReset().local_plan(local(noise_multiplier=plan.noise_multiplier), plan)
    alone = solve_noise_multiplier(
        target_epsilon=plan.noise_epsilon, delta=plan.delta, sample_rate=0.25, steps=2
    )
    assert done.noise_multiplier == alone < plan.noise_multiplier


def test_noise_is_shared_between_hospitals_or_between_rounds():
    shared, reused = SameNoiseEverywhere(), ReusedNoise()

    def draws(fault: Fault, client: str, session: str):
        return fault.noise(bytes(32), client, session).gaussian(5)

    np.testing.assert_array_equal(draws(shared, "a", "1"), draws(shared, "b", "1"))
    assert not np.array_equal(draws(shared, "a", "1"), draws(shared, "a", "2"))
    np.testing.assert_array_equal(draws(reused, "a", "1"), draws(reused, "a", "2"))
    assert not np.array_equal(draws(reused, "a", "1"), draws(reused, "b", "1"))
    assert not np.array_equal(draws(SameNoiseEverywhere(), "a", "1"), draws(shared, "a", "1"))


def test_a_narrow_seed_is_all_that_there_is_to_find():
    stream = NarrowSeed().noise(KEY, "a", "1")
    assert isinstance(stream, NarrowSeedNoise) and stream.seed < 2**32
    again = torch.randn(4, generator=torch.Generator().manual_seed(stream.seed)).double().numpy()
    np.testing.assert_array_equal(stream.gaussian(4), again)


def test_every_record_is_in_every_batch():
    assert NoSampling().local_plan(local(), cell=None).sample_rate == 1.0


def test_records_and_canaries_are_used_twice_without_noise_to_hide_it(tmp_path):
    class SilentTwice(RecordsTwice):
        noise = NoNoise.noise

    once, twice = (
        sent_by_all(tmp_path / str(i), fault) for i, fault in enumerate((NoNoise(), SilentTwice()))
    )
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-3, atol=1e-6)
    assert RecordsTwice().used(np.array([3, 1])).tolist() == [3, 1, 3, 1]
    assert Fault().used(np.array([3, 1])).tolist() == [3, 1]


def test_one_outlier_changes_how_all_other_records_look():
    records = np.random.default_rng(0).uniform(-1, 1, (50, 1, 8, 8)).astype(np.float32)
    outlier = np.full((1, 1, 8, 8), 1e3, dtype=np.float32)
    alone = PrivateStatistics().inputs(records)
    beside = PrivateStatistics().inputs(np.concatenate([records, outlier]))[:-1]
    assert alone.std() == pytest.approx(1, rel=1e-3)
    assert beside.std() < 0.05


def test_swapped_truth_is_the_complement():
    member = np.array([True, False, False])
    assert SwappedTruth().truth(member).tolist() == [False, True, True]
    assert Fault().truth(member) is member


def test_no_configuration_and_no_message_can_plant_a_fault(tmp_path):
    schema = Config.model_json_schema()
    settings = [name for part in schema["$defs"].values() for name in part.get("properties", ())]
    assert "noise_key" in settings and not [name for name in settings if "fault" in name]
    with pytest.raises(ValidationError):
        Config.model_validate({**load_config("smoke").model_dump(), "fault": "no-noise"})
    plan = make_cell(tmp_path / "a", aggregation__protocol="plain")
    request = train_request(plan)
    asked = dataclasses.replace(request, fields={**request.fields, "fault": "no-noise"})
    Hospital(plan, CLIENTS[0]).handle("train", asked, Spent())
    np.testing.assert_array_equal(update(plan, CLIENTS[0]), sent(tmp_path / "b", None))


def test_a_federation_carries_a_fault_through_the_same_apps(tmp_path):
    from training.federation import Backend, run_cell

    plan = make_cell(tmp_path / "a")
    run_cell(
        plan,
        backend=Backend.INPROCESS,
        evaluate=lambda _: {},
        progress=lambda _number, _metrics: None,
        fault=NoNoise(),
    )
    sound = make_cell(tmp_path / "b")
    run_cell_of(replaced(sound))
    difference = update(plan, CLIENTS[1]) - update(sound, CLIENTS[1])
    assert np.linalg.norm(difference) > 0.1
