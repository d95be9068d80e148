"""What the self-test of this version found, as shipped with it."""

import json
from importlib.resources import files
from typing import Any

FILE = "selftest.json"


def shipped_selftest() -> dict[str, Any] | None:
    """Return the result of ``audit selftest --json`` that ships in this folder, or None."""
    resource = files("reports") / FILE
    if not resource.is_file():
        return None
    found: dict[str, Any] = json.loads(resource.read_text(encoding="utf-8"))
    return found
