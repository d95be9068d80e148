"""What each setting of the shipped MNIST configurations is worth: accuracy with it and without.

Trains on 55,000 training images and tests on the 5,000 held out from them; the test images are not
touched. Needs MNIST in $AUDIT_DATA. Results go into a file as they come, and what is there already
is not trained again:

    AUDIT_DATA=/path/to/data python scripts/levers.py --seeds 3 --out runs/levers.jsonl
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

TUNING = ("data.validation_fraction=0.0833333333", "probes.repeats=0")
"""5,000 of the 60,000 training images."""


@dataclass(frozen=True)
class Lever:
    """One setting.

    Args:
        name: What it is.
        config, epsilon: The cell that it is measured on.
        off: Overrides that take it away, below the cell's ``per_epsilon``; empty: as shipped.
    """

    name: str
    config: str
    epsilon: str
    off: tuple[str, ...] = ()


FEATURES = "model={name: hog, options: {upright: %s, bias: %s, lift: %s}}"
CNN = "model={name: simple-cnn, options: {%s}}"
LIFT = "{features: 2000}"
SLOWER = ("schedule.momentum=0", "schedule.learning_rate=10", "schedule.final_learning_rate=5")
UNSCALED = ("schedule.loss_scale=1", "schedule.learning_rate=1536")
SMALL = ("schedule.batch_size=467",)
LEVEL = ("schedule.learning_rate=3.75", "schedule.final_learning_rate=3.75")
LEVERS = (
    Lever("as shipped", "mnist", "1"),
    Lever("standardised filters", "mnist", "1", (CNN % "pooling: max",)),
    Lever("max pooling", "mnist", "1", (CNN % "pooling: avg, filter_gains: [0.7, 1.0]",)),
    Lever("batches of 1,402 instead of 467", "mnist", "1", SMALL),
    Lever("local momentum (without: twice the rate)", "mnist", "1", SLOWER),
    Lever("falling learning rate", "mnist", "1", LEVEL),
    Lever("as shipped", "mnist", "10"),
    Lever("standardised filters", "mnist", "10", (CNN % "pooling: max",)),
    Lever("as shipped", "mnist", "inf"),
    Lever("shifted images", "mnist", "inf", ("schedule.augment_shift=0",)),
    Lever("as shipped", "mnist_strong", "0.1"),
    Lever("images made upright", "mnist_strong", "0.1", (FEATURES % ("false", "false", LIFT),)),
    Lever("kernel lift", "mnist_strong", "0.1", (FEATURES % ("true", "false", "null"),)),
    Lever("as shipped", "mnist_strong", "1"),
    Lever("images made upright", "mnist_strong", "1", (FEATURES % ("false", "false", LIFT),)),
    Lever("kernel lift", "mnist_strong", "1", (FEATURES % ("true", "false", "null"),)),
    Lever("no bias", "mnist_strong", "1", (FEATURES % ("true", "true", LIFT),)),
    Lever("loss scale 8 (without: the rate times 8)", "mnist_strong", "1", UNSCALED),
    Lever("full batches instead of 2,048", "mnist_strong", "1", ("schedule.batch_size=2048",)),
)


def overrides(lever: Lever, seed: int) -> list[str]:
    """Return the settings of one training."""
    scaled = 18_333 / 20_000
    from audit.core.loading import load_config

    cell = load_config(lever.config).cell(float(lever.epsilon))
    size = cell.schedule.batch_size
    batch = round(size * scaled) if size > 1000 else size
    below = f"per_epsilon.{lever.epsilon}"
    return [
        *TUNING,
        f"privacy.epsilons=[{'.inf' if lever.epsilon == 'inf' else lever.epsilon}]",
        "privacy.nominal_records=18333",
        f"seed={seed}",
        f"schedule.batch_size={min(batch, 18333)}",
        f"{below}.schedule.batch_size={min(batch, 18333)}",
        *(f"{below}.{setting}" for setting in lever.off),
    ]


def accuracy(lever: Lever, seed: int) -> float:
    """Train once and return the accuracy on the held-out training images."""
    from audit.core.loading import load_config
    from audit.pipeline.train import TrainOptions, train

    with tempfile.TemporaryDirectory() as folder:
        os.environ["AUDIT_LEDGER"] = str(Path(folder) / "ledger")
        run = train(
            load_config(lever.config, overrides(lever, seed)), Path(folder) / "run", TrainOptions()
        )
        (row,) = json.loads((run.path / "table.json").read_text())["rows"]
    return float(row["accuracy"])


def measured(seeds: int, out: Path, config: str | None) -> Iterator[tuple[Lever, list[float]]]:
    """Yield each lever with its accuracies, trained or read back."""
    levers = [lever for lever in LEVERS if config in (None, lever.config)]
    lines = out.read_text().splitlines() if out.exists() else []
    known = {(r["name"], r["config"], r["epsilon"], r["seed"]): r for r in map(json.loads, lines)}
    for seed in range(1, seeds + 1):
        for lever in levers:
            key = (lever.name, lever.config, lever.epsilon, seed)
            if key not in known:
                line = dict(zip(("name", "config", "epsilon", "seed"), key, strict=True))
                known[key] = {**line, "accuracy": accuracy(lever, seed)}
                with out.open("a") as file:
                    file.write(json.dumps(known[key]) + "\n")
    for lever in levers:
        keys = ((lever.name, lever.config, lever.epsilon, s) for s in range(1, seeds + 1))
        yield lever, [known[key]["accuracy"] for key in keys]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", help="mnist or mnist_strong only")
    options = parser.parse_args()
    shipped: dict[tuple[str, str], float] = {}
    rows = list(measured(options.seeds, options.out, options.config))
    for lever, values in rows:
        if lever.name == "as shipped":
            shipped[lever.config, lever.epsilon] = sum(values) / len(values)
    print("| cell | setting | with, % | without, % | gain | without, each seed |")
    print("|---|---|---|---|---|---|")
    for lever, values in rows:
        if lever.name != "as shipped":
            base, mean = shipped[lever.config, lever.epsilon], sum(values) / len(values)
            each = ", ".join(f"{100 * v:.2f}" for v in values)
            print(
                f"| {lever.config}, {lever.epsilon} | {lever.name} | {100 * base:.2f} "
                f"| {100 * mean:.2f} | {100 * (base - mean):+.2f} | {each} |"
            )


if __name__ == "__main__":
    main()
