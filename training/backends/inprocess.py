"""An in-process grid: the same Flower messages and apps, without Ray and without start-up cost.

What is internal to Flower 1.41 (task identity, message ids, run records) is used here only.
"""

import copy
from collections.abc import Callable, Iterable
from uuid import uuid4

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

FIRST_NODE = 100
ERROR_CODE = 0

DropOut = Callable[[Message], bool]
"""Says of a message on its way to a hospital whether that hospital is gone."""


class InProcessGrid(Grid):
    """Calls a ClientApp for each message, with a persistent context for each node.

    Args:
        client_app: What each hospital runs.
        nodes: Number of hospitals.
        dropped: Optional fault injection for tests of drop-outs.
    """

    def __init__(
        self, client_app: ClientApp, *, nodes: int, dropped: DropOut | None = None
    ) -> None:
        self._app = client_app
        self._dropped = dropped
        self._run = Run.create_empty(run_id=1)
        self._replies: dict[str, Message] = {}
        self._contexts = {
            FIRST_NODE + i: Context(
                run_id=1,
                node_id=FIRST_NODE + i,
                node_config={"partition-id": i, "num-partitions": nodes},
                state=RecordDict(),
                run_config={},
            )
            for i in range(nodes)
        }

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return all node ids."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Deliver each message at once and keep its reply."""
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = uuid4().hex
            reply = self._deliver(message)
            reply.metadata.__dict__["_message_id"] = uuid4().hex
            self._replies[message.metadata.message_id] = reply
            ids.append(message.metadata.message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages, once."""
        return [self._replies.pop(i) for i in message_ids if i in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Deliver and return the replies."""
        return self.pull_messages(self.push_messages(messages))

    def _deliver(self, message: Message) -> Message:
        if self._dropped is not None and self._dropped(message):
            return Message(Error(code=ERROR_CODE, reason="dropped out"), reply_to=message)
        context = self._contexts[message.metadata.dst_node_id]
        return self._app(copy.deepcopy(message), context)


def run_inprocess(
    server_app: ServerApp,
    client_app: ClientApp,
    *,
    clients: int,
    dropped: DropOut | None = None,
) -> None:
    """Run both apps to their end in this process.

    Args:
        server_app: The server.
        client_app: What each hospital runs.
        clients: Number of hospitals.
        dropped: Optional fault injection.
    """
    TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1
    grid = InProcessGrid(client_app, nodes=clients, dropped=dropped)
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    server_app(grid, context)
