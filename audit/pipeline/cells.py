"""The plan of a cell, released or of an audit: what server and hospitals are set up with."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from audit.core.config import CellConfig, Config
from audit.pipeline.prepare import Prepared
from audit.store.run import CellDirectory
from training.data.configured import data_root
from training.data.spec import DataSpec
from training.models import TorchArchitecture, architecture
from training.plan import CellPlan
from training.pretraining import pretrained


def cell_model(config: Config, cell: CellConfig, prepared: Prepared) -> TorchArchitecture:
    """Return a cell's architecture, with the initial weights that pretraining gave it if there is.

    Args:
        config: The whole configuration.
        cell: The cell's part of it.
        prepared: Gives the shape of records, and those that every adversary knows.
    """
    dataset, settings = prepared.dataset, config.pretraining
    built = architecture(cell.model, dataset.shape, dataset.classes)
    if settings is None:
        return built
    known = prepared.split.auxiliary
    start = pretrained(
        built,
        dataset.inputs(known),
        dataset.y[known],
        seed=config.seed,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
    )
    return replace(built, start=start)


def cell_plan(
    config: Config,
    cell: CellConfig,
    directory: CellDirectory,
    *,
    run_id: str,
    roster: Mapping[str, bytes],
    architecture: TorchArchitecture,
    noise_multiplier: float | None,
    data: DataSpec,
    ledgers: Path,
    device: str = "cpu",
    noise_master: bytes | None,
) -> CellPlan:
    """Return a cell's plan.

    Args:
        config: The whole configuration.
        cell: The cell's part of it.
        directory: Where it is recorded.
        run_id: Unique id of the run.
        roster: Hospital to its public key.
        architecture: The model.
        noise_multiplier: None without DP.
        data: Where hospitals find their records.
        ledgers: Where hospitals keep their ledgers.
        device: torch device of the hospitals.
        noise_master: Fixed noise key; None: fresh noise.
    """
    return CellPlan(
        run_id=run_id,
        cell=directory,
        config=cell,
        clients=config.clients,
        roster=dict(roster),
        architecture=architecture,
        seed=config.seed,
        delta=config.privacy.delta,
        noise_multiplier=noise_multiplier,
        max_grad_norm=config.privacy.max_grad_norm if cell.private else None,
        noise_epsilon=cell.epsilon if cell.private else None,
        nominal_records=config.privacy.nominal_records,
        aggregation=config.aggregation,
        probes=config.probes,
        data=data,
        data_root=data_root().absolute(),
        ledgers=ledgers,
        device=device,
        noise_master=noise_master,
    )
