"""What gradient inversion will cost, said before it starts: declared work, one timed iteration."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

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

TIMED = 64
"""Records of the timed iteration: about as many as searches take at a time."""

PLAIN = 0.5
"""Cost of a gradient that is not differentiated again, as a part of one that is."""


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
        One sentence; None where nothing is searched. Seconds are an estimate, up to a few times
        off: one iteration of each kind of cell is timed, and the attacks say how many they make.
    """
    total, seconds, parameters = NOTHING, 0.0, 0
    known: dict[str, Background] = {}
    rates: dict[tuple[str, bool], _Rate] = {}
    for task in tasks:
        attack = task.entry.build(budget)
        if not isinstance(attack, Searching):
            continue
        cell = task.cell
        if cell.id not in known:
            known[cell.id] = cell_background(config, cell, run.cell(cell.id))
        kind = (f"{cell.model}", cell.private)
        if kind not in rates:
            rates[kind] = _rate(known[cell.id], cell, config)
        rate = rates[kind]
        if not rate.parameters:  # the attack will refuse this model
            continue
        work = attack.work(known[cell.id], probe_sizes(config, task.adversary))
        if isinstance(attack, FedAvgInversion):
            apart = task.adversary is Adversary.SERVER
            hospitals, ends = len(config.clients), len({1, cell.schedule.rounds})
            work += attack.training_work(
                known[cell.id],
                hospitals=1 if apart else hospitals,
                observations=ends * (hospitals if apart else 1),
                parameters=rate.parameters,
            )
        total = total + work
        differentiated = work.passes + PLAIN * work.plain
        seconds += differentiated * rate.of_pass + work.calls * rate.of_call
        parameters = max(parameters, rate.parameters)
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


@dataclass(frozen=True, kw_only=True)
class _Rate:
    """What a gradient of dummy records and the way back through it take.

    Args:
        of_pass: Seconds for each record.
        of_call: Seconds besides, however many there are.
        parameters: Of the model; 0 if no gradient leads back to a record.
    """

    of_pass: float = 0.0
    of_call: float = 0.0
    parameters: int = 0


def _rate(background: Background, cell: CellConfig, config: Config) -> _Rate:
    """Time one record, and as many as searches take at a time."""
    shape, classes = background.architecture.input_shape, background.architecture.classes
    built = architecture(cell.model, shape, classes)
    try:
        dummies = DummyGradients(background, built.initial(config.seed))
        one, many = _seconds(dummies, shape, sets=1), _seconds(dummies, shape, sets=TIMED)
    except (AuditError, RuntimeError):
        return _Rate()
    each = max(0.0, many - one) / (TIMED - 1)
    return _Rate(of_pass=each, of_call=max(0.0, one - each), parameters=dummies.parameters)


def _seconds(dummies: DummyGradients, shape: tuple[int, ...], *, sets: int) -> float:
    records = torch.rand((sets, 1, *shape)).requires_grad_()
    classes = len(dummies.offsets)
    labels = torch.eye(classes)[np.arange(sets) % classes][:, None]
    fastest = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        torch.autograd.grad(dummies(records, labels, torch.ones(sets, 1)).square().sum(), records)
        fastest = min(fastest, time.perf_counter() - started)
    return fastest


def _sentence(work: Work, seconds: float, parameters: int) -> str:
    return (
        f"gradient inversion: {work.searches:,} searches (those on random gradients among them), "
        f"{work.iterations:,} iterations, {work.passes:,} gradients of a dummy record on up to "
        f"{parameters:,} parameters: about {spoken_duration(seconds)} of one core by one timed "
        "iteration, less where a search ends early or its guess is kept from before"
    )
