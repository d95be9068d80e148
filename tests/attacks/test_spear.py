"""SPEAR gives small batches exactly, and says so where it does not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from single_steps import Patients, breast_cancer, digits

from attacks.attack import Budget
from attacks.inversion.exact.sparse_columns import (
    Factors,
    independent,
    rows_of,
    sparse_directions,
    with_orthogonal,
)
from attacks.inversion.exact.spear import Spear, build
from audit.core.adversaries import Adversary
from audit.core.errors import ViewError
from audit.core.guesses import ReconstructionGuess
from audit.core.randomness import named_generator
from audit.core.scores import Outcome, Score
from audit.core.views import ServerView
from audit.disclosure import Disclosure
from audit.scoring import Origin, score_reconstruction
from audit.store.run import RunDirectory
from audit.vault import Vault

DATA = {"digits": digits, "breast_cancer": breast_cancer}


def guessed(view: ServerView, budget: Budget = Budget.QUICK) -> ReconstructionGuess:
    return build(budget).guess(view, named_generator(1, "spear"))


def reason(view: ServerView) -> str:
    guess = guessed(view)
    assert not guess.reconstructions
    return guess.skipped[view.probes[0].name]


def made_up(rank: int) -> tuple[np.ndarray, np.ndarray, Factors]:
    """A sparse D, an X, and the factors of their product."""
    rng = named_generator(5, "sparse")
    sparse = rng.standard_normal((60, rank)) * (rng.random((60, rank)) < 0.5)
    rows = np.column_stack([rng.standard_normal((rank, 12)), np.ones(rank)])
    _, scales, right = np.linalg.svd(sparse @ rows, full_matrices=False)
    factors = Factors(
        left=sparse @ rows @ right[:rank].T,
        right=right[:rank],
        scales=scales[:rank],
        noise=1e-12,
        following=None,
        odds=np.ones(60),
    )
    return sparse, rows, factors


def test_sparse_columns_of_a_made_up_product_are_found() -> None:
    sparse, rows, factors = made_up(4)
    *_, directions = sparse_directions(factors, named_generator(1, "draws"), draws=4096)
    chosen = independent(directions, 4)
    columns = np.stack([d.vector for d in chosen], axis=1)
    found = rows_of(factors, columns)
    found = found / found[:, -1:]
    gaps = ((found[:, None] - rows[None]) ** 2).mean(axis=2)
    assert (gaps.min(axis=0) < 1e-18).all()
    assert sorted(d.zeros for d in chosen) == sorted((sparse[sparse.any(axis=1)] == 0).sum(axis=0))


def test_the_last_row_comes_out_without_its_own_column() -> None:
    sparse, rows, factors = made_up(4)
    columns = np.linalg.lstsq(factors.left, sparse, rcond=None)[0]
    found = rows_of(factors, with_orthogonal(columns[:, :-1]))
    np.testing.assert_allclose(found[-1] / found[-1, -1], rows[-1], rtol=1e-9)
    assert not np.allclose(found[0] / found[0, -1], rows[0], rtol=1e-3)


@pytest.mark.parametrize("wire", [False, True], ids=["float64", "wire"])
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("count", [1, 2, 4, 8])
@pytest.mark.parametrize("hidden", [128, 400])
def test_batches_up_to_eight_are_exact(hidden: int, count: int, data: str, wire: bool) -> None:
    patients, rows = Patients(DATA[data](), hidden=hidden, activation="relu"), list(range(count))
    (found,) = guessed(patients.view(rows, wire=wire)).reconstructions
    assert patients.errors(found.records, rows).max() < (1e-10 if wire else 1e-12)
    order = [int(((patients.inputs[rows] - r) ** 2).reshape(count, -1).sum(1).argmin())
             for r in found.records]  # fmt: skip
    assert found.labels.tolist() == patients.labels[rows][order].tolist()
    assert found.objective < 1e-8


def test_clipping_does_not_stop_it() -> None:
    patients, rows = Patients(breast_cancer(), hidden=200, activation="relu"), list(range(4))
    norms = [np.sqrt(sum((g**2).sum() for g in patients.gradient(r).values())) for r in rows]
    assert min(norms) > 0.05, "the control needs gradients that clipping changes"
    (found,) = guessed(patients.view(rows, clip=True, wire=True)).reconstructions
    assert patients.errors(found.records, rows).max() < 1e-8


def test_a_sum_over_three_hospitals_is_a_batch_of_theirs() -> None:
    patients, rows = Patients(digits(), hidden=200, activation="relu"), list(range(6))
    (found,) = guessed(patients.view(rows, clients=3, wire=True)).reconstructions
    assert patients.errors(found.records, rows).max() < 1e-10


def test_a_deeper_model_is_no_obstacle() -> None:
    patients = Patients(digits(), model="single_steps:deep", hidden=100)
    (found,) = guessed(patients.view([0, 1, 2])).reconstructions
    assert patients.errors(found.records, [0, 1, 2]).max() < 1e-12


def test_one_patient_twice_is_found_once_and_the_mean_fills_up() -> None:
    patients = Patients(breast_cancer(), hidden=200, activation="relu")
    view = patients.view([0, 0, 1])
    (found,) = guessed(view).reconstructions
    errors = patients.errors(found.records, [0, 1, 2])
    assert sorted(errors)[1] < 1e-12
    np.testing.assert_allclose(
        found.records[2], view.background.population.inputs.mean(axis=0), rtol=1e-6
    )


def test_noise_as_large_as_the_gradient_is_said_to_hide_the_rank() -> None:
    patients = Patients(digits(), hidden=200, activation="relu")
    assert "noise hides the rank" in reason(patients.view([0, 1], noise=10.0))


@pytest.mark.parametrize("noise", [0.03, 0.3])
def test_with_less_noise_nothing_half_right_is_returned(noise: float) -> None:
    patients = Patients(digits(), hidden=200, activation="relu")
    said = reason(patients.view(list(range(4)), noise=noise))
    assert "noise hides" in said or "not recovered by this attack" in said


def test_a_dense_gradient_of_the_same_rank_is_no_batch() -> None:
    """The null: low rank and without noise, but no column is sparse."""
    view = Patients(digits(), hidden=200, activation="relu").view([0, 1, 2, 3])
    rng, probe = named_generator(5, "dense"), view.probes[0]
    dense = rng.standard_normal((200, 4)) @ np.column_stack(
        [rng.standard_normal((4, 64)), np.ones(4)]
    )
    first, bias = list(probe.update)[:2]
    update = {**probe.update, first: dense[:, :-1], bias: dense[:, -1]}
    view = dataclasses.replace(view, probes=(dataclasses.replace(probe, update=update),))  # type: ignore[arg-type]
    assert "not recovered by this attack" in reason(view)


def test_the_gradient_under_another_model_is_no_batch() -> None:
    """The null: a true gradient, which the model of the view does not predict."""
    patients = Patients(digits(), seed=1, hidden=200, activation="relu")
    other = Patients(digits(), seed=2, hidden=200, activation="relu").view([0, 1, 2, 3])
    view = dataclasses.replace(
        other, probes=(dataclasses.replace(other.probes[0], weights=patients.weights),)
    )
    assert "not recovered by this attack" in reason(view)


def test_too_many_records_for_the_layer_are_skipped() -> None:
    patients = Patients(breast_cancer(), hidden=200, activation="relu")
    assert "40 records: expected fewer than 31" in reason(patients.view(list(range(40))))


def test_too_small_a_budget_is_said() -> None:
    patients = Patients(breast_cancer(), hidden=64, activation="relu")
    guess = Spear(draws=1).guess(patients.view(list(range(16))), named_generator(1, "spear"))
    assert "not recovered by this attack" in next(iter(guess.skipped.values()))


def test_values_that_are_not_finite_are_recorded() -> None:
    view = Patients(digits(), hidden=64, activation="relu").view([0])
    broken = {k: np.full_like(v, np.nan) for k, v in view.probes[0].update.items()}
    view = dataclasses.replace(view, probes=(dataclasses.replace(view.probes[0], update=broken),))
    assert "not finite" in reason(view)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_other_activations_are_refused_by_name(activation: str) -> None:
    with pytest.raises(ViewError, match="spear needs ReLU"):
        guessed(Patients(digits(), hidden=64, activation=activation).view([0]))


@pytest.mark.parametrize(
    ("model", "lacks"), [("simple-cnn", "a fully connected layer"), ("linear", "ReLU")]
)
def test_other_models_are_refused_by_name(model: str, lacks: str) -> None:
    with pytest.raises(ViewError, match=f"spear needs {lacks}.*{model}"):
        guessed(Patients(digits(), model=model).view([0]))


def test_the_same_generator_gives_the_same_guess() -> None:
    view = Patients(digits(), hidden=128, activation="relu").view(list(range(8)), wire=True)
    (one,), (two,) = guessed(view).reconstructions, guessed(view).reconstructions
    assert one.records.tobytes() == two.records.tobytes()


def scored(run: Path, cell: str, adversary: Adversary) -> dict[tuple[str, str], Score]:
    """Scores by probe size and metric of the attack on a recorded run."""
    opened = RunDirectory.open(run)
    chosen = next(c for c in opened.config.cells if c.id == cell)
    view = Disclosure(opened, opened.config, chosen).view(adversary)
    origin = Origin(cell=cell, adversary=adversary.value, attack="spear")
    guess = build(Budget.QUICK).guess(view, named_generator(1, "spear"))
    victims = Vault(opened.secrets).victims()
    found = score_reconstruction(guess, None, victims, origin, rng=named_generator(1, "boot"))
    return {(s.slice, s.metric): s for s in found.scores}


def test_on_a_recorded_run_the_server_reads_every_probe(perceptron: Path) -> None:
    scores = scored(perceptron, "eps-inf", Adversary.SERVER)
    for probe in ("round-1/batch-1", "round-1/batch-4"):
        mse, labels = scores[probe, "mse"].value, scores[probe, "label_accuracy"].value
        assert mse is not None
        assert mse < 1e-10
        assert labels == 1.0


def test_on_a_recorded_run_it_reads_the_masked_sum_of_three_hospitals(perceptron: Path) -> None:
    mse = scored(perceptron, "eps-inf", Adversary.SECAGG_SERVER)["round-1/batch-1", "mse"].value
    assert mse is not None
    assert mse < 1e-10


def test_on_a_recorded_run_with_dp_it_says_that_noise_hides_the_records(perceptron: Path) -> None:
    for score in scored(perceptron, "eps-2", Adversary.SERVER).values():
        assert score.outcome is Outcome.NOT_RUN
        assert "noise hides the rank" in (score.reason or "")
