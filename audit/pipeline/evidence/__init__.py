"""From a finished run to the canonical record of its audit."""
