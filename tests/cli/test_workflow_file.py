"""The workflow in `docs/ci`, which projects copy."""

from pathlib import Path

import typer
import yaml

from audit.cli.app import app

WORKFLOW = Path(__file__).resolve().parent.parent.parent / "docs" / "ci" / "audit-gate.yml"


def test_the_workflow_to_copy_calls_commands_and_options_that_exist():
    steps = yaml.safe_load(WORKFLOW.read_text())["jobs"]["gate"]["steps"]
    called = [s["run"].split() for s in steps if s.get("run", "").startswith("audit ")]
    assert [words[1] for words in called] == ["train", "attack", "gate"]
    commands = typer.main.get_command(app).commands
    for _, name, *words in called:
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
