"""Probes in mini-batches, from the configuration to the scores."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from attacks.attack import Budget, gradient_of
from attacks.inversion.batch_order import layout_of
from attacks.inversion.fedavg import UnrolledTraining
from audit.core.adversaries import Adversary
from audit.core.loading import load_config
from audit.disclosure import Disclosure
from audit.pipeline.attack import AttackOptions, attack
from audit.pipeline.privacy import cell_privacy
from audit.pipeline.probe_bounds import probe_bounds
from audit.pipeline.train import TrainOptions, train
from audit.stats import reconstruction_bound
from audit.store.run import RunDirectory
from audit.vault import Vault
from training.accounting import Mechanism, pld_epsilon

PROBES = """{rounds: [1], batch_sizes: [4], local_steps: [1], repeats: 1, learning_rate: 0.5,
    mini_batches: [{size: 2, epochs: 3}, {size: 2, epochs: 2, order: public}]}"""
SECRET, OPEN = "round-001/probe-b4-m2-e3-r0", "round-001/probe-b4-m2-e2-open-r0"
OVERRIDES = [
    f"probes={PROBES}",
    "schedule.rounds=1",
    "schedule.local_steps=1",
    "candidates={members: 20, nonmembers: 20}",
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mini") / "run"
    run = train(load_config("smoke", [*OVERRIDES, "privacy.epsilons=[.inf]"]), out, TrainOptions())
    only = ("fedavg-unrolled", "fedavg-naive", "candidate-identification", "label-counts")
    told: list[list[str]] = []
    options = {"budget": Budget.QUICK, "planned": lambda _count, costs: told.append(costs)}
    report = attack(run, AttackOptions(only=only, **options))
    assert not report.failed
    (said,) = told[0]
    # Unrolled: 6 single updates of 4 records, as many random gradients, and for each 2 deals of
    # labels beside the one search. The sums of 12 are too large. Naive: one search each.
    assert "gradient inversion: 48 searches" in said and "iterations" in said
    attack(run, AttackOptions(only=only, **options))
    assert told[1] == []
    return out


def observation(path: Path, name: str, adversary: Adversary):
    run = RunDirectory.open(path)
    view = Disclosure(run, run.config, run.config.cells[0]).view(adversary)
    return view.background, next(one for one in view.probes if one.name.startswith(name))


def test_a_view_tells_the_order_only_where_it_is_public(path):
    for adversary, clients in ((Adversary.SERVER, 1), (Adversary.SECAGG_SERVER, 3)):
        _, secret = observation(path, SECRET, adversary)
        assert (secret.batch, secret.steps, secret.order) == (2, 6, None)
        _, public = observation(path, OPEN, adversary)
        assert (public.batch, public.steps) == (2, 4)
        assert public.order is not None and public.order.shape == (clients, 2, 4)


@pytest.mark.parametrize("adversary", [Adversary.SERVER, Adversary.SECAGG_SERVER])
def test_the_order_in_the_view_is_the_one_that_hospitals_used(path, adversary):
    background, one = observation(path, OPEN, adversary)
    truth = Vault(RunDirectory.open(path).secrets).victims().arrays
    x, y = (
        np.concatenate([truth[f"{OPEN}|{client}|{kind}"] for client in one.clients])
        for kind in ("inputs", "labels")
    )
    layout = layout_of([one], restarts=1, in_steps=True)
    sent = UnrolledTraining(background, one)
    hot = torch.eye(10)[torch.from_numpy(y)][None]
    shares = torch.full((1, len(y)), 1 / len(y))
    used = layout.used(torch.from_numpy(x)[None], hot)
    with torch.no_grad():
        found = sent(*used, shares)[0]
    target = sent.target(gradient_of(one))
    assert float((found - target).norm() / target.norm()) < 1e-3


def test_the_price_and_the_bound_of_a_probe_count_its_epochs():
    config = load_config("smoke", OVERRIDES)
    cell = config.cells[0]
    privacy = cell_privacy(config, cell)
    sigma, delta = privacy.noise_multiplier, config.privacy.delta
    three = Mechanism(noise_multiplier=sigma, sample_rate=1.0, steps=3)
    assert privacy.probe_epsilon == pytest.approx(pld_epsilon(three, delta=delta))
    names = {SECRET: ("hospital-1", "hospital-2"), f"{OPEN}|hospital-1": ("hospital-1",)}
    found = probe_bounds(config, cell, names, sigma, matched=False)
    for name, epochs in ((SECRET, 3), (f"{OPEN}|hospital-1", 2)):
        assert found[name]["identification_rate_10"] == pytest.approx(
            reconstruction_bound(0.1, noise_multiplier=sigma, sample_rate=1.0, steps=epochs)
        )


def test_scores_stand_apart_by_batches_epochs_and_what_is_known_of_the_order(path):
    lines = [json.loads(line) for line in (path / "scores.jsonl").read_text().splitlines()]
    for name in ("fedavg-unrolled", "fedavg-naive", "candidate-identification"):
        executed = {
            s["slice"]
            for s in lines
            if s["attack"] == name and s["outcome"] == "executed" and s["cell"] == "eps-inf"
        }
        assert {
            "round-1/batch-4/mini-2/epochs-3",
            "round-1/batch-4/mini-2/epochs-2/order-known",
        } <= executed
