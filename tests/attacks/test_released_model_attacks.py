"""Modified entropy, RMIA and ART's attacks on the released model: mathematics and manners."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from attacks.attack import Budget
from attacks.membership.art_decision_boundary import (
    ArtDecisionBoundary,
    boundary_distance,
    numpy_seeded,
)
from attacks.membership.modified_entropy import modified_entropy
from attacks.membership.rmia import log_average_of_sides, offline_slope, rmia_scores
from attacks.registry import ATTACKS
from audit.core.adversaries import Adversary
from audit.core.config import ModelConfig
from audit.core.randomness import named_generator
from audit.core.views import RecipientView, Records
from training.models import architecture

FINITE = st.floats(-6, 6)


@given(arrays(np.float64, (4, 3), elements=FINITE), arrays(np.int64, 4, elements=st.integers(0, 2)))
def test_modified_entropy_is_the_papers_sum(logits: np.ndarray, labels: np.ndarray) -> None:
    found = modified_entropy(logits, labels)
    for i, y in enumerate(labels):
        p = np.exp(logits[i]) / np.exp(logits[i]).sum()
        expected = -(1 - p[y]) * np.log(p[y])
        expected -= sum(p[k] * np.log(1 - p[k]) for k in range(3) if k != y)
        assert found[i] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_modified_entropy_orders_answers_that_are_all_but_certain() -> None:
    logits = np.array([[300.0, 0.0, 0.0], [60.0, 0, 0], [40.0, 0, 0], [0, 0, 0], [0, 700.0, 0]])
    found = modified_entropy(logits, np.zeros(5, dtype=np.int64))
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
    assert found[0] > 0


@given(
    arrays(np.float64, st.integers(1, 6), elements=st.sampled_from([-2.0, -0.3, 0.0, 0.4, 1.5])),
    arrays(np.float64, st.integers(1, 7), elements=st.floats(-2, 2)),
)
def test_rmia_ranks_by_dominated_share_and_then_by_ratio(x: np.ndarray, z: np.ndarray) -> None:
    scores = rmia_scores(x, z, gamma=2.0)
    shares = np.array([[np.exp(a) / np.exp(b) >= 2 for b in z] for a in x]).mean(axis=1)
    if np.abs((x[:, None] - z) - np.log(2)).min() > 1e-9:  # not on the edge, where rounding decides
        assert np.array_equal(np.floor(scores * len(z) + 1e-9), np.round(shares * len(z)))
    for i in range(len(x)):
        for j in range(len(x)):
            assert (scores[i] > scores[j]) == (x[i] > x[j])


def test_rmia_averages_each_side_for_itself() -> None:
    chances = np.array([[0.9, 0.5], [0.7, 0.5], [0.2, 0.4]])
    trained_on = np.array([[True, True], [True, False], [False, False]])
    found = np.exp(log_average_of_sides(np.log(chances), trained_on))
    assert found == pytest.approx([(0.8 + 0.2) / 2, (0.5 + 0.45) / 2])


@pytest.mark.parametrize("a", [0.0, 0.3, 1.0])
def test_the_offline_correction_is_recovered(a: float) -> None:
    outside = np.array([0.1, 0.5, 0.8, 0.99])
    chances = np.array([a * outside + 1 - a, outside])
    trained_on = np.array([[True] * 4, [False] * 4])
    assert offline_slope(np.log(chances), trained_on) == pytest.approx(a)


def test_models_that_are_certain_of_all_records_leave_nothing_to_correct() -> None:
    assert offline_slope(np.zeros((2, 3)), np.array([[True] * 3, [False] * 3])) == 1.0


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("loss", 240),
        ("modified-entropy", 240),
        ("lira-online", 240),
        ("lira-offline", 240),
        ("rmia", 480),
        ("bavaria", 240),
        ("art-black-box", 240),
    ],
)
def test_each_record_is_asked_about_once(name: str, asked: int, overfit: Any) -> None:
    view = overfit.view(Adversary.QUERY)
    ATTACKS[name].build(Budget.QUICK).guess(view, named_generator(1, name))
    assert view.oracle.queries == asked


@pytest.mark.parametrize("name", ["art-black-box", "art-decision-boundary"])
def test_arts_attacks_draw_from_the_given_generator_alone(name: str, overfit: Any) -> None:
    view = overfit.view(Adversary.RECIPIENT)
    attack = ATTACKS[name].build(Budget.QUICK)
    found = []
    for _ in range(2):
        np.random.uniform(size=3)  # noqa: NPY002 - a global stream in another state each time
        before = np.random.get_state()  # noqa: NPY002
        found.append(attack.guess(view, named_generator(4, name)))
        assert all(np.array_equal(a, b) for a, b in zip(before, np.random.get_state(), strict=True))  # noqa: NPY002
    assert found[0].scores.tobytes() == found[1].scores.tobytes()
    other = attack.guess(view, named_generator(5, name))
    assert found[0].scores.tobytes() != other.scores.tobytes()


def test_numpys_global_stream_is_put_back_after_an_error() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    with pytest.raises(ZeroDivisionError), numpy_seeded(named_generator(1, "x")):
        raise ZeroDivisionError
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def linear_view(weight: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> RecipientView:
    """Two classes, cut by a hyperplane through the origin."""
    built = architecture(ModelConfig(name="linear"), (inputs.shape[1],), 2)
    names = list(built.initial(1))
    arrays_by_shape = {(2, inputs.shape[1]): np.stack([-weight, weight]), (2,): np.zeros(2)}
    shapes = {n: a.shape for n, a in built.initial(1).items()}
    weights = {n: arrays_by_shape[shapes[n]].astype(np.float32) for n in names}
    records = Records(ids=tuple(map(str, range(len(inputs)))), inputs=inputs, labels=labels)
    from audit.core.views import Background

    background = Background(
        architecture=built,
        recipe=None,  # type: ignore[arg-type]
        candidates=records,
        population=records,
        record_range=(-4.0, 4.0),
    )
    return RecipientView(background=background, weights=weights)


def test_the_distance_to_a_plane_is_found_and_a_misclassified_record_is_at_0() -> None:
    rng = named_generator(2, "plane")
    weight = rng.normal(size=6)
    inputs = rng.uniform(-2, 2, (20, 6)).astype(np.float32)
    labels = (inputs @ weight > 0).astype(np.int64)
    labels[:4] = 1 - labels[:4]
    attack = ArtDecisionBoundary(most_candidates=20, iterations=15, evaluations=60)
    found = attack.guess(linear_view(weight, inputs, labels), named_generator(3, "walk"))
    exact = np.abs(inputs @ weight) / np.linalg.norm(weight)
    assert (found.scores[:4] == 0).all()
    assert (found.scores[4:] >= exact[4:] - 1e-3).all()
    assert found.scores[4:] == pytest.approx(exact[4:], rel=0.15, abs=0.02)
    assert found.note is not None
    assert found.note.startswith("20 of 20 candidates")
    assert found.note.endswith("4 misclassified, at 0")


def test_a_model_of_one_label_leaves_its_records_at_the_widest_distance() -> None:
    inputs = np.ones((3, 4), dtype=np.float32)
    view = linear_view(np.zeros(4), inputs, np.array([0, 0, 1]))
    found = (
        ATTACKS["art-decision-boundary"].build(Budget.QUICK).guess(view, named_generator(1, "w"))
    )
    assert found.scores.tolist() == [16.0, 16.0, 0.0]  # type: ignore[union-attr]
    assert "for 2 no record with another label was found" in (found.note or "")  # type: ignore[union-attr]


def test_the_budget_chooses_candidates_and_counts_every_query(overfit: Any) -> None:
    view = overfit.view(Adversary.QUERY)
    attack = ArtDecisionBoundary(most_candidates=10, iterations=1, evaluations=10)
    found = attack.guess(view, named_generator(1, "subset"))
    assert len(found.candidates) == len(found.scores) == 10
    assert found.note is not None
    assert found.note.startswith(
        f"10 of 240 candidates, {view.oracle.queries / 10:.0f} label queries a candidate"
    )


def test_both_adversaries_walk_the_same_way(overfit: Any) -> None:
    walk = ArtDecisionBoundary(most_candidates=12, iterations=2, evaluations=10)
    asked, owned = (
        walk.guess(overfit.view(adversary), named_generator(1, "same"))
        for adversary in (Adversary.QUERY, Adversary.RECIPIENT)
    )
    assert asked.candidates == owned.candidates
    assert asked.scores == pytest.approx(owned.scores)


def test_bisection_ends_where_the_label_changes() -> None:
    def label_of(inputs: np.ndarray) -> np.ndarray:
        return (inputs[:, 0] > 0.3).astype(np.int64)

    found = boundary_distance(
        label_of, np.zeros(2, np.float32), np.int64(0), np.array([1.0, 0.0], np.float32)
    )
    assert found == pytest.approx(0.3, abs=1e-3)


def test_walks_that_never_change_the_label_again_stop(overfit: Any) -> None:
    """An oracle that stops answering otherwise: HopSkipJump would halve its step for ever."""
    view = overfit.view(Adversary.QUERY)
    asked = 0

    class Stubborn:
        queries = 0

        def labels(self, inputs: np.ndarray) -> np.ndarray:
            nonlocal asked
            asked += 1
            if asked < 12:
                return view.oracle.labels(inputs)
            return np.resize(view.background.candidates.labels, len(inputs)) * 0

    stubborn = dataclasses.replace(view, oracle=Stubborn())
    attack = ArtDecisionBoundary(most_candidates=60, iterations=2, evaluations=10)
    assert np.isfinite(attack.guess(stubborn, named_generator(1, "stubborn")).scores).all()
