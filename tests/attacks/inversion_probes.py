"""A server's view of updates of digits, with noise that the test chooses."""

from dataclasses import replace

import numpy as np
from sklearn.datasets import load_digits
from torch import Tensor, nn

from attacks.attack import gradient_of
from audit.core.config import ModelConfig
from audit.core.randomness import named_generator
from audit.core.views import Background, Observation, Recipe, Records, ServerView
from audit.scoring.probes import Known
from training.batch_order import batches, public_order
from training.dp_sgd import train_locally
from training.local_plan import LocalPlan
from training.models import TorchArchitecture, architecture
from training.randomness import NoiseStream

DIGITS = load_digits()
INPUTS = (DIGITS.images[:, None] / 16).astype(np.float32)
LABELS = DIGITS.target.astype(np.int64)
PEOPLE, POOL = np.arange(500), np.arange(500, 1797)
MLP = architecture(ModelConfig(name="mlp", options={"hidden": 32}), (1, 8, 8), 10)


class Detached(nn.Module):
    """Passes its input on, and no gradient back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


def detached(shape: tuple[int, ...], classes: int) -> nn.Module:
    """A model whose weights say nothing of how its input could change."""
    return nn.Sequential(nn.Flatten(), Detached(), nn.Linear(int(np.prod(shape)), classes))


def records(indices: np.ndarray, name: str = "") -> Records:
    ids = tuple(f"{name}{i}" for i in indices)
    return Records(ids=ids, inputs=INPUTS[indices], labels=LABELS[indices])


def made(
    *,
    batch: int = 1,
    updates: int = 4,
    noise_multiplier: float | None = None,
    max_grad_norm: float | None = None,
    steps: int = 1,
    momentum: float = 0.0,
    hospitals: int = 1,
    mini: int | None = None,
    known: bool = True,
    built: TorchArchitecture = MLP,
    seed: int = 1,
) -> tuple[ServerView, list[np.ndarray]]:
    """Return a view of updates by the project's own local training, and the records in each.

    With ``mini`` the steps are on so many records each, in an order that the view tells if
    ``known``.
    """
    rng = named_generator(seed, "probes")
    weights = built.initial(seed)
    background = Background(
        architecture=built,
        recipe=Recipe(
            rounds=1,
            local_steps=1,
            expected_batch_size=float(batch),
            sample_rate=1.0,
            learning_rate=0.5,
            momentum=momentum,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
        ),
        candidates=records(PEOPLE[:1]),
        population=records(PEOPLE),
        record_range=(0.0, 1.0),
        pool=records(POOL, "pool-"),
    )
    probes, victims = [], []
    for number in range(updates):
        chosen = rng.permutation(POOL)[: batch * hospitals].reshape(hospitals, batch)
        sent, orders = [], []
        for h, part in enumerate(chosen):
            if mini is not None:
                of = {"records": batch, "size": mini, "epochs": steps * mini // batch}
                orders.append(public_order(seed, str(number), str(h), **of))
            plan = LocalPlan(
                batches=batches(orders[-1]) if orders else None,
                steps=steps,
                sample_rate=1.0,
                expected_batch_size=float(mini or batch),
                learning_rate=0.5,
                momentum=momentum,
                noise_multiplier=noise_multiplier or (None if max_grad_norm is None else 1e-9),
                max_grad_norm=max_grad_norm,
            )
            stream = NoiseStream(named_generator(seed, "noise", str(number), str(h)).bytes(32))
            done = train_locally(
                built.module(weights),
                INPUTS[part],
                LABELS[part],
                plan,
                sampling=stream,
                noise=stream,
            )
            sent.append(done.update)
        clients = tuple(f"hospital-{h}" for h in range(hospitals))
        probes.append(
            Observation(
                name=f"round-001/probe-b{batch}-r{number}",
                round=1,
                clients=clients,
                shares=(1 / hospitals,) * hospitals,
                records=batch,
                weights=weights,
                update=built.unflatten(np.mean(sent, axis=0)),
                learning_rate=0.5,
                steps=steps,
                batch=mini,
                order=np.stack(orders) if orders and known else None,
            )
        )
        victims.append(chosen.ravel())
    view = ServerView(background=background, models=(weights,), rounds=(), probes=tuple(probes))
    return view, victims


def drowned(view: ServerView) -> ServerView:
    """Return the view with updates of pure noise, as long as the real ones."""
    rng = named_generator(5, "drowned")

    def noise(one: Observation) -> Observation:
        drawn = {n: rng.standard_normal(u.shape) for n, u in one.update.items()}
        norm = np.sqrt(sum((g**2).sum() for g in gradient_of(one).values())) * one.learning_rate
        length = np.sqrt(sum((d**2).sum() for d in drawn.values()))
        return replace(
            one, update={n: (d * norm / length).astype(np.float32) for n, d in drawn.items()}
        )

    return replace(view, probes=tuple(noise(one) for one in view.probes))


def error(rebuilt: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean squared error with records in their best order."""
    from audit.stats import match

    return float(((rebuilt[match(rebuilt, truth)] - truth) ** 2).mean())


def prior_error(victims: list[np.ndarray]) -> float:
    """Return the mean squared error of the class mean, the best guess without a gradient."""
    means = np.stack([INPUTS[PEOPLE][LABELS[PEOPLE] == c].mean(axis=0) for c in range(10)])
    return float(np.mean([((means[LABELS[v]] - INPUTS[v]) ** 2).mean() for v in victims]))


def known() -> Known:
    return Known(population=INPUTS[PEOPLE], labels=LABELS[PEOPLE], pool=INPUTS[POOL])


def lenet(shape: tuple[int, ...], classes: int) -> nn.Module:
    """The smooth network of Zhu et al. 2019: three convolutions of 12 channels, sigmoids."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 12, 5, padding=2, stride=2),
        nn.Sigmoid(),
        nn.Conv2d(12, 12, 5, padding=2, stride=2),
        nn.Sigmoid(),
        nn.Conv2d(12, 12, 5, padding=2),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(12 * -(-shape[1] // 4) * -(-shape[2] // 4), classes),
    )
