"""Gradient inversion on single updates with known noise: the reference points of the attacks.

A network of 104,840 parameters at initialisation (two convolutions with ReLU and max pooling),
clipping norm 1, and Gaussian noise of a stated deviation on the mean clipped gradient; each attack
sees what a server would. Prints PSNR, SSIM and identification for each noise, batch and attack,
beside the mean image and the class mean.

    python scripts/inversion_reference.py --data mnist --noise 0 0.01 0.1 --victims 20

Data: `mnist` and `pneumonia` from $AUDIT_DATA, `digits` from scikit-learn.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from attacks.inversion import bayes, inverting_gradients
from attacks.inversion.bayes import Posterior
from attacks.inversion.candidates import CandidateIdentification
from attacks.inversion.inverting_gradients import CosineMatching
from audit import stats
from audit.core.config import DataConfig
from audit.core.guesses import Reconstruction
from audit.core.randomness import named_generator
from audit.core.views import Background, Observation, Recipe, Records, ServerView
from training.data.configured import data_root, data_spec
from training.data.dataset import Dataset
from training.data.loaders import load_dataset
from training.models import TorchArchitecture

DECOYS = 99
DATA = {
    "digits": DataConfig(name="digits"),
    "mnist": DataConfig(name="mnist"),
    "pneumonia": DataConfig(name="medmnist", path="medmnist/pneumoniamnist.npz"),
}


def reference_cnn(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the network of the reference points: 104,840 parameters at 28x28 and 10 classes."""
    pixels = shape[1] // 4 * (shape[2] // 4)
    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * pixels, 58),
        nn.ReLU(),
        nn.Linear(58, classes),
    )


def made_view(
    dataset: Dataset, *, noise: float, batch: int, victims: int, model: str, seed: int
) -> tuple[ServerView, list[NDArray[np.int64]], NDArray[np.int64]]:
    """Return a server's view of single updates, the records in each, and the pool."""
    rng = named_generator(seed, "reference", str(batch))
    order = rng.permutation(len(dataset.y))
    people, rest = order[:1000], order[1000:]
    built = TorchArchitecture(
        name=model, options={}, classes=dataset.classes, input_shape=dataset.shape
    )
    weights = built.initial(seed)
    pool = np.concatenate([rest[dataset.y[rest] == c][:140] for c in range(dataset.classes)])
    drawn = rng.permutation(pool)[: victims * batch].reshape(victims, batch)
    low, high = dataset.scale.output_range
    recipe = Recipe(
        rounds=1,
        local_steps=1,
        expected_batch_size=float(batch),
        sample_rate=1.0,
        learning_rate=1.0,
        momentum=0.0,
        noise_multiplier=noise * batch or None,
        max_grad_norm=1.0,
    )

    def records(indices: NDArray[np.int64]) -> Records:
        return Records(
            ids=tuple(str(i) for i in indices),
            inputs=dataset.inputs(indices),
            labels=dataset.y[indices],
        )

    background = Background(
        architecture=built,
        recipe=recipe,
        candidates=records(people[:1]),
        population=records(people),
        record_range=(low, high),
        pool=records(pool),
    )
    probes = []
    for number, indices in enumerate(drawn):
        inputs, labels = dataset.inputs(indices), dataset.y[indices]
        norms = built.gradient_products(weights, inputs, labels, []).norms
        each = (np.minimum(1, 1 / norms) / batch)[:, None]
        (gradient,) = built.gradient_sums(weights, inputs, labels, each)
        probes.append(
            Observation(
                name=f"round-001/probe-b{batch}-r{number}|hospital-{number}",
                round=1,
                clients=(f"hospital-{number}",),
                shares=(1.0,),
                records=batch,
                weights=weights,
                update={
                    n: (-g - noise * rng.standard_normal(g.shape)).astype(np.float32)
                    for n, g in gradient.items()
                },
                learning_rate=1.0,
            )
        )
    view = ServerView(background=background, models=(weights,), rounds=(), probes=tuple(probes))
    return view, list(drawn), pool


def measured(
    rebuilt: list[Reconstruction],
    victims: list[NDArray[np.int64]],
    pool: NDArray[np.int64],
    dataset: Dataset,
) -> dict[str, float]:
    """Return mean PSNR, SSIM, labels right and identification among 100."""
    low, high = dataset.scale.output_range
    scaled = (dataset.inputs(pool) - low) / (high - low)
    values: dict[str, list[float]] = {"psnr": [], "ssim": [], "labels": [], "identified": []}
    for one, indices in zip(rebuilt, victims, strict=True):
        truth = (dataset.inputs(indices) - low) / (high - low)
        found = (one.records - low) / (high - low)
        order = stats.match(found, truth)
        for picture, true, label, index in zip(
            found[order], truth, one.labels[order], indices, strict=True
        ):
            same = (dataset.y[pool] == dataset.y[index]) & ~np.isin(pool, indices)
            decoys = scaled[same][:DECOYS]
            nearest = ((decoys - picture) ** 2).reshape(len(decoys), -1).sum(axis=1).min()
            values["psnr"].append(min(100.0, stats.psnr(picture, true, 1.0)))
            values["ssim"].append(stats.ssim(picture, true, 1.0))
            values["labels"].append(float(label == dataset.y[index]))
            values["identified"].append(float(((picture - true) ** 2).sum() < nearest))
    return {name: float(np.mean(found)) for name, found in values.items()}


def constant(
    view: ServerView, victims: list[NDArray[np.int64]], dataset: Dataset, *, by_class: bool
) -> list[Reconstruction]:
    """Return the mean image, or the mean of the true class, for every victim."""
    people = view.background.population
    means = {
        int(c): people.inputs[people.labels == c].mean(axis=0) for c in np.unique(people.labels)
    }
    overall = people.inputs.mean(axis=0)
    return [
        Reconstruction(
            observation="",
            clients=(),
            records=np.stack(
                [means[int(dataset.y[i])] if by_class else overall for i in indices]
            ).astype(np.float32),
            labels=dataset.y[indices],
            objective=0.0,
        )
        for indices in victims
    ]


def identified(
    view: ServerView, victims: list[NDArray[np.int64]], pool: NDArray[np.int64], dataset: Dataset
) -> float:
    """Return how often candidate identification names the record among 100 of its class."""
    guess = CandidateIdentification().guess(view, np.random.default_rng())
    hits = []
    for scores, indices in zip(guess.scores, victims, strict=True):
        for index in indices:
            same = (dataset.y[pool] == dataset.y[index]) & ~np.isin(pool, indices)
            hits.append(float(scores[pool == index][0] > scores[same][:DECOYS].max()))
    return float(np.mean(hits))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=list(DATA), default="digits")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.01, 0.1])
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--victims", type=int, default=10, help="Updates.")
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--restarts", type=int, default=1)
    parser.add_argument("--model", default="scripts.inversion_reference:reference_cnn")
    parser.add_argument("--attacks", nargs="+", default=["cosine", "bayes"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load_dataset(data_spec(DATA[given.data]), data_root(), False)
    options = {"restarts": given.restarts, "most_records": 64}
    attacks = {
        "cosine": inverting_gradients.searched(
            CosineMatching(iterations=given.iterations), **options
        ),
        "bayes": bayes.searched(Posterior(iterations=given.iterations), **options),
    }
    lines = []
    for batch in given.batch:
        for noise in given.noise:
            view, victims, pool = made_view(
                dataset,
                noise=noise,
                batch=batch,
                victims=given.victims,
                model=given.model,
                seed=given.seed,
            )
            found = {
                "mean image": constant(view, victims, dataset, by_class=False),
                "class mean": constant(view, victims, dataset, by_class=True),
            }
            started = {}
            for name in given.attacks:
                begun = time.monotonic()
                guess = attacks[name].guess(view, named_generator(given.seed, name))
                started[name] = time.monotonic() - begun
                found[name] = list(guess.reconstructions)
                found[f"{name}, random gradient"] = list(guess.controls)
            for name, rebuilt in found.items():
                line = {"data": given.data, "batch": batch, "noise": noise, "attack": name}
                line |= measured(rebuilt, victims, pool, dataset)
                line |= {"n": given.victims, "seconds": started.get(name)}
                lines.append(line)
                print(
                    f"{given.data} batch {batch} noise {noise:g} {name}: "
                    f"{line['psnr']:.1f} dB, SSIM {line['ssim']:.2f}, labels {line['labels']:.2f}, "
                    f"identified {line['identified']:.2f}"
                    + (f", {started[name]:.0f} s" if name in started else ""),
                    flush=True,
                )
            rate = identified(view, victims, pool, dataset)
            lines.append(
                {"data": given.data, "batch": batch, "noise": noise, "attack": "candidates"}
                | {"identified": rate, "n": given.victims}
            )
            print(f"{given.data} batch {batch} noise {noise:g} candidates: identified {rate:.2f}")
    if given.out:
        given.out.write_text(json.dumps(lines, indent=2))


if __name__ == "__main__":
    sys.exit(main())
