"""From exceptions to one clear line on stderr and an exit code."""

import sys
import traceback
from collections.abc import Callable
from typing import Any

import click
import typer

from audit.core.errors import AuditError

USAGE, RUN_TIME, INTERRUPTED = 2, 5, 130


def guarded(command: Callable[[], Any]) -> int:  # noqa: PLR0911 - one return a kind of end
    """Call a command and return its exit code; tracebacks only with ``--debug``."""
    debug = "--debug" in sys.argv
    try:
        result = command()
        code = result if isinstance(result, int) else 0
        return _interrupted() if code == INTERRUPTED else code  # typer made it a plain code
    except typer.Exit as end:
        return end.exit_code
    except click.exceptions.Abort:
        return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except click.ClickException as error:
        if debug:
            traceback.print_exc()
        context = getattr(error, "ctx", None)
        where = f" (see `{context.command_path} --help`)" if context is not None else ""
        _say(f"{error.format_message()}{where}")
        return USAGE
    except AuditError as error:
        if debug:
            traceback.print_exc()
        _say(str(error))
        return error.exit_code
    except Exception as error:
        if debug:
            traceback.print_exc()
        _say(f"unexpected {type(error).__name__}: {error}; run again with --debug for details")
        return RUN_TIME


def _say(message: str) -> None:
    sys.stderr.write(f"audit: {message}\n")


def _interrupted() -> int:
    _say("interrupted; what was done is kept: `audit train --resume`, or the same command, goes on")
    return INTERRUPTED
