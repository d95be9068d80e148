"""What one who guesses a sensitive attribute sees: candidates without it, and answers to them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from audit.core.attributes import HiddenAttribute, SensitiveAttribute
from audit.core.errors import MissingEvidenceError
from audit.core.views import Background
from audit.formats.parcels import read_parcel
from audit.store.run import CellDirectory


def hide_attribute(
    background: Background,
    directory: CellDirectory,
    answer: Callable[[NDArray[np.float32]], NDArray[np.float64]],
) -> tuple[Background, HiddenAttribute]:
    """Take the sensitive attribute out of the candidates.

    Args:
        background: With complete candidates.
        directory: The cell, whose public part names the attribute.
        answer: The released model's probabilities of complete records.

    Returns:
        The background with NaN in the candidates' column, and what is known besides.

    Raises:
        MissingEvidenceError: The run names no sensitive attribute.
    """
    attribute = SensitiveAttribute.of_fields(read_parcel(directory.candidates).fields)
    if attribute is None:
        raise MissingEvidenceError("this run names no sensitive attribute (data.sensitive)")
    complete = background.candidates.inputs
    partial = complete.copy()
    partial[:, attribute.column] = np.nan
    hidden = HiddenAttribute(
        attribute=attribute,
        answers=answer(complete),
        population=attribute.categories(background.population.inputs),
    )
    return replace(background, candidates=replace(background.candidates, inputs=partial)), hidden
