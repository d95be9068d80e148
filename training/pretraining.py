"""Initial weights from public records: plain SGD, before any hospital takes part."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from audit.core.randomness import named_generator
from training.features.fixed import trained_part
from training.models import TorchArchitecture, to_weights


def pretrained(
    architecture: TorchArchitecture,
    inputs: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    seed: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
) -> dict[str, NDArray[np.float32]]:
    """Train a model's initial weights without DP; everything follows from the public seed.

    Args:
        architecture: The model.
        inputs: Public records, shape (records, *input shape).
        labels: Shape (records,).
        seed: Public seed.
        epochs, batch_size, learning_rate, momentum: Of SGD.
    """
    module = architecture.module(architecture.initial(seed)).train()
    trained, x = trained_part(module, inputs)
    y = torch.from_numpy(labels)
    sgd = torch.optim.SGD(trained.parameters(), lr=learning_rate, momentum=momentum)
    rng = named_generator(seed, "pretraining")
    for _ in range(epochs):
        for batch in torch.split(torch.from_numpy(rng.permutation(len(y))), batch_size):
            sgd.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(trained(x[batch]), y[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            sgd.step()
    return to_weights(module)
