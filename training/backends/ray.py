"""Flower's Ray simulation, for the same two apps.

The server app runs in a thread of this process, each hospital in Ray's worker processes. Workers
inherit the environment, so Flower and Ray are silent there too (``training.quiet``).
"""

import importlib.util
import os
import threading
import time
import warnings
from collections.abc import Iterable

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from audit.core.errors import AuditError, ConfigError
from training.forwarding import ForwardingGrid

POLL_SECONDS = 0.05
NODES_WITHIN_SECONDS = 120.0


def run_ray(
    server_app: ServerApp, client_app: ClientApp, *, clients: int, device: str = "cpu"
) -> None:
    """Run both apps on Flower's simulation runtime.

    Args:
        server_app: The server; it runs in a thread of this process.
        client_app: What each hospital runs, in Ray's worker processes.
        clients: Number of hospitals.
        device: torch device of the hospitals; they share one GPU.

    Raises:
        ConfigError: The extra is not installed.
        AuditError: The runtime failed, with the cause's message; or what the server app raised.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("--backend ray: Ray is not installed; install the extra `ray`")
    from flwr.simulation import run_simulation  # slow, and an extra

    gpus = 1.0 / clients if device.startswith("cuda") else 0.0
    stopped = threading.Event()
    python_path = os.environ.get("PYTHONPATH")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run_simulation(
                server_app=_stoppable(server_app, clients, stopped),
                client_app=client_app,
                num_supernodes=clients,
                backend_config={
                    "client_resources": {"num_cpus": 1, "num_gpus": gpus},
                    "init_args": {"include_dashboard": False, "log_to_driver": False},
                },
            )
    except AuditError:
        raise
    except Exception as error:
        cause = _root(error)
        raise AuditError(
            f"Flower's Ray simulation failed: {type(cause).__name__}: {cause}"
        ) from error
    finally:
        # Whatever ended the runtime, the server's thread must not wait on for replies.
        stopped.set()
        _restore("PYTHONPATH", python_path)


class WaitingGrid(ForwardingGrid):
    """A grid that waits for its nodes, asks for replies often, and gives up when told to.

    Flower's own would ask every three seconds and wait for an hour after the runtime has ended.

    Args:
        inner: Flower's grid.
        nodes: Number of nodes to wait for.
        stopped: Set when no reply can come any more.
    """

    def __init__(self, inner: Grid, *, nodes: int, stopped: threading.Event) -> None:
        super().__init__(inner)
        self._nodes = nodes
        self._stopped = stopped

    def get_node_ids(self) -> Iterable[int]:
        """Return all node ids; the runtime registers them after the server app has begun."""
        end = time.monotonic() + NODES_WITHIN_SECONDS
        while len(nodes := list(self._inner.get_node_ids())) < self._nodes:
            if time.monotonic() > end:
                raise AuditError(
                    f"{len(nodes)} of {self._nodes} nodes came up in {NODES_WITHIN_SECONDS:g} s"
                )
            self._pause()
        return nodes

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send, and wait for all replies."""
        open_ids = set(self.push_messages(messages))
        end = None if timeout is None else time.monotonic() + timeout
        replies: list[Message] = []
        while open_ids:
            new = list(self.pull_messages(open_ids))
            replies += new
            open_ids -= {reply.metadata.reply_to_message_id for reply in new}
            if not open_ids or (end is not None and time.monotonic() > end):
                break
            self._pause()
        return replies

    def _pause(self) -> None:
        if self._stopped.wait(POLL_SECONDS):
            raise AuditError("the simulation runtime ended before the server was done")


def _stoppable(server_app: ServerApp, clients: int, stopped: threading.Event) -> ServerApp:
    """Return the server app on a grid that waits, and that can be told to stop."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        server_app(WaitingGrid(grid, nodes=clients, stopped=stopped), context)

    return app


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _restore(name: str, value: str | None) -> None:
    """Undo what Flower's backend did to an environment variable."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
