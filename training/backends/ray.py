"""Flower's Ray simulation, for the same two apps."""

import importlib.util
import warnings

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from audit.core.errors import AuditError, ConfigError


def run_ray(server_app: ServerApp, client_app: ClientApp, *, clients: int) -> None:
    """Run both apps on Flower's simulation runtime.

    Args:
        server_app: The server; it runs in a thread of this process.
        client_app: What each hospital runs, in Ray's worker processes.
        clients: Number of hospitals.

    Raises:
        ConfigError: The extra is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("--backend ray: Ray is not installed; install the extra `ray`")
    from flwr.simulation import run_simulation  # noqa: PLC0415 - slow, and an extra

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            run_simulation(
                server_app=server_app,
                client_app=client_app,
                num_supernodes=clients,
                backend_config={
                    "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
                    "init_args": {"include_dashboard": False, "log_to_driver": False},
                },
            )
        except RuntimeError as error:
            raise AuditError(f"Flower's Ray simulation failed: {error.__cause__ or error}") from error
