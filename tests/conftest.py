"""Fixtures that several test folders share: one small trained and attacked run a worker."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def _own_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the checkout's ledgers, the user's cache and the user's history."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("AUDIT_LEDGER", str(tmp_path_factory.mktemp("ledger")))
        patch.delenv("AUDIT_HISTORY", raising=False)
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke configuration, trained and attacked once; tests must not change it.

    Workers side by side share it: the first to need it makes it, another waits.
    """
    from attacks.attack import Budget
    from audit.core.loading import load_config
    from audit.pipeline.attack import AttackOptions, attack
    from audit.pipeline.train import TrainOptions, train

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    out, made = shared / "smoke", shared / "smoke-made"
    with (shared / "smoke-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(out, ignore_errors=True)
            run = train(load_config("smoke"), out, TrainOptions())
            attack(run, AttackOptions(budget=Budget.QUICK))
            made.touch()
    return out


@pytest.fixture
def run_copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run that a test may damage."""
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    return copy
