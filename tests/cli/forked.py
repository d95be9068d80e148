"""The command line in a process of its own that has Python's imports behind it already.

Importing torch, Flower and Opacus takes longer than most commands do. A fork of the test's process
has them; its working directory, environment, output and exit code are its own.
"""

import os
import sys
import tempfile
import traceback
from pathlib import Path
from subprocess import CompletedProcess

# What commands import when they are called.
import audit.cli.app
import audit.cli.attacking
import audit.cli.reporting
import audit.cli.tables
import audit.cli.training


def audit(*arguments: str, cwd: Path, **environment: str) -> CompletedProcess[str]:
    """Run ``audit`` with arguments; return its exit code and what it said."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            os._exit(_run(["audit", *arguments], cwd, environment, out.fileno(), err.fileno()))
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return CompletedProcess(["audit", *arguments], code, out.read(), err.read())


def _run(argv: list[str], cwd: Path, environment: dict[str, str], out: int, err: int) -> int:
    """Be the command line, in the child; nothing of pytest's may run after it."""
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = (os.fdopen(f, "w", closefd=False) for f in (1, 2))
        sys.argv = argv
        os.chdir(cwd)
        os.environ.update(environment)
        from audit.cli import main

        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
