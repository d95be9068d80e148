"""Tiny cells of three hospitals on the embedded digits, and ways to run and read them."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Message

from audit.core.config import Config
from audit.core.parcel import Parcel
from audit.formats.files import read_json_lines
from audit.formats.parcels import read_parcel
from audit.pipeline.prepare import prepare
from audit.store.run import CellDirectory
from training.backends.inprocess import FIRST_NODE
from training.federation import Backend, run_cell, set_up_hospitals
from training.journal import read_update
from training.ledger import Charge, Ledger
from training.models import architecture
from training.plan import CellPlan, HospitalSetup
from training.policy import roster_digest
from training.secagg.identity import Identity
from training.wire import from_record

KEY = "5eed" + "0" * 60
CLIENTS = ("hospital-1", "hospital-2", "hospital-3")
NOISE, EPSILON = 2.4, 2.0
"""A multiplier near epsilon 2 for the schedule below; nothing here relies on its being exact."""


def tiny_config(**changed: Any) -> Config:
    """Two cells, two rounds; ``section__key=value`` changes a setting."""
    tree: dict[str, Any] = {
        "name": "tiny",
        "data": {"name": "digits", "holdout_fraction": 0.4, "auxiliary_fraction": 0.2},
        "partition": {"clients": 3},
        "model": {"name": "linear"},
        "schedule": {"rounds": 2, "local_steps": 2, "batch_size": 180, "momentum": 0.5},
        "privacy": {
            "epsilons": [2.0, None],
            "nominal_records": 360,
            "noise_key": KEY,
        },
        "probes": {"rounds": [1], "batch_sizes": [1], "repeats": 1},
        "candidates": {"members": 20, "nonmembers": 20},
    }
    for key, value in changed.items():
        section, _, name = key.partition("__")
        if name:
            tree.setdefault(section, {})[name] = value
        else:
            tree[section] = value
    return Config.model_validate(tree)


def make_cell(
    folder: Path,
    *,
    private: bool = True,
    noise_master: bytes | None = bytes.fromhex(KEY),
    **changed: Any,
) -> CellPlan:
    """Set up one cell of the tiny federation."""
    config = tiny_config(**changed)
    ready = prepare(config)
    cell = config.cells[0 if private else 1]
    identities = {c: Identity.from_bytes(bytes([i + 1]) * 32) for i, c in enumerate(CLIENTS)}
    plan = CellPlan(
        run_id="run",
        cell=CellDirectory(folder / "cells" / cell.id),
        config=cell,
        clients=config.clients,
        roster={client: identity.public_key for client, identity in identities.items()},
        architecture=architecture(cell.model, ready.dataset.shape, ready.dataset.classes),
        seed=config.seed,
        delta=config.privacy.delta,
        noise_multiplier=NOISE if private else None,
        max_grad_norm=1.0 if private else None,
        noise_epsilon=EPSILON if private else None,
        nominal_records=config.privacy.nominal_records,
        aggregation=config.aggregation,
        probes=config.probes,
        data=ready.spec,
        data_root=folder,
        ledgers=folder / "ledger",
        device="cpu",
        noise_master=noise_master,
    )
    set_up_hospitals(
        plan,
        dataset=ready.dataset,
        parts=ready.parts,
        probes=ready.victims.probes,
        identities=identities,
    )
    return plan


def run(plan: CellPlan, dropped: Callable[[Message], bool] | None = None) -> list[dict[str, Any]]:
    """Train the cell in this process; return the server's log."""
    run_cell(
        plan,
        backend=Backend.INPROCESS,
        evaluate=lambda _: {"accuracy": 0.5},
        progress=lambda _number, _metrics: None,
        dropped=dropped,
    )
    return read_json_lines(plan.cell.metrics)


def drop(*clients: str, stage: str, session: str) -> Callable[[Message], bool]:
    """Say that hospitals vanish at a stage of a session, and stay away until its end."""
    stages = ("keys", "shares", "train", "consistency", "unmask")
    gone = {FIRST_NODE + CLIENTS.index(client) for client in clients}

    def dropped(message: Message) -> bool:
        at = message.metadata.message_type.rpartition(".")[2]
        if message.metadata.dst_node_id not in gone or at not in stages:
            return False
        now = from_record(message.content).fields["session"]
        return now == session and stages.index(at) >= stages.index(stage)

    return dropped


def train_request(plan: CellPlan, number: int = 1, **changed: Any) -> Parcel:
    """What the server sends a hospital of a plain federation; ``None`` leaves a field out."""
    schedule = plan.config.schedule
    fields: dict[str, Any] = {
        "session": f"round-{number:03d}",
        "kind": "round",
        "round": number,
        "roster": roster_digest(plan.roster),
        "local_steps": schedule.local_steps,
        "sample_rate": plan.sample_rate,
        "expected_batch_size": float(schedule.batch_size),
        "learning_rate": schedule.rate(number),
        "momentum": schedule.momentum,
        "augment_shift": schedule.augment_shift,
        "noise_multiplier": plan.noise_multiplier,
        "max_grad_norm": plan.max_grad_norm,
        "loss_scale": None if plan.noise_multiplier is None else schedule.loss_scale,
        "delta": plan.delta,
        **changed,
    }
    return Parcel(
        arrays=plan.architecture.initial(plan.seed),
        fields={name: value for name, value in fields.items() if value is not None},
    )


def update(plan: CellPlan, client: str, session: str = "round-001/round") -> np.ndarray:
    """What a hospital kept of its own update."""
    return read_update(plan.cell.client(client) / f"{session}.update.safetensors")


def mean_update(plan: CellPlan, session: str = "round-001/round") -> np.ndarray:
    """The mean that the server opened."""
    path = plan.cell.path / "transcript" / f"{session}.aggregate.safetensors"
    return read_parcel(path).arrays["mean"]


def charges(plan: CellPlan, client: str) -> list[Charge]:
    """What a hospital's ledger holds."""
    dataset = HospitalSetup.load(plan.cell.client(client)).dataset
    return Ledger(plan.ledgers, client=client, dataset=dataset).charges()


def replaced(plan: CellPlan, schedule: Mapping[str, Any] | None = None, **facts: Any) -> CellPlan:
    """The plan of a server that changed its mind after the hospitals were set up."""
    if schedule:
        changed = plan.config.schedule.model_copy(update=dict(schedule))
        facts["config"] = plan.config.model_copy(update={"schedule": changed})
    return dataclasses.replace(plan, **facts)
