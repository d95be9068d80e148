"""Models by name, and the public architecture that adversaries know."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from audit.core.config import ModelConfig
from audit.core.errors import ConfigError
from audit.core.model import GradientProducts, Weights
from audit.core.randomness import named_seed
from training.features.fixed import FixedFeatures, trained_part
from training.features.gradients import OrientedGradients
from training.features.kernel import KernelLift
from training.features.upright import Brightness, Upright
from training.gradients import named_products, named_sums
from training.layers import StandardizedConv2d

Builder = Callable[..., nn.Module]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
}
POOLS: dict[str, type[nn.Module]] = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}


def simple_cnn(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    pooling: str = "avg",
    activation: str = "tanh",
    filter_gains: Sequence[float] | None = None,
    channels: Sequence[int] = (16, 32),
    hidden: int = 32,
) -> nn.Module:
    """Return the seed experiment's CNN: two convolutions with pooling, one hidden layer.

    Args:
        input_shape: (channels, height, width), at least 8x8.
        classes: Outputs.
        pooling: ``avg`` or ``max``.
        activation: ``tanh``, ``relu`` or ``sigmoid``.
        filter_gains: Norms of the two convolutions' standardised filters; None: plain filters.
        channels: Filters of the two convolutions.
        hidden: Width of the hidden layer.

    Source:
        At 28x28 and its defaults the 26,010-parameter network of Papernot et al. 2021
        (arXiv:2007.14191) and Tramèr and Boneh 2021 (arXiv:2011.11660, table 7). Below 20 pixels
        the kernels are 3x3.
    """
    given, height, width = _image(input_shape, "simple-cnn")
    pool = _choice("pooling", pooling, POOLS)
    active = _choice("activation", activation, ACTIVATIONS)
    if filter_gains is not None and (len(filter_gains) != 2 or min(filter_gains) <= 0):
        raise ConfigError(
            f"model.options.filter_gains: {filter_gains}: expected two numbers above 0"
        )
    if len(channels) != 2 or min(channels) < 1:
        raise ConfigError(f"model.options.channels: {channels}: expected two numbers from 1")
    gains = filter_gains or (None, None)
    if min(height, width) >= 20:
        kernels, pooled = ({"kernel": 8, "stride": 2, "padding": 3}, {"kernel": 4, "stride": 2}), 1
    else:
        kernels, pooled = ({"kernel": 3, "padding": 1}, {"kernel": 3, "padding": 1}), 2
    body = [
        _convolution(given, channels[0], gain=gains[0], **kernels[0]),
        active(),
        pool(2, pooled),
        _convolution(channels[0], channels[1], gain=gains[1], **kernels[1]),
        active(),
        pool(2, pooled),
        nn.Flatten(),
    ]
    features = _features(body, input_shape)
    return nn.Sequential(*body, nn.Linear(features, hidden), active(), nn.Linear(hidden, classes))


def _convolution(
    inputs: int, outputs: int, *, kernel: int, gain: float | None, **options: int
) -> nn.Module:
    if gain is None:
        return nn.Conv2d(inputs, outputs, kernel, **options)  # type: ignore[arg-type]
    return StandardizedConv2d(inputs, outputs, kernel, gain=gain, **options)


def mlp(
    input_shape: tuple[int, ...], classes: int, *, hidden: int = 64, activation: str = "tanh"
) -> nn.Module:
    """Return a perceptron with one hidden layer.

    Args:
        input_shape: Of one record; flattened.
        classes: Outputs.
        hidden: Width of the hidden layer.
        activation: ``tanh``, ``relu`` or ``sigmoid``.
    """
    active = _choice("activation", activation, ACTIVATIONS)
    width = int(np.prod(input_shape))
    return nn.Sequential(
        nn.Flatten(), nn.Linear(width, hidden), active(), nn.Linear(hidden, classes)
    )


def linear(input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a linear softmax classifier."""
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), classes))


def hog(
    input_shape: tuple[int, ...],
    classes: int,
    *,
    upright: bool = False,
    bias: bool = True,
    lift: Mapping[str, Any] | None = None,
    **gradients: Any,
) -> nn.Module:
    """Return a linear classifier on histograms of oriented gradients.

    Args:
        input_shape: (channels, height, width), at least 8x8; channels are averaged.
        classes: Outputs.
        upright: Whether a dark image with one bright figure is made upright first.
        bias: Whether the classifier has one. Its gradient takes a share of the clipping norm.
        lift: Options of ``KernelLift``, such as ``{features: 2000}``; None: no lift.
        gradients: Options of ``OrientedGradients``.
    """
    _, height, width = _image(input_shape, "hog")
    histogram = OrientedGradients((height, width), **gradients)
    steps: list[nn.Module] = [Brightness()]
    if upright:
        steps.append(Upright((height, width)))
    steps.append(histogram)
    features = histogram.features
    if lift is not None:
        lifted = KernelLift(features, **lift)
        features = lifted.features
        steps.append(lifted)
    head = nn.Linear(features, classes, bias=bias)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    key = f"hog {height}x{width} {upright} {gradients} {lift}"
    return FixedFeatures(nn.Sequential(*steps), nn.Sequential(head), key=key)


MODELS: dict[str, Builder] = {"simple-cnn": simple_cnn, "mlp": mlp, "linear": linear, "hog": hog}


@dataclass(frozen=True, kw_only=True)
class TorchArchitecture:
    """An architecture that can be rebuilt from public knowledge (``core.model.Architecture``).

    Args:
        name: A name in ``MODELS``, or ``package.module:callable`` of the user's own.
        options: Keyword arguments of the builder.
        classes: Outputs.
        input_shape: Shape of one record.
        start: Initial weights that were trained on public records; None: at random.
    """

    name: str
    options: Mapping[str, Any]
    classes: int
    input_shape: tuple[int, ...]
    start: Mapping[str, NDArray[np.float32]] | None = field(default=None, repr=False, compare=False)

    def build(self) -> nn.Module:
        """Return a module with torch's default initialisation.

        Raises:
            ConfigError: Unknown name, options that do not fit, or a module that DP rules out.
        """
        builder = _builder(self.name)
        try:
            module = builder(self.input_shape, self.classes, **self.options)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"model.options {dict(self.options)} of {self.name!r}: {error}"
            ) from None
        if set(module.state_dict()) != {name for name, _ in module.named_parameters()}:
            raise ConfigError(
                f"model.name {self.name!r} has buffers, such as BatchNorm's running statistics: "
                "expected a model whose state is its parameters only (use GroupNorm)"
            )
        return module

    @property
    def fixed_features(self) -> bool:
        """Whether only a head is trained, on features that are computed once a record."""
        return isinstance(self.build(), FixedFeatures)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the parameters, in their order."""
        return tuple(tuple(p.shape) for p in self.build().parameters())

    def initial(self, seed: int) -> dict[str, NDArray[np.float32]]:
        """Return initial weights that depend on public knowledge only."""
        if self.start is not None:
            return {name: array.copy() for name, array in self.start.items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(named_seed(seed, "model"))
            return to_weights(self.build())

    def module(self, weights: Weights) -> nn.Module:
        """Return a fresh module that holds these weights, in evaluation mode."""
        with torch.random.fork_rng(devices=[]):
            module = self.build()
        load_weights(module, weights)
        return module.eval()

    def logits(self, weights: Weights, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return logits of shape (records, classes)."""
        trained, x = trained_part(self.module(weights), inputs)
        with torch.no_grad():
            parts = [trained(chunk) for chunk in torch.split(x, 2048)]
        return torch.cat(parts).double().numpy()

    def gradient_products(
        self,
        weights: Weights,
        inputs: NDArray[np.float32],
        labels: NDArray[np.int64],
        directions: Sequence[Weights],
        *,
        class_priors: Sequence[float] | None = None,
        norms: bool = True,
    ) -> GradientProducts:
        """Hold each record's own gradient of the training loss against given directions.

        Args:
            weights: Where the gradients are taken.
            inputs: Records, shape (records, *input shape).
            labels: Shape (records,).
            directions: Vectors in parameter space, by parameter name.
            class_priors: As in training: shares of the classes that the loss evens out.
            norms: Whether the gradients' norms are wanted too.
        """
        options: dict[str, Any] = {"class_priors": class_priors, "norms": norms}
        return named_products(self.module(weights), inputs, labels, directions, **options)

    def gradient_sums(
        self,
        weights: Weights,
        inputs: NDArray[np.float32],
        labels: NDArray[np.int64],
        coefficients: NDArray[np.float64],
        *,
        class_priors: Sequence[float] | None = None,
    ) -> list[dict[str, NDArray[np.float32]]]:
        """Sum the same gradients with each column of coefficients (records, sums)."""
        module = self.module(weights)
        return named_sums(module, inputs, labels, coefficients, class_priors=class_priors)

    def ordered(self, weights: Weights) -> dict[str, NDArray[np.float32]]:
        """Return weights in the order of the module's parameters, which files do not keep.

        Raises:
            ValueError: A parameter is missing, or there is one too many.
        """
        names = [name for name, _ in self.build().named_parameters()]
        if set(names) != set(weights):
            raise ValueError(f"parameters {sorted(weights)}: expected {sorted(names)}")
        return {name: weights[name] for name in names}

    def unflatten(self, flat: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """Name the parts of a flat vector, in the order of the module's parameters."""
        named, start = {}, 0
        for name, shape in ((n, tuple(p.shape)) for n, p in self.build().named_parameters()):
            count = int(np.prod(shape))
            named[name] = flat[start : start + count].reshape(shape).astype(np.float32)
            start += count
        if start != flat.size:
            raise ValueError(f"a vector of {flat.size}: expected {start} parameters")
        return named


def architecture(
    model: ModelConfig, input_shape: tuple[int, ...], classes: int
) -> TorchArchitecture:
    """Return the architecture of a configuration, checked by building it once."""
    built = TorchArchitecture(
        name=model.name, options=model.options, classes=classes, input_shape=input_shape
    )
    built.build()
    return built


def to_weights(module: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Copy a module's parameters out, in their order."""
    return {n: p.detach().cpu().numpy().copy() for n, p in module.named_parameters()}


def load_weights(module: nn.Module, weights: Weights) -> None:
    """Copy weights into a module; every parameter must be there and nothing else."""
    module.load_state_dict({n: torch.from_numpy(np.array(a)) for n, a in weights.items()})


def flatten(weights: Weights) -> NDArray[np.float32]:
    """Return all parameters as one vector, in the order of the mapping.

    Weights that were read from a file go through ``TorchArchitecture.ordered`` first.
    """
    return np.concatenate([np.asarray(a, dtype=np.float32).ravel() for a in weights.values()])


def _builder(name: str) -> Builder:
    if name in MODELS:
        return MODELS[name]
    module_name, colon, attribute = name.partition(":")
    if colon:
        try:
            builder: Builder = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"model.name {name!r}: {error}") from None
        return builder
    raise ConfigError(
        f"model.name {name!r} is unknown: expected one of {', '.join(MODELS)}, "
        "or package.module:callable"
    )


def _choice(
    option: str, value: str, kinds: Mapping[str, type[nn.Module]]
) -> Callable[..., nn.Module]:
    if value not in kinds:
        raise ConfigError(f"model.options.{option}: {value!r}: expected one of {', '.join(kinds)}")
    return kinds[value]


def _image(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape[1:]) < 8:
        raise ConfigError(
            f"model.name {name!r} takes images of at least 8x8, got records of shape {shape}"
        )
    return shape[0], shape[1], shape[2]


def _features(body: list[nn.Module], input_shape: tuple[int, ...]) -> int:
    with torch.no_grad():
        return int(nn.Sequential(*body)(torch.zeros(1, *input_shape)).shape[1])
