"""Training talks to nobody: the settings stand before Flower is imported, and no host is asked."""

import os
import subprocess
import sys
from pathlib import Path

from training.quiet import SETTINGS

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, sys
from pathlib import Path

SETTINGS = {settings!r}
LOOPBACK = ("127.", "localhost", "::1", "0.0.0.0")
at_import, asked = [], []

def hook(event, arguments):
    if event == "import" and arguments[0].partition(".")[0] in ("flwr", "ray"):
        at_import.append(all(os.environ.get(k) == v for k, v in SETTINGS.items()))
    host = None
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    if host is not None and not str(host).startswith(LOOPBACK):
        asked.append((event, host))
        raise OSError(f"no network here: {{host}}")

sys.addaudithook(hook)
from audit.pipeline.train import TrainOptions, train
from training_cell import tiny_config

run = train(tiny_config(schedule__rounds=1, privacy__epsilons=[None]), Path("run"), TrainOptions())
assert run.cell("eps-inf").model.is_file()
assert at_import and all(at_import), at_import
assert not asked, asked
assert "flwr" in sys.modules and "ray" not in sys.modules
print("quiet")
"""


def test_a_run_sends_nothing_and_silences_flower_before_it_is_imported(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in SETTINGS}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
        "FLWR_TELEMETRY_ENABLED": "1",
        "OMP_NUM_THREADS": "1",
        "AUDIT_LEDGER": str(tmp_path / "ledger"),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(settings=SETTINGS)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "quiet"
    assert done.stderr == ""
