"""What `audit report` does and prints."""

import os
from pathlib import Path

import typer

from audit.cli.options import print_json, stderr
from audit.pipeline.report import Report, ReportOptions, report
from audit.store.run import RunDirectory

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""Names the file to which a build's summary is appended."""


def write_report(
    run: RunDirectory,
    *,
    out: Path | None,
    key: Path | None,
    pdf: bool,
    reconstructions: bool,
    as_json: bool,
) -> Report:
    """Write a run's report and bundle; the arguments are the command line's.

    Raises:
        ConfigError: The key cannot be read, or a PDF cannot be written.
        MissingEvidenceError: The run is unfinished, was not attacked, or carries planted faults.
        IntegrityError: The recording is damaged.
    """
    written = report(run, ReportOptions(out=out, key=key, pdf=pdf, reconstructions=reconstructions))
    if os.environ.get(STEP_SUMMARY):
        with Path(os.environ[STEP_SUMMARY]).open("a", encoding="utf-8") as handle:
            handle.write(written.summary + "\n")
    if as_json:
        print_json(
            {
                "report": str(written.page),
                "pdf": str(written.pdf) if written.pdf else None,
                "bundle": str(written.bundle),
                "signed": key is not None,
                "verdict": written.record.verdict.state,
            }
        )
    else:
        typer.echo(str(written.page))
    stderr.print(written.record.verdict.headline, soft_wrap=True, highlight=False)
    follows = (
        f"audit verify {written.bundle} --key PUBLIC_KEY"
        if key
        else "unsigned: make a key with `audit keygen`, then `audit report --key`"
    )
    stderr.print(f"next: {follows}", soft_wrap=True, highlight=False)
    return written
