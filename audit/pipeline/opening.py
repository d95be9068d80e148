"""Making a run directory, or agreeing on the one to resume."""

import platform
import uuid
from importlib.metadata import version
from pathlib import Path

from audit.core.config import FIXED_KEY, Config
from audit.core.errors import ConfigError
from audit.core.loading import dump_config
from audit.store.run import RunDirectory
from audit.vault import Vault

PACKAGES = (
    "fl-privacy-audit",
    "flwr",
    "torch",
    "torchvision",
    "opacus",
    "adversarial-robustness-toolbox",
    "scikit-learn",
    "pandas",
    "numpy",
    "cryptography",
    "dp-accounting",
)


def agreed_config(config: Config | None, run: RunDirectory | None, out: Path) -> Config:
    """Return the configuration to train; a run to resume keeps its own."""
    if run is None and config is None:
        raise ConfigError(f"--resume {out}: there is no run to go on with")
    if run is None or config is None:
        return config or RunDirectory.open(out).config
    if dump_config(config) != dump_config(run.config):
        raise ConfigError(
            f"--resume {out}: the configuration given differs from the run's own; "
            "leave it out, or train into a new directory"
        )
    return config


def create_run(config: Config, out: Path, backend: str) -> RunDirectory:
    """Make the run directory, with the facts of this environment."""
    return RunDirectory.create(
        out,
        config=config,
        config_text=dump_config(config),
        id=str(uuid.uuid4()),
        seed=config.seed,
        backend=backend,
        reproduction=config.reproduction,
        state="training",
        begun=False,
        python=platform.python_version(),
        packages={name: version(name) for name in PACKAGES},
    )


def with_kept_key(config: Config, run: RunDirectory) -> Config:
    """Put a fixed noise key back in that only the run's secrets hold."""
    if config.privacy.noise_key is None:
        return config
    if run.record["begun"]:
        key = Vault(run.secrets).noise_key()
    elif config.privacy.noise_key == FIXED_KEY:
        raise ConfigError(
            f"--resume {run.path}: stopped before its noise key was kept; "
            "give the configuration again"
        )
    else:
        key = config.privacy.noise_key
    privacy = config.privacy.model_copy(update={"noise_key": key})
    return config.model_copy(update={"privacy": privacy})
