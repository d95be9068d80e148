"""The run directory on disk, but for its secrets."""
