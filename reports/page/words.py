"""Words of the page for what the record holds as ids."""

from audit.formats.evidence import Cell

STATES = {
    "claim_violated": ("✕", "Claim contradicted"),
    "leakage_found": ("▲", "Leakage found"),
    "incomplete": ("◌", "Incomplete or underpowered"),
    "no_contradiction": ("●", "No contradiction found"),
}
"""State of the verdict to a mark and its words."""

OUTCOMES = {
    "executed": "executed",
    "underpowered": "underpowered",
    "not_resolvable": "not resolvable",
    "not_run": "not run",
    "failed": "FAILED",
    "missing": "never tried",
}

_KINDS = {"alarm": "Alarm", "leak": "Leak", "gap": "Gap", "note": "Note", "fine": "Checked"}


def kind_word(kind: str) -> str:
    """Return what a statement of the verdict is called."""
    return _KINDS[kind]


def verdict_word(verdict: str | None, *, claimed: bool) -> str:
    """Return the verdict on a claim in words."""
    if not claimed:
        return "no claim"
    return {
        "violated": "CONTRADICTED",
        "consistent": "not contradicted",
        "underpowered": "underpowered: could not have seen it",
        None: "not audited",
    }[verdict]


def control_word(detected: bool | None) -> str:
    """Return whether an attack found its positive control."""
    return {True: "detected", False: "MISSED", None: "none"}[detected]


def cell_title(cell: Cell) -> str:
    """Return what a cell is called for people."""
    return "no DP" if cell.target_epsilon is None else f"epsilon {cell.target_epsilon:g}"
