"""What `audit train` does: one or several runs, with progress."""

from pathlib import Path

from audit.cli.options import RUNS, default_out, stderr
from audit.cli.progress import training_progress
from audit.core.config import Config
from audit.core.errors import ConfigError
from audit.pipeline.train import TrainOptions, train
from audit.store.run import RunDirectory, newest_run
from training.devices import resolve_device
from training.federation import Backend


def train_runs(
    config: Config | None,
    *,
    out: Path | None,
    resume: bool = False,
    seeds: int = 1,
    backend: str = "inprocess",
    device: str = "cpu",
    download: bool = False,
) -> list[RunDirectory]:
    """Train one run, or one for each seed.

    Args:
        config: What to train; None: what the run to resume says.
        out: The run directory; with several seeds their names begin with it.
        resume: Go on with an interrupted run.
        seeds: Number of runs; the public seed counts up.
        backend, device, download: As on the command line.
    """
    if resume and out is None:
        out = newest_run(RUNS)
    if out is None:
        out = default_out(config.name if config else "run")
    if seeds > 1 and config is None:
        raise ConfigError("--seeds with --resume: name the configuration too")
    runs = []
    for i in range(seeds):
        seeded = config if i == 0 or config is None else _with_seed(config, config.seed + i)
        path = out if seeds == 1 else out.with_name(f"{out.name}-s{i}")
        if seeds > 1:
            stderr.print(f"run {i + 1} of {seeds}: {path}", soft_wrap=True, highlight=False)
        with training_progress() as watcher:
            options = TrainOptions(
                backend=Backend(backend),
                device=resolve_device(device),
                download=download,
                resume=resume,
                watcher=watcher,
            )
            runs.append(train(seeded, path, options))
    return runs


def _with_seed(config: Config, seed: int) -> Config:
    return config.model_copy(update={"seed": seed})
