"""Auxiliary knowledge: what every adversary is told about a cell."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audit.core.config import CellConfig, Config
from audit.core.fields import of_parcel_fields
from audit.core.views import Background, Recipe, Records, References
from audit.executor import Store
from audit.formats.files import read_json
from audit.formats.parcels import read_parcel
from audit.store.run import CellDirectory
from training.data.dataset import Scaling
from training.models import TorchArchitecture, architecture


def cell_architecture(cell: CellConfig, directory: CellDirectory) -> TorchArchitecture:
    """Return the public architecture of a cell's model."""
    shown = read_parcel(directory.candidates)
    shape = tuple(int(n) for n in shown.arrays["candidates"].shape[1:])
    return architecture(cell.model, shape, int(str(shown.fields["classes"])))


def cell_background(config: Config, cell: CellConfig, directory: CellDirectory) -> Background:
    """Return architecture, recipe, candidates and population of a cell."""
    shown = read_parcel(directory.candidates)
    scaling = _scaling(shown.arrays, per_feature=bool(shown.fields["per_feature"]))
    schedule = cell.schedule
    ids = shown.fields["ids"]
    population = scaling.apply(shown.arrays["population"])
    return Background(
        architecture=cell_architecture(cell, directory),
        recipe=Recipe(
            rounds=schedule.rounds,
            local_steps=schedule.local_steps,
            expected_batch_size=float(schedule.batch_size),
            sample_rate=min(1.0, schedule.batch_size / config.privacy.nominal_records),
            learning_rate=schedule.learning_rate,
            momentum=schedule.momentum,
            noise_multiplier=read_json(directory.summary)["noise_multiplier"],
            max_grad_norm=config.privacy.max_grad_norm if cell.private else None,
            loss_scale=schedule.loss_scale if cell.private else 1.0,
            augment_shift=schedule.augment_shift,
            class_priors=schedule.class_priors,
        ),
        candidates=Records(
            ids=tuple(str(i) for i in ids) if isinstance(ids, list) else (),
            inputs=scaling.apply(shown.arrays["candidates"]),
            labels=shown.arrays["candidate_labels"].astype(np.int64),
        ),
        population=Records(
            ids=tuple(f"population-{i:06d}" for i in range(len(population))),
            inputs=population,
            labels=shown.arrays["population_labels"].astype(np.int64),
        ),
        record_range=scaling.output_range,
        pool=_pool(directory),
        fields=of_parcel_fields(shown.fields),
    )


def read_references(store: Store, keys: Sequence[str]) -> References:
    """Return the reference federations of a cell, in the order of their keys."""
    found = [store.read(key).arrays for key in keys]
    return References(
        trained_on=np.stack([one["trained_on"] for one in found]).astype(np.bool_),
        logits=np.stack([one["logits"] for one in found]).astype(np.float32),
        population_logits=np.stack([one["population_logits"] for one in found]).astype(np.float32),
    )


def without_records(background: Background, own: Records) -> Background:
    """Leave out the candidates that an adversary holds itself."""
    held = {record.tobytes() for record in own.inputs}
    candidates, references = background.candidates, background.references
    asked = np.flatnonzero([record.tobytes() not in held for record in candidates.inputs])
    if references is not None:
        references = replace(
            references,
            trained_on=references.trained_on[:, asked],
            logits=references.logits[:, :, asked],
        )
    return replace(
        background,
        candidates=Records(
            ids=tuple(candidates.ids[i] for i in asked),
            inputs=candidates.inputs[asked],
            labels=candidates.labels[asked],
        ),
        references=references,
    )


def _pool(directory: CellDirectory) -> Records | None:
    """Return the records among which the probes' are; runs of before have none."""
    if not directory.pool.exists():
        return None
    shown = read_parcel(directory.pool).arrays
    return Records(
        ids=tuple(f"pool-{i:06d}" for i in range(len(shown["labels"]))),
        inputs=shown["inputs"].astype(np.float32),
        labels=shown["labels"].astype(np.int64),
    )


def _scaling(arrays: Mapping[str, NDArray[Any]], *, per_feature: bool) -> Scaling:
    """Rebuild the public scaling that the candidates were stored with."""

    def constant(name: str) -> float | tuple[float, ...]:
        values = tuple(float(v) for v in arrays[f"scale.{name}"])
        return values if per_feature else values[0]

    return Scaling(
        offset=constant("offset"),
        divisor=constant("divisor"),
        low=constant("low"),
        high=constant("high"),
    )
