"""Records' gradients in inner products: the same as one backward pass for each record."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from audit.core.config import ModelConfig
from audit.core.randomness import named_generator
from training.features.fixed import trained_part
from training.gradients import gradient_products
from training.models import TorchArchitecture, architecture

RNG = named_generator(5, "gradients")
RECORDS = 40
IMAGES = RNG.normal(size=(RECORDS, 1, 8, 8)).astype(np.float32)
LABELS = RNG.integers(0, 3, size=RECORDS)
PRIORS = (0.7, 0.2, 0.1)
MODELS = {
    "mlp": ModelConfig(name="mlp", options={"hidden": 7}),
    "mlp-relu": ModelConfig(name="mlp", options={"hidden": 7, "activation": "relu"}),
    "linear": ModelConfig(name="linear"),
    "hog": ModelConfig(name="hog"),
    "hog-lifted-no-bias": ModelConfig(
        name="hog", options={"bias": False, "lift": {"features": 50}}
    ),
    "cnn": ModelConfig(name="simple-cnn", options={"pooling": "max"}),
    "cnn-standardised": ModelConfig(name="simple-cnn", options={"filter_gains": [1.0, 2.0]}),
}


def naive(
    built: TorchArchitecture, weights: dict, directions: list[dict], priors: tuple | None
) -> tuple[np.ndarray, np.ndarray]:
    """One backward pass a record, in double precision."""
    module = built.module(weights)
    trained, inputs = trained_part(module, IMAGES)
    trained.double()
    products, norms = [], []
    for x, y in zip(inputs.double(), torch.from_numpy(LABELS), strict=True):
        logits = trained(x[None])
        if priors is not None:
            logits = logits + torch.tensor(priors, dtype=torch.float64).log()
        module.zero_grad()
        nn.functional.cross_entropy(logits, y[None]).backward()
        named = {n: p.grad.numpy() for n, p in module.named_parameters()}
        products.append([sum((named[n] * d[n]).sum() for n in named) for d in directions])
        norms.append(np.sqrt(sum((g**2).sum() for g in named.values())))
    return np.array(products), np.array(norms)


@pytest.mark.parametrize("priors", [None, PRIORS], ids=["plain", "priors"])
@pytest.mark.parametrize("name", MODELS)
def test_products_and_norms_are_those_of_one_backward_pass_a_record(
    name: str, priors: tuple[float, ...] | None
) -> None:
    built = architecture(MODELS[name], (1, 8, 8), 3)
    noise = named_generator(6, name)

    def drawn() -> dict:
        initial = built.initial(1)
        return {n: noise.normal(size=w.shape, scale=0.2).astype("f4") for n, w in initial.items()}

    weights, directions = drawn(), [drawn(), drawn()]
    found = built.gradient_products(weights, IMAGES, LABELS, directions, class_priors=priors)
    products, norms = naive(built, weights, directions, priors)
    np.testing.assert_allclose(found.norms, norms, rtol=1e-4)
    scale = np.outer(norms, [np.sqrt(sum((a**2).sum() for a in d.values())) for d in directions])
    np.testing.assert_allclose(found.products / scale, products / scale, atol=1e-5)
    alone = built.gradient_products(
        weights, IMAGES, LABELS, directions, class_priors=priors, norms=False
    )
    np.testing.assert_allclose(alone.products / scale, products / scale, atol=1e-5)


@pytest.mark.parametrize("priors", [None, PRIORS], ids=["plain", "priors"])
@pytest.mark.parametrize("name", MODELS)
def test_sums_are_the_transpose_of_products(
    name: str, priors: tuple[float, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.gradients.SUM_CHUNK", 16)
    built = architecture(MODELS[name], (1, 8, 8), 3)
    weights = direction = built.initial(3)
    c = named_generator(7, name).normal(size=(RECORDS, 2))
    found = built.gradient_products(weights, IMAGES, LABELS, [direction], class_priors=priors)
    sums = built.gradient_sums(weights, IMAGES, LABELS, c, class_priors=priors)
    along = [sum((total[n] * direction[n]).sum() for n in total) for total in sums]
    assert [set(total) for total in sums] == [set(weights)] * 2
    np.testing.assert_allclose(along, found.products[:, 0] @ c, rtol=1e-3, atol=1e-4)


def twice() -> nn.Sequential:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer)


def on_rows() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(6, 3))


@pytest.mark.parametrize(("build", "rows"), [(twice, 1), (on_rows, 3)])
def test_a_layer_used_twice_or_on_several_rows_of_a_record_is_no_plain_perceptron(
    build: Callable[[], nn.Sequential], rows: int
) -> None:
    with torch.random.fork_rng():
        module = build()
    inputs = torch.from_numpy(IMAGES[:6, 0, :rows, :4]).squeeze(1)
    labels = torch.from_numpy(LABELS[:6])
    sums, norms = [], []
    for x, y in zip(inputs, labels, strict=True):
        module.zero_grad()
        nn.functional.cross_entropy(module(x[None]), y[None]).backward()
        sums.append(sum(p.grad.sum() for p in module.parameters()))
        norms.append(sum(p.grad.square().sum() for p in module.parameters()).sqrt())
    ones = [torch.ones_like(p) for p in module.parameters()]
    found = gradient_products(module, inputs, labels, [ones])
    np.testing.assert_allclose(found.products[:, 0], sums, atol=1e-4)
    np.testing.assert_allclose(found.norms, norms, rtol=1e-4)


def test_a_chunk_ends_where_the_records_do(monkeypatch: pytest.MonkeyPatch) -> None:
    built = architecture(MODELS["cnn"], (1, 8, 8), 3)
    weights = built.initial(1)
    whole = built.gradient_products(weights, IMAGES, LABELS, [weights])
    monkeypatch.setattr("training.gradients.NUMBERS", 7 * sum(w.size for w in weights.values()))
    parts = built.gradient_products(weights, IMAGES, LABELS, [weights])
    np.testing.assert_allclose(parts.products, whole.products, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(parts.norms, whole.norms, rtol=1e-4)
