"""What `audit baseline show` and `diff` say."""

from io import StringIO

from gate_facts import approved, cell, control_cell, controls, facts, measured
from rich.console import Console, RenderableType

from audit.formats.baseline import ControlFacts
from audit.gate.summary import differences, render_baseline, render_differences


def text_of(shown: RenderableType) -> str:
    console = Console(file=StringIO(), width=200)
    console.print(shown)
    return console.file.getvalue()


def test_a_baseline_is_shown_with_who_until_when_and_what_its_controls_say():
    broken = ControlFacts.model_validate(
        {"adversary": "server", "attack": "dlg", "detected": False}
    )
    never = ControlFacts.model_validate(
        {"adversary": "server", "attack": "prior", "detected": None}
    )
    text = text_of(
        render_baseline(approved(facts(known=(*controls(), broken, never))), signature="none")
    )
    assert "approved by A. Person on 2029-12-31, expires never: test; signature: none" in text
    assert "positive controls detected: 4 of 6" in text
    assert "not detected: dlg by server" in text
    assert "no control possible: prior by server" in text


def strongest(value: float, seed: int = 1):
    return measured(value, attack="strongest", seed=seed)


def test_scores_of_single_attacks_are_counted_and_shown_when_asked_for():
    before = approved(facts(cell(metrics=[measured(0.5), strongest(0.5)]), control_cell()))
    now = approved(facts(cell(metrics=[measured(0.6), strongest(0.7)]), control_cell()))
    found = differences(before, now)
    assert [(d.what, d.detail) for d in found] == [
        ("auc of loss by query (all)", True),
        ("auc of strongest by query (all)", False),
    ]
    short, long = (text_of(render_differences(found, everything=all_)) for all_ in (False, True))
    assert "0.6 [" not in short
    assert "0.7 [" in short
    assert "1 scores of single attacks and slices differ, too: --all" in short
    assert "0.6 [" in long


def test_seeds_of_a_score_stand_below_each_other():
    one = approved(facts(cell(metrics=[strongest(0.5)])))
    two = approved(facts(cell(metrics=[strongest(0.5), strongest(0.6, seed=2)]), seeds=(1, 2)))
    (seeds, score) = differences(one, two)
    assert (seeds.what, seeds.second) == ("seeds", "1, 2")
    assert score.second.splitlines() == [
        "0.5 [0.48, 0.52], n 1000, seed 1",
        "0.6 [0.58, 0.62], n 1000, seed 2",
    ]


def test_what_no_seed_measured_is_no_difference():
    one = approved(facts(cell(metrics=[measured(None, attack="dlg")])))
    two = [measured(None, attack="dlg", seed=seed) for seed in (1, 2)]
    assert differences(one, approved(facts(cell(metrics=two)))) == []
