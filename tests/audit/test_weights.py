"""Public weights: the mean follows them, and the views say so."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from attacks.attack import Budget
from attacks.inversion.dlg import build
from audit.core.adversaries import Adversary
from audit.core.errors import ConfigError
from audit.core.loading import load_config
from audit.core.randomness import named_generator
from audit.core.views import SecaggServerView
from audit.disclosure import Disclosure
from audit.disclosure.background import cell_architecture
from audit.formats.parcels import read_weights
from audit.pipeline.train import TrainOptions, train
from training.journal import read_update
from training.models import flatten

WEIGHTS = "aggregation.weights={hospital-1: 1, hospital-2: 2, hospital-3: 5}"
SHARES = (1 / 8, 2 / 8, 5 / 8)


@pytest.mark.parametrize("protocol", ["masked", "plain"])
def test_the_mean_follows_the_public_weights(protocol: str, tmp_path: Path) -> None:
    settings = [WEIGHTS, "privacy.epsilons=[.inf]", "schedule.rounds=1", "probes.repeats=1"]
    config = load_config("smoke", [*settings, f"aggregation.protocol={protocol}"])
    run = train(config, tmp_path / "run", TrainOptions())
    cell = run.cell("eps-inf")
    updates = [
        read_update(cell.client(client) / "round-001" / "round.update.safetensors")
        for client in config.clients
    ]
    expected = np.average(updates, axis=0, weights=SHARES)
    built = cell_architecture(config.cells[0], cell)
    after = flatten(built.ordered(read_weights(cell.model)))
    assert np.allclose(after - flatten(built.ordered(built.initial(1))), expected, atol=1e-6)
    if protocol == "plain":
        return
    view = Disclosure(run, config, config.cells[0]).view(Adversary.SECAGG_SERVER)
    assert isinstance(view, SecaggServerView)
    assert view.probes[0].shares == SHARES
    equal = dataclasses.replace(view.probes[0], shares=(1 / 3, 1 / 3, 1 / 3))
    blind = dataclasses.replace(view, probes=(equal,))
    known, unknown = (
        build(Budget.STANDARD).guess(v, named_generator(1, "dlg")).reconstructions[0].objective
        for v in (view, blind)
    )
    assert known < unknown / 2, "the adversary matches the sum better when it knows the weights"


def test_weights_for_other_hospitals_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"aggregation.weights"):
        load_config("smoke", ["aggregation.weights={hospital-1: 1}"])
