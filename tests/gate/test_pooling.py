"""Several seeds as one, and roles of cells."""

import pytest
from gate_facts import cell, controls, measured, privacy

from audit.core.errors import ConfigError, MissingEvidenceError
from audit.core.loading import load_config
from audit.gate.pooling import pool_cells, pool_controls


def test_seeds_keep_every_value_and_only_what_all_of_them_covered():
    first = cell(metrics=[measured(seed=1)])
    second = cell(metrics=[measured(0.6, seed=2)], covered=[("query", "loss")])
    weaker = second.model_copy(update={"claimed_epsilon": 2.1, "verdict": "underpowered"})
    (pooled,) = pool_cells([[first], [weaker]])
    assert [m.seed for m in pooled.metrics] == [1, 2]
    assert [c.attack for c in pooled.coverage] == ["loss"]
    assert (pooled.claimed_epsilon, pooled.verdict) == (2.1, "underpowered")


@pytest.mark.parametrize(
    "other",
    [
        [cell("eps-4", 4.0)],
        [cell(), cell("eps-4", 4.0)],
        [cell(delta=1e-6)],
        [
            cell(
                privacy=privacy(
                    2.0,
                    aggregation={
                        "protocol": "plain", "clients": 3, "colluders": 1, "threshold": None
                    },
                )
            )
        ],
    ],
)  # fmt: skip
def test_seeds_that_are_protected_otherwise_are_not_pooled(other):
    with pytest.raises(MissingEvidenceError):
        pool_cells([[cell()], other])


def test_a_control_counts_as_detected_only_in_every_seed():
    pair = [("query", "loss")]
    for second, expected in (
        (controls(True, pair), [True]),
        (controls(None, pair), [None]),
        (controls(False, pair), [False]),
        ((), []),
    ):
        pooled = pool_controls([controls(True, pair), second])
        assert [c.detected for c in pooled] == expected


def test_roles_of_cells():
    plain = load_config("smoke")
    assert [plain.role(c.id) for c in plain.cells] == [None, "control"]
    named = load_config("smoke", ["roles.release_cell=eps-2"])
    assert named.role("eps-2") == "release"
    bare = load_config("smoke", ["roles.release_cell=eps-inf"])
    assert [bare.role(c.id) for c in bare.cells] == [None, "release"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("roles.release_cell=eps-9", "eps-9"),
        ("roles.control=eps-2", "without DP"),
        ("roles.controls=eps-inf", "controls"),
    ],
)
def test_wrong_roles_are_named(override, said):
    with pytest.raises(ConfigError, match=said):
        load_config("smoke", [override])
