"""The gate's result as blocks."""

from collections.abc import Mapping
from typing import Any

from reports.page.blocks import Facts, Grid, Paragraph


def gate_blocks(gate: Mapping[str, Any]) -> list[Paragraph | Facts | Grid]:
    """Return what ``gate.json`` says."""
    return [Paragraph(text=f"Outcome: {gate['outcome']}.")]
