"""What `audit keygen` and `audit verify` do. A bundle is checked without torch."""

from collections.abc import Sequence
from pathlib import Path

import typer

from audit.cli.options import open_run, print_json, stderr
from audit.core.errors import ConfigError
from audit.core.problems import Problem
from audit.signing.bundle import BundleCheck, check_bundle
from audit.signing.keys import PRIVATE_NAME, PUBLIC_NAME, generate_key_pair, load_public_key

REFUSED = 1
"""Exit code of a verification that failed."""

SHOWN = 20
"""Problems that are listed for people."""


def make_keys(folder: Path, *, as_json: bool) -> None:
    """Make a key pair and say where it lies."""
    key = generate_key_pair(folder)
    private, public = folder / PRIVATE_NAME, folder / PUBLIC_NAME
    if as_json:
        print_json({"private": str(private), "public": str(public), "key_id": key.keyid})
    else:
        typer.echo(f"{private}\n{public}")
    _hint(f"keep {PRIVATE_NAME} secret, give {PUBLIC_NAME} to whoever verifies")
    _hint(f"next: audit report --key {private}")


def verify(bundle: Path | None, key: Path | None, rescore: Path | None, *, as_json: bool) -> None:
    """Verify a bundle, or the scores of a run.

    Raises:
        ConfigError: Neither or both are asked for.
        typer.Exit: Something does not hold.
    """
    if rescore is not None:
        if bundle is not None or key is not None:
            raise ConfigError("verify: expected BUNDLE with --key, or --rescore alone")
        _verify_scores(rescore, as_json=as_json)
    elif bundle is None:
        raise ConfigError("verify: expected BUNDLE with --key, or --rescore RUN")
    elif key is None:
        raise ConfigError(
            f"verify {bundle}: expected --key with the signer's public key ({PUBLIC_NAME}); "
            "take it from the signer, not from where the bundle came from"
        )
    else:
        _verify_bundle(bundle, key, as_json=as_json)


def _verify_bundle(bundle: Path, key: Path, *, as_json: bool) -> None:
    public = load_public_key(key)
    checked = check_bundle(bundle, public)
    if as_json:
        print_json(
            {
                "bundle": str(bundle),
                "key_id": public.keyid,
                "verified": not checked.problems,
                "files": checked.files,
                "result": _result(checked),
                "problems": _listed(checked.problems),
            }
        )
    elif checked.result is not None:
        result = checked.result
        typer.echo(f"verified: {checked.files} files are as key {public.keyid} signed them")
        typer.echo(
            f"signed result: {result.ending.value} ({len(result.passed)} passed, "
            f"{len(result.warned)} warned, {len(result.failed)} failed)"
        )
    _end(checked.problems, as_json=as_json)


def _result(checked: BundleCheck) -> dict[str, object] | None:
    if checked.result is None:
        return None
    return {
        "result": checked.result.ending.value,
        "passed": list(checked.result.passed),
        "warned": list(checked.result.warned),
        "failed": list(checked.result.failed),
    }


def _verify_scores(run: Path, *, as_json: bool) -> None:
    opened = open_run(run)
    from audit.pipeline.rescoring import rescore  # with torch: only for what is a run

    found = rescore(opened)
    if as_json:
        print_json(
            {
                "run": str(run),
                "verified": not found.problems,
                "attacks": found.attacks,
                "scores": found.scores,
                "problems": _listed(found.problems),
            }
        )
    elif not found.problems:
        typer.echo(
            f"verified: {found.scores} scores of {found.attacks} attacks come out the same from "
            "the stored guesses and secrets"
        )
    _end(found.problems, as_json=as_json)


def _listed(problems: Sequence[Problem]) -> list[dict[str, str]]:
    return [{"file": problem.file, "reason": problem.reason} for problem in problems]


def _end(problems: Sequence[Problem], *, as_json: bool) -> None:
    if not problems:
        return
    if not as_json:
        for problem in problems[:SHOWN]:
            typer.echo(str(problem))
        if len(problems) > SHOWN:
            typer.echo(f"and {len(problems) - SHOWN} more; --json lists them all")
    _hint(f"not verified: {len(problems)} {'problem' if len(problems) == 1 else 'problems'}")
    raise typer.Exit(REFUSED)


def _hint(message: str) -> None:
    stderr.print(message, soft_wrap=True, highlight=False, markup=False)
