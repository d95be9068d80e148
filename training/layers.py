"""A layer of our own, how Opacus gets each record's gradient of it, and plain perceptrons."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from opacus.grad_sample import register_grad_sampler
from opacus.grad_sample.conv import compute_conv_grad_sample
from torch import Tensor, nn

PERCEPTRON = {nn.Flatten, nn.Linear, nn.ReLU, nn.Sigmoid, nn.Tanh}
"""Layers of the models whose records' gradients need not be built."""

SMALLEST_SQUARE = 1e-8
"""Added to a filter's squared norm, so that a filter of equal weights gives no division by 0."""


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose filters have mean zero and a fixed norm, whatever its weights are.

    The noise of DP-SGD then turns filters without blowing them up, and no statistic of the data
    is needed.

    Args:
        in_channels, out_channels, kernel_size: As in ``nn.Conv2d``.
        gain: Norm of each filter.
        options: Further options of ``nn.Conv2d``.

    Source:
        Qiao et al. 2019, arXiv:1903.10520, section 3; with DP-SGD De et al. 2022,
        arXiv:2204.13650, section 3.1. Differs: unit norm times a fixed gain, and no trained one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        gain: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        self.gain = gain

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the convolution with the standardised filters."""
        centred, norms = _centred(self.weight)
        filters = self.gain * centred / norms
        outputs: Tensor = self._conv_forward(inputs, filters, self.bias)
        return outputs


def is_perceptron(module: nn.Module) -> bool:
    """Whether a model is a plain sequence of linear layers and activations."""
    return isinstance(module, nn.Sequential) and all(type(m) in PERCEPTRON for m in module)


def _centred(weight: Tensor) -> tuple[Tensor, Tensor]:
    centred = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
    squares = (centred**2).sum(dim=(1, 2, 3), keepdim=True)
    return centred, (squares + SMALLEST_SQUARE).sqrt()


@register_grad_sampler(StandardizedConv2d)  # type: ignore[untyped-decorator]
def _grad_sample(
    layer: StandardizedConv2d, activations: list[Tensor], backprops: Tensor
) -> Mapping[Tensor, Tensor]:
    """Opacus' gradients of the standardised filters, carried on to the weights."""
    plain = copy.copy(layer)  # shares the parameters; Opacus asks for this very class
    plain.__class__ = nn.Conv2d  # type: ignore[assignment]
    samples: dict[Tensor, Tensor] = compute_conv_grad_sample(plain, activations, backprops)
    if layer.weight in samples:
        with torch.no_grad():
            centred, norms = _centred(layer.weight)
            direction = centred / norms
            given = samples[layer.weight]
            along = (given * direction).sum(dim=(2, 3, 4), keepdim=True)
            turned = layer.gain / norms * (given - along * direction)
            samples[layer.weight] = turned - turned.mean(dim=(2, 3, 4), keepdim=True)
    return samples
