"""The verdict of a record rests on intervals, and says what is missing."""

import pytest
from evidence_records import audit, cell, score

from audit.core.audits import Verdict
from audit.core.scores import GroupScore
from audit.formats.evidence import Coverage
from audit.pipeline.evidence.verdict import verdict

HOSPITALS = ["a", "b", "c"]


def ran(outcome: str = "executed", control: bool | None = True) -> Coverage:
    return Coverage(
        attack="loss",
        title="",
        family="membership",
        source="",
        adversary="query",
        cell="eps-2",
        outcome=outcome,
        reason=None,
        control=control,
    )


def test_audits_that_contradict_nothing_and_attacks_at_chance_are_no_contradiction():
    found = verdict([cell(2.0, HOSPITALS)], [ran()], reproduction=False)
    assert found.state == "no_contradiction"
    assert [s.kind for s in found.statements] == ["fine"]
    assert "does not prove" in found.headline


def test_a_violated_claim_comes_before_all_else():
    bad = cell(
        2.0,
        HOSPITALS,
        verdict="violated",
        audits=[audit("eps-2", lower_bound=3.5, verdict=Verdict.VIOLATED)],
    )
    found = verdict([bad], [ran("failed")], reproduction=False)
    assert found.state == "claim_violated"
    assert found.statements[0].kind == "alarm"
    assert "3.5" in found.statements[0].text


def test_a_rate_above_what_the_mechanism_allows_is_an_alarm():
    leak = score(
        "eps-2",
        attack="idlg",
        metric="identification_rate_100",
        value=0.5,
        low=0.3,
        high=0.7,
        n=24,
        confidence=0.95,
        method="clopper-pearson",
        bound=0.1,
    )
    found = verdict([cell(2.0, HOSPITALS, leakage=[leak])], [ran()], reproduction=False)
    assert found.state == "claim_violated"


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"low": 0.51, "value": 0.6, "high": 0.7}, "leakage_found"),
        ({"low": 0.49, "value": 0.6, "high": 0.7}, "no_contradiction"),
        # A point estimate says nothing, however large it is.
        ({"low": 0.5, "value": 0.99, "high": 1.0}, "no_contradiction"),
        # A baseline that named nobody may still guess one in a hundred.
        (
            {
                "metric": "identification_rate_100",
                "chance": 0.0,
                "low": 0.004,
                "value": 0.1,
                "high": 0.6,
            },
            "no_contradiction",
        ),
    ],
)
def test_leakage_is_an_interval_above_guessing(fields, state):
    found = verdict(
        [cell(2.0, HOSPITALS, leakage=[score("eps-2", **fields)])], [ran()], reproduction=False
    )
    assert found.state == state


def test_leakage_without_dp_is_noted_and_is_no_verdict_on_models_with_a_claim():
    control = cell(None, HOSPITALS, leakage=[score("eps-inf", low=0.6, value=0.7, high=0.8)])
    found = verdict([cell(2.0, HOSPITALS), control], [ran()], reproduction=False)
    assert found.state == "no_contradiction"
    assert any("Without DP" in s.text for s in found.statements)
    alone = verdict([control], [ran()], reproduction=False)
    assert alone.state == "leakage_found"


def test_one_group_that_is_told_apart_is_leakage_though_all_together_are_not():
    def group(p_value: float) -> GroupScore:
        one = score("eps-2", attack="loss", by=None, value=0.8, low=0.7, high=0.9)
        return GroupScore(
            **one.model_dump(),
            column="class",
            group="rare",
            members=40,
            nonmembers=40,
            p_value=p_value,
            adjusted_p_value=p_value,
        )

    for p_value, state in ((0.001, "leakage_found"), (0.2, "no_contradiction")):
        found = verdict(
            [cell(2.0, HOSPITALS, leakage_by_group=[group(p_value)])], [ran()], reproduction=False
        )
        assert found.state == state


@pytest.mark.parametrize(
    ("fields", "covered"),
    [
        ({"verdict": None, "audits": []}, ran()),
        ({"verdict": "underpowered"}, ran()),
        ({}, ran("failed")),
        ({}, ran("missing")),
        ({}, ran(control=False)),
    ],
)
def test_what_is_missing_or_broken_is_incomplete_and_never_fine(fields, covered):
    found = verdict([cell(2.0, HOSPITALS, **fields)], [covered], reproduction=False)
    assert found.state == "incomplete"
    assert any(s.kind == "gap" for s in found.statements)


def test_a_reproduction_says_that_its_claims_are_void():
    found = verdict([cell(2.0, HOSPITALS)], [ran()], reproduction=True)
    assert "void" in found.headline
