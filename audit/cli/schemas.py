"""`audit schema`: the JSON Schemas of what is read and written."""

from importlib import import_module

import typer

from audit.cli.options import DebugOption, print_json
from audit.core.errors import ConfigError

MODELS = {
    "config": "audit.core.config:Config",
    "policy": "audit.formats.policy:Policy",
    "baseline": "audit.formats.baseline:Baseline",
    "gate": "audit.formats.gate:GateRecord",
    "audit": "audit.formats.evidence:EvidenceRecord",
    "score": "audit.core.scores:Score",
    "dp-audit": "audit.core.audits:AuditRecord",
    "control": "audit.core.controls:ControlRecord",
}
"""Name to the model behind it; imported when it is asked for."""


def schema(
    name: str = typer.Argument(help=f"One of {', '.join(MODELS)}."), debug: DebugOption = False
) -> None:
    """Print a JSON Schema: of configurations, policies, baselines, reports and records."""
    del debug
    if name not in MODELS:
        raise ConfigError(f"schema {name!r}: unknown; expected one of {', '.join(MODELS)}")
    module, _, model = MODELS[name].partition(":")
    print_json(getattr(import_module(module), model).model_json_schema(by_alias=True))
