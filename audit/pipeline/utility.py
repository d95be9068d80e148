"""How useful a model is: accuracy, and what uneven classes need beside it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.config import CellConfig, Config
from audit.core.model import Weights
from audit.formats.parcels import read_weights
from audit.pipeline.prepare import Prepared, prepare
from audit.stats import Interval, auc_interval, balanced_accuracy_interval, wilson_interval
from audit.store.run import RunDirectory
from training.models import TorchArchitecture, architecture

CONFIDENCE = 0.95

UTILITY_SCHEMA = "audit-utility/v1"

SMALLEST = 10
"""Groups of fewer records are not shown: their rate would be about persons."""


class Examiner:
    """A model's test on held-out records.

    Args:
        architecture: Of the model.
        inputs: Held-out records, shape (records, *input shape).
        labels: Shape (records,).
    """

    def __init__(
        self,
        architecture: TorchArchitecture,
        inputs: NDArray[np.float32],
        labels: NDArray[np.int64],
    ) -> None:
        self._architecture, self._inputs, self._labels = architecture, inputs, labels

    def accuracy(self, weights: Weights) -> dict[str, float]:
        """Return accuracy, its interval and n: what the server logs after each round."""
        return _accuracy(self._logits(weights), self._labels)

    def utility(self, weights: Weights) -> dict[str, Any]:
        """Return accuracy, balanced accuracy and, for two classes, AUROC, each with its interval.

        The AUROC is null for more than two classes, or where one does not occur.
        """
        logits, labels = self._logits(weights), self._labels
        found: dict[str, Any] = _accuracy(logits, labels)
        found["test_records"] = found.pop("n")
        balanced = balanced_accuracy_interval(labels, logits.argmax(axis=1), CONFIDENCE)
        found |= _spread("balanced_accuracy", balanced)
        two = logits.shape[1] == 2 and len(np.unique(labels)) == 2
        margin = logits[:, 1] - logits[:, 0] if two else None
        area = (
            None
            if margin is None
            else auc_interval(margin[labels == 1], margin[labels == 0], CONFIDENCE)
        )
        return found | _spread("auroc", area)

    def groups(
        self, weights: Weights, prepared: Prepared
    ) -> dict[str, dict[str, dict[str, float | None]]]:
        """Return accuracy by class, site and subgroup of held-out records, and by hospital.

        A hospital's is measured on its own training records: there are no others of it.

        Args:
            weights: Of the model.
            prepared: Gives the records' groups, and each hospital's records.

        Returns:
            Column to group to accuracy, its interval and n; null where a group has fewer than
            ``SMALLEST`` records.
        """
        dataset, holdout = prepared.dataset, prepared.split.holdout
        right = self._logits(weights).argmax(axis=1) == self._labels
        columns = {"class": np.array(dataset.class_names)[self._labels]}
        if dataset.sites is not None:
            columns["site"] = dataset.sites[holdout]
        columns |= {name: values[holdout] for name, values in dataset.subgroups.items()}
        found = {
            column: {str(g): _rate(right[values == g]) for g in np.unique(values)}
            for column, values in columns.items()
        }
        found["hospital"] = {
            client: _rate(
                self._architecture.logits(weights, dataset.inputs(part)).argmax(axis=1)
                == dataset.y[part]
            )
            for client, part in prepared.parts.items()
        }
        return found

    def _logits(self, weights: Weights) -> NDArray[np.float64]:
        return self._architecture.logits(weights, self._inputs)


def released_correct(run: RunDirectory, config: Config, cell: CellConfig) -> NDArray[np.bool_]:
    """Return for each held-out record whether a cell's released model classifies it right.

    Args:
        run: The run.
        config: Its configuration.
        cell: A finished cell.
    """
    prepared = prepare(config)
    holdout, dataset = prepared.split.holdout, prepared.dataset
    built = architecture(cell.model, dataset.shape, dataset.classes)
    weights = read_weights(run.cell(cell.id).model)
    right: NDArray[np.bool_] = (
        built.logits(weights, dataset.inputs(holdout)).argmax(axis=1) == dataset.y[holdout]
    )
    return right


def _rate(right: NDArray[np.bool_]) -> dict[str, float | None]:
    if len(right) < SMALLEST:
        return _spread("accuracy", None) | {"n": None}
    interval = wilson_interval(int(right.sum()), len(right), CONFIDENCE)
    return _spread("accuracy", interval) | {"n": interval.n}


def _accuracy(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, Any]:
    correct = int((logits.argmax(axis=1) == labels).sum())
    interval = wilson_interval(correct, len(labels), CONFIDENCE)
    return _spread("accuracy", interval) | {"n": interval.n}


def _spread(name: str, interval: Interval | None) -> dict[str, float | None]:
    return {
        name: interval.value if interval else None,
        f"{name}_low": interval.low if interval else None,
        f"{name}_high": interval.high if interval else None,
    }
