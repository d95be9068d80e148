"""Fixed features depend on one record alone, are computed once, and train like any model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from attacks.attack import Budget
from attacks.inversion.dlg import build
from audit.core.adversaries import Adversary
from audit.core.config import ModelConfig
from audit.core.errors import ConfigError
from audit.core.loading import load_config
from audit.core.randomness import named_generator
from audit.disclosure import Disclosure
from audit.pipeline.train import TrainOptions, train
from training.features import fixed
from training.features.fixed import FixedFeatures, trained_part
from training.features.gradients import OrientedGradients
from training.features.kernel import KernelLift
from training.features.upright import Upright
from training.models import architecture


def strokes(count: int, seed: int = 0) -> torch.Tensor:
    """Bright bars of random place and slant on a dark ground, (count, 1, 28, 28) in [0, 1]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:28, :28]
    images = []
    for _ in range(count):
        row, column, slant = rng.uniform(11, 16), rng.uniform(11, 16), rng.uniform(-0.5, 0.5)
        across = columns - column - slant * (rows - row)
        images.append(np.exp(-(across**2) / 6) * (np.abs(rows - row) < rng.uniform(6, 9)))
    return torch.from_numpy(np.array(images, np.float32))[:, None]


def moments(image: torch.Tensor) -> tuple[float, float, float]:
    """Row, column and slant (covariance over row variance) of an image's ink."""
    weight = image[0].double() / image.sum()
    rows = torch.arange(28.0).double()[:, None]
    columns = torch.arange(28.0).double()[None, :]
    row, column = float((weight * rows).sum()), float((weight * columns).sum())
    both = float((weight * (rows - row) * (columns - column)).sum())
    return row, column, both / float((weight * (rows - row) ** 2).sum())


def test_upright_images_are_centred_without_slant():
    assert max(abs(moments(image)[2]) for image in strokes(20)) > 0.3
    for image in Upright((28, 28))(strokes(20)):
        row, column, slant = moments(image)
        assert abs(row - 13.5) < 0.2 and abs(column - 13.5) < 0.2
        assert abs(slant) < 0.05


def test_full_strength_brings_every_figure_to_the_same_size():
    tall = [
        float((image[0].double().sum(1) * (torch.arange(28.0) - 13.5) ** 2).sum() / image.sum())
        for image in Upright((28, 28), strength=1.0)(strokes(20))
    ]
    assert np.ptp(np.sqrt(tall)) < 0.4


def test_an_empty_image_gives_finite_features():
    blank = torch.zeros(2, 1, 28, 28, requires_grad=True)
    features = OrientedGradients((28, 28))(Upright((28, 28))(blank))
    features.sum().backward()
    assert torch.isfinite(features).all() and torch.isfinite(blank.grad).all()


def test_gradients_have_unit_length_and_no_part_common_to_all_directions():
    histogram = OrientedGradients((28, 28), orientations=8)
    found = histogram(strokes(10))
    assert found.shape == (10, histogram.features)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(10), atol=1e-4, rtol=0)
    by_direction = found.view(10, 8, -1)
    torch.testing.assert_close(by_direction.mean(1), torch.zeros_like(by_direction[:, 0]))


def test_brightness_and_contrast_change_little():
    histogram = OrientedGradients((28, 28))
    plain, changed = histogram(strokes(10)), histogram(0.5 * strokes(10) + 0.2)
    # The frame of zeros around an image is an edge once the ground is not black.
    inner = torch.zeros(16, 9, 9, dtype=torch.bool)
    inner[:, 2:7, 2:7] = True
    a, b = plain[:, inner.flatten()], changed[:, inner.flatten()]
    assert torch.nn.functional.cosine_similarity(a, b).min() > 0.99


def test_a_turned_edge_turns_up_in_the_turned_direction():
    edge = torch.zeros(1, 1, 28, 28)
    edge[..., 14:] = 1.0  # brighter to the right: direction 0 of 8
    for quarter in range(4):
        turned = torch.rot90(edge, -quarter, dims=(2, 3))
        found = OrientedGradients((28, 28), orientations=8)(turned).view(8, 9, 9)
        assert int(found[:, 4, 4].argmax()) == 2 * quarter


PHASES = [5.997822, 0.227606, 5.776193]
"""Of the public stream; other numbers would make stored models useless."""


@pytest.mark.parametrize("features", [500, 4000])
def test_lifted_vectors_have_the_kernel_s_inner_products(features):
    lift = KernelLift(60, features=features, bandwidth=1.5, linear_share=0.3)
    vectors = nn.functional.normalize(torch.randn(40, 60, generator=torch.Generator()), dim=1)
    lifted = lift(vectors)
    assert lifted.shape == (40, lift.features)
    torch.testing.assert_close(lifted.norm(dim=1), torch.ones(40))
    squares = torch.cdist(vectors, vectors) ** 2
    kernel = 0.3 * vectors @ vectors.T + 0.7 * torch.exp(-(1.5**2) * squares / 2)
    error = (lifted @ lifted.T - kernel).abs().max()
    assert error < 5 / features**0.5


def test_the_lift_is_the_same_everywhere_and_sends_nothing():
    lift = KernelLift(30, features=70)
    assert lift.get_buffer("phases")[:3].tolist() == pytest.approx(PHASES, abs=1e-5)
    for start in (0, 30, 60):
        block = nn.functional.normalize(
            lift.get_buffer("frequencies")[:, start : start + 30], dim=0
        )
        torch.testing.assert_close(block.T @ block, torch.eye(block.shape[1]), atol=1e-5, rtol=0)
    assert not lift.state_dict()
    with pytest.raises(ValueError, match="linear_share"):
        KernelLift(30, linear_share=1.0)


@pytest.mark.parametrize("upright", [True, False])
def test_features_of_a_record_depend_on_no_other_record(upright):
    built = architecture(
        ModelConfig(name="hog", options={"upright": upright, "lift": {"features": 50}}),
        (1, 28, 28),
        10,
    ).build()
    assert isinstance(built, FixedFeatures)
    images = 2 * strokes(6) - 1
    together = built.extractor(images)
    alone = torch.cat([built.extractor(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert not list(built.extractor.parameters())
    assert set(built.state_dict()) == {"head.0.weight", "head.0.bias"}


def test_features_are_computed_once_and_equal_the_model_s_own(monkeypatch):
    monkeypatch.setattr(fixed, "WORTH_KEEPING", 1)
    calls = []

    class Counted(nn.Module):
        def forward(self, x):
            calls.append(len(x))
            return x.flatten(1)[:, :4] * 2

    model = FixedFeatures(Counted(), nn.Sequential(nn.Linear(4, 3)), key="counted")
    inputs = np.random.default_rng(0).normal(size=(7, 1, 8, 8)).astype(np.float32)
    head, features = trained_part(model, inputs)
    _, again = trained_part(model, inputs.copy())
    assert calls == [7] and again is features
    torch.testing.assert_close(head(features), model(torch.from_numpy(inputs)))
    inputs[0, 0, 0, 0] += 1
    _, other = trained_part(model, inputs)
    assert not torch.equal(other, features)


def test_the_cache_forgets_the_oldest_when_it_is_full(monkeypatch):
    monkeypatch.setattr(fixed, "CACHE_BYTES", 3 * 5 * 4 * 4)
    monkeypatch.setattr(fixed, "WORTH_KEEPING", 1)
    cache = fixed._Cache()
    model = FixedFeatures(nn.Flatten(), nn.Sequential(nn.Linear(4, 2)), key="flat")
    for i in range(6):
        cache.features(model, np.full((5, 1, 2, 2), i, np.float32))
    assert [float(f[0, 0]) for f in cache.held.values()] == [3.0, 4.0, 5.0]


def test_features_of_a_few_records_are_not_kept():
    cache = fixed._Cache()
    model = FixedFeatures(nn.Flatten(), nn.Sequential(nn.Linear(4, 2)), key="flat")
    few = cache.features(model, np.ones((fixed.WORTH_KEEPING - 1, 1, 2, 2), np.float32))
    assert few.shape == (fixed.WORTH_KEEPING - 1, 4)
    assert not cache.held


def test_an_extractor_with_parameters_is_refused():
    with pytest.raises(ValueError, match="fixed"):
        FixedFeatures(nn.Linear(2, 2), nn.Linear(2, 2), key="x")


def test_unknown_options_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"model.options.*sharp"):
        architecture(ModelConfig(name="hog", options={"sharp": 1}), (1, 28, 28), 10)
    with pytest.raises(ConfigError, match="hog"):
        architecture(ModelConfig(name="hog"), (30,), 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settings = [
        "privacy.epsilons=[4, .inf]", "schedule.rounds=3", "schedule.loss_scale=8",
        "schedule.learning_rate=32", "schedule.momentum=0", "probes.batch_sizes=[1]",
        "probes.repeats=1", "probes.local_steps=[1]",
        "model={name: hog, options: {bias: false, stride: 2}}",
        "per_epsilon={inf: {schedule: {learning_rate: 4}}}",
    ]  # fmt: skip
    return train(
        load_config("smoke", settings), tmp_path_factory.mktemp("hog") / "run", TrainOptions()
    )


def test_a_federation_learns_on_fixed_features_and_sends_only_the_head(run):
    import json

    rows = json.loads((run.path / "table.json").read_text())["rows"]
    assert all(row["accuracy"] > 0.6 for row in rows)
    model = run.cell("eps-4").model
    from audit.formats.parcels import read_weights

    assert list(read_weights(model)) == ["head.0.weight"]


def test_a_record_is_read_through_the_features_without_dp(run: object) -> None:
    """The server differentiates the extractor; without a bias the label still shows."""
    cell = next(c for c in run.config.cells if c.id == "eps-inf")
    view = Disclosure(run, run.config, cell).view(Adversary.SERVER)
    guess = build(Budget.QUICK).guess(view, named_generator(1, "dlg"))
    assert not guess.skipped
    from audit.vault import Vault

    victims = Vault(run.secrets).victims().arrays
    for found in guess.reconstructions:
        (client,) = found.clients
        name = f"{found.observation.rpartition('/')[0]}"
        truth = next(v for k, v in victims.items() if k.endswith(f"{client}|labels"))
        assert list(found.labels) == list(truth), name


def test_shifts_do_not_go_with_features_computed_once(tmp_path: Path) -> None:
    config = load_config("smoke", ["model={name: hog}", "schedule.augment_shift=1"])
    with pytest.raises(ConfigError, match="fixed features"):
        train(config, tmp_path / "run", TrainOptions())
