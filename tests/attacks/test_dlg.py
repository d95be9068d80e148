"""DLG reconstructs from an exact gradient, and only from that."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from attacks.attack import Budget, gradient_of
from attacks.inversion.dlg import build
from audit.core.adversaries import Adversary
from audit.core.errors import ViewError
from audit.core.randomness import named_generator
from audit.core.scores import Outcome
from audit.core.views import ServerView
from audit.disclosure import Disclosure
from audit.scoring import Origin, score_reconstruction
from audit.store.run import RunDirectory
from audit.vault import Vault

ORIGIN = Origin(cell="eps-inf", adversary="server", attack="dlg")


def server_view(path: Path, cell: str, adversary: Adversary = Adversary.SERVER) -> ServerView:
    run = RunDirectory.open(path)
    chosen = next(c for c in run.config.cells if c.id == cell)
    return Disclosure(run, run.config, chosen).view(adversary)  # type: ignore[return-value]


def ssim(path: Path, view: ServerView, budget: Budget = Budget.QUICK) -> float:
    guess = build(budget).guess(view, named_generator(1, "dlg"))
    victims = Vault(RunDirectory.open(path).secrets).victims()
    found = score_reconstruction(guess, None, victims, ORIGIN, rng=named_generator(1, "boot"))
    (score,) = [s for s in found.scores if s.metric == "ssim"]
    assert score.outcome is Outcome.EXECUTED
    assert score.value is not None
    return score.value


def test_at_infinity_the_curious_server_reads_the_record(trained: Path) -> None:
    view = server_view(trained, "eps-inf")
    assert ssim(trained, dataclasses.replace(view, probes=view.probes[:2])) > 0.95


def test_at_infinity_a_sum_over_three_hospitals_still_shows_their_records(trained: Path) -> None:
    view = server_view(trained, "eps-inf", Adversary.SECAGG_SERVER)
    assert ssim(trained, dataclasses.replace(view, probes=view.probes[:1])) > 0.9


def test_with_dp_nothing_beyond_the_prior_is_rebuilt(trained: Path) -> None:
    view = server_view(trained, "eps-2")
    assert ssim(trained, dataclasses.replace(view, probes=view.probes[:2])) < 0.5


def test_a_gradient_of_noise_gives_no_record(trained: Path) -> None:
    view = server_view(trained, "eps-inf")
    probe, rng = view.probes[0], named_generator(5, "noise")
    noise = {
        k: (rng.standard_normal(v.shape) * np.std(v)).astype(np.float32)
        for k, v in probe.update.items()
    }
    blind = dataclasses.replace(view, probes=(dataclasses.replace(probe, update=noise),))
    assert ssim(trained, blind) < 0.5


def test_clipping_alone_does_not_stop_it(trained: Path) -> None:
    """The recipe is known: the dummies' gradients are clipped like the true ones."""
    view = server_view(trained, "eps-inf")
    probe = view.probes[0]
    gradient = gradient_of(probe)
    norm = np.sqrt(sum(float((g**2).sum()) for g in gradient.values()))
    assert norm > 0.5, "the control needs a gradient that clipping changes"
    shrunk = {k: (v * 0.5 / norm).astype(np.float32) for k, v in probe.update.items()}
    recipe = dataclasses.replace(view.background.recipe, max_grad_norm=0.5)
    clipped = dataclasses.replace(
        view,
        background=dataclasses.replace(view.background, recipe=recipe),
        probes=(dataclasses.replace(probe, update=shrunk),),
    )
    assert ssim(trained, clipped, Budget.STANDARD) > 0.8


def test_probes_beyond_the_budget_are_skipped_with_the_reason(trained: Path) -> None:
    view = server_view(trained, "eps-inf")
    whole = build(Budget.QUICK)
    tiny = dataclasses.replace(whole, search=dataclasses.replace(whole.search, most_records=0))
    guess = tiny.guess(view, named_generator(1, "dlg"))
    assert not guess.reconstructions
    assert set(guess.skipped) == {probe.name for probe in view.probes}
    assert "budget" in next(iter(guess.skipped.values()))


def test_a_run_without_probes_is_refused_by_name(trained: Path) -> None:
    view = dataclasses.replace(server_view(trained, "eps-inf"), probes=())
    with pytest.raises(ViewError, match="probes"):
        build(Budget.QUICK).guess(view, named_generator(1, "dlg"))
