"""From exceptions to one clear line on stderr and an exit code."""

import sys
import traceback
from collections.abc import Callable
from typing import Any

import click
import typer

from audit.core.errors import AuditError

USAGE, RUN_TIME, INTERRUPTED = 2, 5, 130


def guarded(command: Callable[[], Any]) -> int:
    """Call a command and return its exit code; tracebacks only with ``--debug``."""
    debug = "--debug" in sys.argv
    try:
        result = command()
        return result if isinstance(result, int) else 0
    except typer.Exit as end:
        return end.exit_code
    except click.exceptions.Abort:
        return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except click.ClickException as error:
        if debug:
            traceback.print_exc()
        where = f" (see `{error.ctx.command_path} --help`)" if _has_context(error) else ""
        _say(f"{error.format_message()}{where}")
        return USAGE
    except AuditError as error:
        if debug:
            traceback.print_exc()
        _say(str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last line of defence: named, and non-zero
        if debug:
            traceback.print_exc()
        _say(f"unexpected {type(error).__name__}: {error}; run again with --debug for details")
        return RUN_TIME


def _has_context(error: Any) -> bool:
    return getattr(error, "ctx", None) is not None


def _say(message: str) -> None:
    sys.stderr.write(f"audit: {message}\n")


def _interrupted() -> int:
    _say("interrupted; what was done is kept: the same command with --resume goes on")
    return INTERRUPTED
