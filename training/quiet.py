"""Turns off what Flower and Ray would send or install on their own, before they are imported.

The settings are environment variables, so child processes inherit them.
"""

import os

SETTINGS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DEDUP_LOGS": "0",
    "GRPC_VERBOSITY": "ERROR",
}


def silence() -> None:
    """Set every setting in this process's environment, whatever it was before."""
    os.environ.update(SETTINGS)
