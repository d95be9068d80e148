"""The command line: parse, call one function, print, exit. Heavy imports wait for their command."""

import os
import sys
from typing import NoReturn

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models: more threads only wait for each other


def main() -> NoReturn:
    """Run the command line; every error of ours becomes one line and its exit code."""
    from audit.cli.app import app
    from audit.cli.errors import guarded

    sys.exit(guarded(lambda: app(standalone_mode=False)))
