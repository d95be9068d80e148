"""The released model as the Adversarial Robustness Toolbox wants it: a function of records."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.views import Background


def art_classifier(
    background: Background, predict: Callable[[NDArray[np.float32]], NDArray[np.floating[Any]]]
) -> Any:
    """Return an ART classifier that knows nothing but the answers of a function.

    Args:
        background: Says the records' shape and range and the number of classes.
        predict: Records, shape (records, *input shape), to answers, shape (records, classes). It
            is given float32 whatever ART hands over: ART's attacks mix in float64.
    """
    from art.estimators.classification import BlackBoxClassifier

    architecture = background.architecture
    return BlackBoxClassifier(
        predict_fn=lambda inputs: predict(np.asarray(inputs, dtype=np.float32)),
        input_shape=architecture.input_shape,
        nb_classes=architecture.classes,
        clip_values=background.record_range,
    )
