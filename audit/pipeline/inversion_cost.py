"""What gradient inversion will cost, said before it starts: declared work, one timed iteration."""

import time
from collections.abc import Sequence

import numpy as np
import torch

from attacks.attack import Budget
from attacks.inversion.dummies import DummyGradients
from attacks.inversion.fedavg import FedAvgInversion
from attacks.inversion.work import NOTHING, ProbeSize, Searching, Work
from audit.core.adversaries import Adversary
from audit.core.config import CellConfig, Config
from audit.core.errors import AuditError
from audit.core.views import Background
from audit.disclosure.background import cell_background
from audit.pipeline.cost import spoken_duration
from audit.pipeline.leakage import Task
from audit.store.run import RunDirectory
from training.models import architecture
from training.plan import probe_sessions

TIMED_RECORDS = 8
"""Records of the timed iteration: as many as a search has at a time, about."""


def inversion_cost(
    run: RunDirectory, config: Config, tasks: Sequence[Task], budget: Budget
) -> str | None:
    """Say how much gradient inversion searches, and about how long that takes.

    Args:
        run: The run.
        config: Its configuration.
        tasks: What will be run; attacks that do not search cost nothing here.
        budget: Of every attack.

    Returns:
        One sentence; None where nothing is searched. Seconds are an estimate: one iteration of
        each kind of cell is timed, and the attacks say how many they make at most.
    """
    total, seconds, parameters = NOTHING, 0.0, 0
    known: dict[str, Background] = {}
    rates: dict[tuple[str, bool], tuple[float, int]] = {}
    for task in tasks:
        attack = task.entry.build(budget)
        if not isinstance(attack, Searching):
            continue
        cell = task.cell
        if cell.id not in known:
            known[cell.id] = cell_background(config, cell, run.cell(cell.id))
        kind = (f"{cell.model}", cell.private)
        if kind not in rates:
            rates[kind] = _pass_seconds(known[cell.id], cell, config)
        each, size = rates[kind]
        if not size:  # the attack will refuse this model
            continue
        work = attack.work(known[cell.id], probe_sizes(config, task.adversary))
        if isinstance(attack, FedAvgInversion):
            apart = task.adversary is Adversary.SERVER
            hospitals, ends = len(config.clients), len({1, cell.schedule.rounds})
            work += attack.training_work(
                known[cell.id],
                hospitals=1 if apart else hospitals,
                observations=ends * (hospitals if apart else 1),
                parameters=size,
            )
        total, seconds, parameters = (
            total + work,
            seconds + work.passes * each,
            max(parameters, size),
        )
    return _sentence(total, seconds, parameters) if total.searches else None


def probe_sizes(config: Config, adversary: Adversary) -> list[ProbeSize]:
    """Return the size of every observation of a probe in an adversary's view."""
    hospitals = len(config.clients)
    apart = adversary is Adversary.SERVER
    return [
        ProbeSize(
            records=probe.records,
            hospitals=1 if apart else hospitals,
            steps=probe.steps,
            batch=probe.batch if probe.batch < probe.records else None,
        )
        for probe in probe_sessions(config.probes)
        for _ in range(hospitals if apart else 1)
    ]


def _pass_seconds(background: Background, cell: CellConfig, config: Config) -> tuple[float, int]:
    """Return the seconds of one dummy record's pass, and the model's parameters; 0 if it has none.

    A pass is its gradient by the cell's recipe, and the way back through that.
    """
    shape, classes = background.architecture.input_shape, background.architecture.classes
    built = architecture(cell.model, shape, classes)
    try:
        dummies = DummyGradients(background, built.initial(config.seed))
        records = torch.rand((1, TIMED_RECORDS, *shape)).requires_grad_()
        labels = torch.eye(classes)[np.arange(TIMED_RECORDS) % classes][None]
        shares = torch.full((1, TIMED_RECORDS), 1 / TIMED_RECORDS)
        fastest = float("inf")
        for _ in range(3):
            started = time.perf_counter()
            torch.autograd.grad(dummies(records, labels, shares).square().sum(), records)
            fastest = min(fastest, time.perf_counter() - started)
    except (AuditError, RuntimeError):
        return 0.0, 0
    return fastest / TIMED_RECORDS, dummies.parameters


def _sentence(work: Work, seconds: float, parameters: int) -> str:
    return (
        f"gradient inversion: {work.searches:,} searches (those on random gradients among them), "
        f"{work.iterations:,} iterations, {work.passes:,} gradients of a dummy record on up to "
        f"{parameters:,} parameters: about {spoken_duration(seconds)} on this machine by one timed "
        "iteration, less where a search ends early or its guess is kept from before"
    )
