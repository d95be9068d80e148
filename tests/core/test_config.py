import math

import pytest

from audit.core.config import FIXED_KEY
from audit.core.epsilons import cell_id
from audit.core.errors import ConfigError
from audit.core.loading import dump_config, load_config, shipped_configs
from audit.core.randomness import named_seed


@pytest.mark.parametrize("name", ["demo", "smoke", "mnist", "breast_cancer", "chest_xray"])
def test_shipped_configurations_are_valid(name: str) -> None:
    assert name in shipped_configs()
    assert load_config(name).cells


def test_the_seed_experiment_is_as_published() -> None:
    config = load_config("mnist")
    assert [c.id for c in config.cells] == [
        "eps-0.1", "eps-0.5", "eps-1", "eps-2", "eps-5", "eps-10", "eps-inf",
    ]  # fmt: skip
    assert config.partition.clients == 3
    assert config.partition.method == "iid"
    assert all(c.schedule.rounds == 10 for c in config.cells)
    assert (config.privacy.delta, config.privacy.max_grad_norm) == (1e-5, 1.0)
    assert config.privacy.epsilon_scope == "total"
    assert not config.reproduction
    assert config.reference is not None
    assert config.reference.at(math.inf) == 0.96


@pytest.mark.parametrize("text", [".inf", "inf", "null"])
def test_infinity_may_be_written_in_three_ways(text: str) -> None:
    config = load_config("smoke", [f"privacy.epsilons=[{text}]"])
    assert config.cells[0].id == "eps-inf"
    assert not config.cells[0].private


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("privacy.epsilons=[0]", "privacy.epsilons"),
        ("privacy.epsilons=[-1]", "privacy.epsilons"),
        ("privacy.epsilons=[.nan]", "privacy.epsilons"),
        ("privacy.epsilons=[]", "privacy.epsilons"),
        ("privacy.epsilons=[1, 1.0]", "share the cell name"),
        ("privacy.delta=0", "privacy.delta"),
        ("privacy.delta=.nan", "privacy.delta"),
        ("privacy.max_grad_norm=.nan", "privacy.max_grad_norm"),
        ("privacy.noise_key=abc", "noise_key"),
        ("schedule.batch_size=100000", "schedule.batch_size"),
        ("schedule.rounds=0", "schedule.rounds"),
        ("probes.rounds=[99]", "probes.rounds"),
        ("no.such.key=1", "unknown key 'no'"),
        ("schedule.speed=1", "unknown key 'schedule.speed'"),
        ("schedule.rounds", "expected key=value"),
        ("per_epsilon.soon.schedule.rounds=2", "soon"),
    ],
)
def test_a_bad_setting_is_refused_by_name(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"smoke|-o") as caught:
        load_config("smoke", [override])
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_override_replaces_a_list_whole_and_reads_scientific_numbers() -> None:
    config = load_config("smoke", ["privacy.epsilons=[3]", "privacy.delta=1e-6"])
    assert config.privacy.epsilons == (3.0,)
    assert config.privacy.delta == 1e-6


def test_an_epsilon_may_have_a_schedule_of_its_own() -> None:
    config = load_config(
        "smoke", ["privacy.epsilons=[0.5, 2]", "per_epsilon.0.5.schedule.local_steps=7"]
    )
    assert [c.schedule.local_steps for c in config.cells] == [7, 3]


def test_the_resolved_configuration_round_trips_without_the_noise_key(tmp_path) -> None:
    config = load_config("smoke")
    text = dump_config(config)
    assert config.privacy.noise_key not in text
    (tmp_path / "again.yaml").write_text(text)
    again = load_config(str(tmp_path / "again.yaml"))
    assert again.privacy.noise_key == FIXED_KEY
    assert dump_config(again) == text


def test_an_unknown_configuration_lists_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="smoke"):
        load_config("nothing-of-this-name")


def test_cells_are_named_after_their_epsilon() -> None:
    assert [cell_id(e) for e in (0.1, 1.0, 10.0, math.inf)] == [
        "eps-0.1", "eps-1", "eps-10", "eps-inf",
    ]  # fmt: skip


def test_named_seeds_differ_by_every_part_of_the_name() -> None:
    seeds = {named_seed(s, *n) for s in (1, 2) for n in (("a", "b"), ("ab",), ("a",), ("b", "a"))}
    assert len(seeds) == 8


@pytest.mark.parametrize("epsilon", ["0.1", "10", "inf"])
def test_an_override_below_an_epsilon_leaves_its_other_settings(epsilon):
    whole = load_config("mnist").cell(float(epsilon))
    settings = [f"per_epsilon.{epsilon}.schedule.momentum=0.25"]
    changed = load_config("mnist", settings).cell(float(epsilon))
    assert changed.schedule == whole.schedule.model_copy(update={"momentum": 0.25})
    assert changed.model == whole.model
