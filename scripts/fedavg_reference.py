"""Inversion of FedAvg updates in mini-batches: the reference points of the unrolled attack.

The network of ``inversion_reference`` at initialisation; hospitals train on a few records in small
batches without DP; the server sees an update, or the mean of several. Prints how often a record is
identified among 100 of its class, PSNR and labels, beside the class mean.

    python -m scripts.fedavg_reference --data mnist --epochs 1 5 --orders known unknown naive
"""

import argparse
import json
import os
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray

from attacks.inversion.fedavg import FedAvgInversion, smooth_matching
from attacks.inversion.labels.reader import LabelReader
from audit.core.guesses import ReconstructionGuess
from audit.core.randomness import named_generator
from audit.core.views import Observation, ServerView
from scripts.inversion_reference import DATA, constant, made_view, measured
from training.batch_order import batches, public_order
from training.data.configured import data_root, data_spec
from training.data.dataset import Dataset
from training.data.loaders import load_dataset
from training.dp_sgd import train_locally
from training.local_plan import LocalPlan
from training.randomness import NoiseStream


def updates(
    view: ServerView,
    victims: list[NDArray[np.int64]],
    dataset: Dataset,
    *,
    given: argparse.Namespace,
    epochs: int,
    known: bool,
) -> ServerView:
    """Return the view with FedAvg updates of the same records in the place of single steps."""
    built, made = view.background.architecture, []
    for number, (one, chosen) in enumerate(zip(view.probes, victims, strict=True)):
        parts = chosen.reshape(given.hospitals, -1)
        steps, sent, orders = epochs * parts.shape[1] // given.mini, [], []
        for h, part in enumerate(parts):
            size = {"records": len(part), "size": given.mini, "epochs": epochs}
            orders.append(public_order(given.seed, str(number), str(h), **size))
            plan = LocalPlan(
                steps=steps,
                sample_rate=1.0,
                expected_batch_size=float(given.mini),
                learning_rate=given.rate,
                momentum=0.0,
                noise_multiplier=None,
                max_grad_norm=None,
                batches=batches(orders[-1]),
                epochs=epochs,
            )
            stream = NoiseStream(bytes(32))  # nothing is drawn from it
            module = built.module(one.weights)
            done = train_locally(
                module, dataset.inputs(part), dataset.y[part], plan, sampling=stream, noise=stream
            )
            sent.append(done.update)
        made.append(
            Observation(
                name=one.name,
                round=1,
                clients=tuple(f"hospital-{h}" for h in range(given.hospitals)),
                shares=(1 / given.hospitals,) * given.hospitals,
                records=parts.shape[1],
                weights=one.weights,
                update=built.unflatten(np.mean(sent, axis=0)),
                learning_rate=given.rate,
                steps=steps,
                batch=given.mini,
                order=np.stack(orders) if known else None,
            )
        )
    return ServerView(background=view.background, models=view.models, rounds=(), probes=tuple(made))


def told_labels(
    view: ServerView, victims: list[NDArray[np.int64]], dataset: Dataset
) -> AbstractContextManager[object]:
    """Let the attack read the true labels of each update, in no order, off the truth."""
    truth = {
        one.name: np.sort(dataset.y[chosen])
        for one, chosen in zip(view.probes, victims, strict=True)
    }
    return patch.object(LabelReader, "readings", lambda _, one, n: truth[one.name][None, :n])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=list(DATA), default="digits")
    parser.add_argument("--records", type=int, default=8, help="Of a hospital.")
    parser.add_argument("--mini", type=int, default=4)
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--hospitals", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--orders", nargs="+", default=["known", "unknown", "naive"])
    parser.add_argument("--victims", type=int, default=6, help="Updates.")
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--deals", type=int, default=2)
    parser.add_argument("--restarts", type=int, default=1)
    parser.add_argument("--model", default="scripts.inversion_reference:reference_cnn")
    parser.add_argument("--told", action="store_true", help="Labels are told, not read.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_dataset(data_spec(DATA[given.data]), data_root(), False)
    view, victims, pool = made_view(
        dataset,
        noise=0.0,
        batch=given.records * given.hospitals,
        victims=given.victims,
        model=given.model,
        seed=given.seed,
    )
    recipe = view.background.recipe
    plain = type(recipe)(**{**vars(recipe), "max_grad_norm": None, "learning_rate": given.rate})
    background = type(view.background)(**{**vars(view.background), "recipe": plain})
    view = ServerView(background=background, models=(), rounds=(), probes=view.probes)
    lines = []

    def report(name: str, epochs: int, found: ReconstructionGuess | list, seconds: float) -> None:
        rebuilt = found if isinstance(found, list) else list(found.reconstructions)
        line = {"attack": name, "epochs": epochs, "seconds": seconds, "n": len(rebuilt)}
        line |= measured(rebuilt, victims, pool, dataset)
        lines.append(line | vars(given) | {"out": None})
        print(
            f"{given.data} {given.hospitals} x {given.records} in {given.mini}, {epochs} epochs, "
            f"{name}: identified {line['identified']:.2f}, {line['psnr']:.1f} dB, "
            f"SSIM {line['ssim']:.2f}, labels {line['labels']:.2f}, n {len(rebuilt)}, "
            f"{seconds:.0f} s",
            flush=True,
        )

    report("class mean", 0, constant(view, victims, dataset, by_class=True), 0.0)
    for epochs in given.epochs:
        for order in given.orders:
            seen = updates(
                view, victims, dataset, given=given, epochs=epochs, known=order != "unknown"
            )
            attack = FedAvgInversion(
                unrolled=order != "naive",
                solver=smooth_matching(given.iterations),
                restarts=given.restarts,
                most_records=given.records * given.hospitals,
                deals=given.deals,
            )
            begun = time.monotonic()
            with told_labels(seen, victims, dataset) if given.told else nullcontext():
                found = attack.guess(seen, named_generator(given.seed, order))
            report(order, epochs, found, time.monotonic() - begun)
            if order != "unknown":
                report(f"{order} on a random gradient", epochs, list(found.controls), 0.0)
    if given.out:
        given.out.write_text(json.dumps(lines, indent=2))


if __name__ == "__main__":
    sys.exit(main())
