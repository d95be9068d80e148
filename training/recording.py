"""The transcript: a grid that records every message, as the server sent or received it."""

from collections.abc import Iterable, Mapping

from flwr.app import Message
from flwr.serverapp import Grid

from audit.core.parcel import Parcel
from audit.formats.parcels import read_parcel, write_parcel
from audit.store.run import CellDirectory
from training.forwarding import ForwardingGrid
from training.journal import session_folder
from training.wire import message_parcel

SENT, RECEIVED = "sent", "received"


class RecordingGrid(ForwardingGrid):
    """Wraps any grid and writes ``transcript/round-NNN/<session>.<stage>.<client>.<way>``.

    Args:
        inner: The grid that carries the messages.
        cell: Where the transcript lies.
    """

    def __init__(self, inner: Grid, cell: CellDirectory) -> None:
        super().__init__(inner)
        self._cell = cell
        self._clients: dict[int, str] = {}
        self._sent: dict[str, tuple[str, str]] = {}

    def name_nodes(self, clients: Mapping[int, str]) -> None:
        """Say which hospital a node is; before this, nothing but ``hello`` is sent."""
        self._clients = dict(clients)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Record and send."""
        messages = list(messages)
        ids = list(self._inner.push_messages(messages))
        for message, message_id in zip(messages, ids, strict=True):
            session, stage = self._write_sent(message)
            self._sent[message_id] = session, stage
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Receive and record."""
        replies = list(self._inner.pull_messages(message_ids))
        for reply in replies:
            session, stage = self._sent.get(
                reply.metadata.reply_to_message_id, ("round-000", "unknown")
            )
            self._write(session, stage, reply.metadata.src_node_id, RECEIVED, reply)
        return replies

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Record, send, receive, record."""
        messages = list(messages)
        named = {m.metadata.dst_node_id: self._write_sent(m) for m in messages}
        replies = list(self._inner.send_and_receive(messages, timeout=timeout))
        for reply in replies:
            session, stage = named[reply.metadata.src_node_id]
            self._write(session, stage, reply.metadata.src_node_id, RECEIVED, reply)
        return replies

    def _write_sent(self, message: Message) -> tuple[str, str]:
        fields = message_parcel(message).fields
        session = str(fields.get("session", "round-000"))
        stage = message.metadata.message_type.rpartition(".")[2]
        self._write(session, stage, message.metadata.dst_node_id, SENT, message)
        return session, stage

    def _write(self, session: str, stage: str, node: int, way: str, message: Message) -> None:
        folder, prefix = session_folder(session)
        client = self._clients.get(node, f"node-{node}")
        path = self._cell.path / "transcript" / folder / f"{prefix}.{stage}.{client}.{way}"
        write_parcel(path.with_name(path.name + ".safetensors"), message_parcel(message))


def read_session(cell: CellDirectory, session: str) -> list[tuple[str, str, str, Parcel]]:
    """Return (stage, client, sent or received, parcel) of every message of a session."""
    folder, prefix = session_folder(session)
    messages = []
    for path in sorted((cell.path / "transcript" / folder).glob(f"{prefix}.*.*.*.safetensors")):
        _, stage, client, way, _ = path.name.split(".")
        messages.append((stage, client, way, read_parcel(path)))
    return messages
