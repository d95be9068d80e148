"""What each membership attack finds in memorising models, by how many reference models it has.

    python benchmarks/few_references.py [ATTACK ...]

Perceptrons on digits, each trained on half of 300 candidates until it remembers them. A world is a
draw of candidates, population and targets; every target has reference models of its own. Prints
means over worlds with Student's 95 % interval over worlds, and paired differences of the attacks
made for few references. Attacks named on the command line are measured too, where labels are partly
random and references are few.
"""

import os
import sys
import time
from collections.abc import Iterator

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from scipy import stats
from sklearn.datasets import load_digits

from attacks.attack import Budget
from attacks.membership.art_decision_boundary import ArtDecisionBoundary
from attacks.registry import ATTACKS
from audit.core.config import ModelConfig
from audit.core.randomness import named_generator
from audit.core.views import Background, Recipe, RecipientView, Records, References
from audit.stats import auc, tpr_at_fpr
from training.models import architecture

CANDIDATES, STEPS, WORLDS, TARGETS = 300, 300, 8, 4
CHEAP = (
    "loss",
    "modified-entropy",
    "lira-online",
    "lira-offline",
    "rmia",
    "bavaria",
    "lira-local",
)
BOUNDARY = "art-decision-boundary"
WITH_ART = (*CHEAP, "art-rule", "art-black-box")
BUILT = architecture(ModelConfig(name="mlp"), (1, 8, 8), 10)
RECIPE = Recipe(
    rounds=1,
    local_steps=STEPS,
    expected_batch_size=CANDIDATES / 2,
    sample_rate=1.0,
    learning_rate=0.5,
    momentum=0.9,
    noise_multiplier=None,
    max_grad_norm=None,
)


def halves(rng: np.random.Generator, models: int) -> np.ndarray:
    """Complementary random halves, shape (models, candidates); models is even."""
    drawn = [rng.permutation(CANDIDATES) < CANDIDATES // 2 for _ in range(models // 2)]
    return np.array([half for one in drawn for half in (one, ~one)])


def train(inputs: np.ndarray, labels: np.ndarray, chosen: np.ndarray, seed: int) -> list[dict]:
    """Train one perceptron on each row of ``chosen``, all at once."""
    starts = [BUILT.initial(seed + i) for i in range(len(chosen))]
    names = list(starts[0])
    stacked = [torch.from_numpy(np.stack([s[n] for s in starts])).requires_grad_() for n in names]
    first, first_bias, last, last_bias = stacked
    x = torch.from_numpy(inputs.reshape(len(inputs), -1))
    y = torch.from_numpy(labels).expand(len(chosen), -1)
    weight = torch.from_numpy(chosen / chosen.sum(axis=1, keepdims=True)).float()
    optimizer = torch.optim.SGD(stacked, lr=0.5, momentum=0.9)
    for _ in range(STEPS):
        optimizer.zero_grad()
        hidden = torch.tanh(x @ first.mT + first_bias[:, None])
        logits = hidden @ last.mT + last_bias[:, None]
        losses = torch.nn.functional.cross_entropy(logits.mT, y, reduction="none")
        (losses * weight).sum().backward()
        optimizer.step()
    return [
        {n: p.detach()[i].numpy().copy() for n, p in zip(names, stacked, strict=True)}
        for i in range(len(chosen))
    ]


def world(
    seed: int, *, wrong: float, references: int
) -> Iterator[tuple[RecipientView, np.ndarray]]:
    """Yield each target's view and membership; a share of ``wrong`` labels is random."""
    rng = named_generator(seed, "few references")
    digits = load_digits()
    order = rng.permutation(len(digits.target))[: 2 * CANDIDATES]
    inputs = (digits.images[order, None] / 8 - 1).astype(np.float32)
    noisy = rng.random(len(order)) < wrong
    labels = np.where(noisy, rng.integers(0, 10, len(order)), digits.target[order])
    candidates, population = (
        Records(ids=tuple(map(str, part)), inputs=inputs[part], labels=labels[part])
        for part in np.split(np.arange(len(order)), 2)
    )
    member = halves(rng, TARGETS)
    trained_on = np.concatenate([halves(rng, references) for _ in range(TARGETS)])
    every = np.concatenate([member, trained_on])
    models = train(candidates.inputs, candidates.labels, every, 1000 * seed)
    for i in range(TARGETS):
        own = slice(i * references, (i + 1) * references)
        answers = [
            np.array([BUILT.logits(m, part.inputs) for m in models[TARGETS:][own]], np.float32)
            for part in (candidates, population)
        ]
        background = Background(
            architecture=BUILT,
            recipe=RECIPE,
            candidates=candidates,
            population=population,
            record_range=(-1.0, 1.0),
            references=References(
                trained_on=trained_on[own],
                logits=answers[0][:, None],
                population_logits=answers[1],
            ),
        )
        yield RecipientView(background=background, weights=models[i]), member[i]


def measure(names: tuple[str, ...], *, wrong: float, references: int) -> dict[str, np.ndarray]:
    """Return AUC, TPR at 5 % FPR and seconds of each attack, shape (worlds, 3)."""
    found: dict[str, list] = {name: [] for name in names}
    for seed in range(WORLDS):
        rows: dict[str, list] = {name: [] for name in names}
        for view, member in world(seed, wrong=wrong, references=references):
            for name in names:
                start = time.perf_counter()
                attack = ATTACKS[name].build(Budget.STANDARD)
                if name == BOUNDARY:  # its own budgets leave candidates out
                    attack = ArtDecisionBoundary(
                        most_candidates=CANDIDATES, iterations=10, evaluations=50
                    )
                guess = attack.guess(view, named_generator(seed, name))
                seconds = time.perf_counter() - start
                if guess.candidates != view.background.candidates.ids:
                    raise SystemExit(f"{name}: left candidates out")
                split = guess.scores[member], guess.scores[~member]
                rows[name].append((auc(*split), tpr_at_fpr(*split, 0.05), seconds))
        for name in names:
            found[name].append(np.mean(rows[name], axis=0))
    return {name: np.array(values) for name, values in found.items()}


def interval(values: np.ndarray) -> str:
    """Return a mean with Student's 95 % interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+.3f} [{values.mean() - half:+.3f}, {values.mean() + half:+.3f}]"


def main() -> None:
    """Print the tables."""
    for wrong, references, names in (
        (0.0, 4, CHEAP),
        (0.1, 4, (*WITH_ART, *sys.argv[1:])),
        (0.0, 16, CHEAP),
        (0.1, 16, CHEAP),
    ):
        print(
            f"{100 * wrong:.0f} % random labels, {references} reference models, "
            f"{WORLDS} worlds of {TARGETS} targets, {CANDIDATES} candidates each"
        )
        found = measure(names, wrong=wrong, references=references)
        for name, values in found.items():
            print(
                f"  {name:22} AUC {interval(values[:, 0])}  TPR at 5 % FPR {interval(values[:, 1])}"
                f"  {values[:, 2].mean():.2f} s"
            )
        for ours in ("bavaria", "lira-local"):
            for name in ("lira-online", "rmia"):
                ahead = found[ours] - found[name]
                pair = f"{ours} - {name}"
                print(f"  {pair:24} AUC {interval(ahead[:, 0])}  TPR {interval(ahead[:, 1])}")


if __name__ == "__main__":
    main()
