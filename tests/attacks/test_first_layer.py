"""The first layer's gradient gives a record exactly, and a batch where neurons see one alone."""

import dataclasses

import numpy as np
import pytest
from single_steps import Patients, breast_cancer, digits

from attacks.attack import Budget
from attacks.inversion.exact.first_layer import build, denoised_ratio
from attacks.inversion.exact.peeling import ratio
from audit.core.errors import ViewError
from audit.core.guesses import Reconstruction
from audit.core.randomness import named_generator
from audit.core.views import ServerView

DATA = {"digits": digits, "breast_cancer": breast_cancer}


def rebuilt(view: ServerView) -> Reconstruction:
    guess = build(Budget.STANDARD).guess(view, named_generator(1, "first-layer"))
    assert not guess.skipped
    return guess.reconstructions[0]


def baseline_error(patients: Patients, rows: list[int], view: ServerView) -> float:
    mean = view.background.population.inputs.mean(axis=0)
    return float(patients.errors(np.repeat(mean[None], len(rows), axis=0), rows).mean())


def test_a_ratio_is_the_record_by_hand() -> None:
    record, neurons = np.array([3.0, -1.0, 0.5]), np.array([0.2, 0.0, -4.0])
    gradient = np.outer(neurons, np.append(record, 1.0))
    np.testing.assert_allclose(ratio(gradient), record, rtol=1e-15)
    np.testing.assert_allclose(
        denoised_ratio(gradient, 0.0, prior=np.zeros(3), spread=2.0), record, rtol=1e-15
    )


def test_a_ratio_under_noise_lies_between_prior_and_record_and_nearer_than_the_plain_one() -> None:
    rng = named_generator(3, "ratio")
    prior, noise, plain, drawn = np.zeros(20), 0.25, [], []
    for _ in range(200):
        record = rng.uniform(-1, 1, 20)
        gradient = np.outer(rng.standard_normal(50) / 7, np.append(record, 1.0))
        gradient = gradient + noise * rng.standard_normal(gradient.shape) / 7
        found = denoised_ratio(gradient, noise / 7, prior=prior, spread=2.0)
        plain.append(np.mean((ratio(gradient) - record) ** 2))
        drawn.append(np.mean((found - record) ** 2))
    assert np.mean(drawn) < np.mean(plain)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("clip", [False, True], ids=["plain", "clipped"])
def test_one_record_is_exact_whatever_the_activation(
    data: str, activation: str, clip: bool
) -> None:
    patients = Patients(DATA[data](), hidden=64, activation=activation)
    found = rebuilt(patients.view([0], clip=clip))
    assert patients.errors(found.records, [0]).max() < 1e-12
    assert found.labels.tolist() == [patients.labels[0]]
    assert found.objective < 1e-20


def test_a_linear_model_gives_its_record_too() -> None:
    patients = Patients(breast_cancer(), model="linear")
    assert patients.errors(rebuilt(patients.view([4], wire=True)).records, [4]).max() < 1e-10


@pytest.mark.parametrize("wire", [False, True], ids=["float64", "wire"])
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("count", [2, 4, 8])
def test_batches_behind_a_relu_are_peeled_to_the_last_record(
    count: int, data: str, wire: bool
) -> None:
    patients, rows = Patients(DATA[data](), hidden=200, activation="relu"), list(range(count))
    found = rebuilt(patients.view(rows, wire=wire, clip=True))
    assert patients.errors(found.records, rows).max() < (1e-7 if wire else 1e-12)
    assert sorted(found.labels) == sorted(patients.labels[rows])


def test_a_sum_over_three_hospitals_is_a_batch_of_theirs() -> None:
    patients, rows = Patients(digits(), hidden=200, activation="relu"), list(range(6))
    found = rebuilt(patients.view(rows, clients=3, wire=True))
    assert found.clients == ("hospital-0", "hospital-1", "hospital-2")
    assert patients.errors(found.records, rows).max() < 1e-9


def test_class_priors_of_the_loss_are_part_of_the_prediction() -> None:
    patients, rows = Patients(breast_cancer(), hidden=200, activation="relu"), list(range(4))
    found = rebuilt(patients.view(rows, priors=(0.9, 0.1)))
    assert patients.errors(found.records, rows).max() < 1e-12


def test_a_batch_behind_tanh_gives_the_baseline() -> None:
    patients, rows = Patients(digits(), hidden=64, activation="tanh"), list(range(4))
    view = patients.view(rows)
    found = rebuilt(view)
    assert patients.errors(found.records, rows).mean() == pytest.approx(
        baseline_error(patients, rows, view)
    )


@pytest.mark.parametrize("count", [1, 4])
def test_noise_of_the_gradients_size_gives_the_baseline(count: int) -> None:
    """The null: the noise of ten gradients' norm on top, and no trace is claimed."""
    patients, rows = Patients(digits(), hidden=64, activation="relu"), list(range(count))
    view = patients.view(rows, noise=10.0)
    assert patients.errors(rebuilt(view).records, rows).mean() == pytest.approx(
        baseline_error(patients, rows, view), rel=1e-6
    )


def test_a_gradient_of_another_record_gives_that_one() -> None:
    """The null: what is read comes out of the gradient, not of what else the view holds."""
    patients = Patients(breast_cancer(), hidden=64, activation="relu")
    found = rebuilt(patients.view([1]))
    assert patients.errors(found.records, [1]).max() < 1e-12
    assert patients.errors(found.records, [0]).max() > 0.05


def test_values_that_are_not_finite_are_recorded() -> None:
    patients = Patients(digits(), hidden=64, activation="relu")
    view = patients.view([0])
    broken = {k: np.full_like(v, np.nan) for k, v in view.probes[0].update.items()}
    view = dataclasses.replace(
        view, probes=(dataclasses.replace(view.probes[0], update=broken), view.probes[0])
    )
    guess = build(Budget.QUICK).guess(view, named_generator(1, "first-layer"))
    assert "not finite" in next(iter(guess.skipped.values()))
    assert len(guess.reconstructions) == 1


def test_an_update_of_zeros_is_recorded() -> None:
    view = Patients(digits(), hidden=64).view([0])
    still = {k: np.zeros_like(v) for k, v in view.probes[0].update.items()}
    view = dataclasses.replace(view, probes=(dataclasses.replace(view.probes[0], update=still),))
    guess = build(Budget.QUICK).guess(view, named_generator(1, "first-layer"))
    assert "bias has no gradient" in next(iter(guess.skipped.values()))


@pytest.mark.parametrize(
    ("model", "lacks"), [("simple-cnn", "fully connected layer"), ("hog", "fully connected layer")]
)
def test_a_model_without_such_a_layer_is_refused_by_name(model: str, lacks: str) -> None:
    with pytest.raises(ViewError, match=f"first-layer needs a {lacks}.*{model}"):
        rebuilt(Patients(digits(), model=model).view([0]))


def test_a_layer_without_bias_is_refused_by_name() -> None:
    patients = Patients(breast_cancer(), model="single_steps:unbiased")
    with pytest.raises(ViewError, match="first-layer needs a bias"):
        rebuilt(patients.view([0]))
