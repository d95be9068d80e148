"""The Flower ClientApp: messages in, messages out, the budget in the client's state."""

from collections.abc import Callable
from typing import cast

from flwr.app import ConfigRecord, Context, Error, Message
from flwr.clientapp import ClientApp

from audit.core.errors import PolicyError, ProtocolError
from training.faults import Fault
from training.hospital import Hospital, Spent
from training.journal import STAGES
from training.plan import CellPlan
from training.wire import from_record, to_record

STATE = "privacy"
REFUSED = 0
"""Flower's code for an error of no kind of its own: the hospital declined and said why."""


def build_client_app(plan: CellPlan, fault: Fault | None = None) -> ClientApp:
    """Return the app that every hospital of a cell runs; ``partition-id`` says which one it is.

    Args:
        plan: The cell.
        fault: What is broken in every hospital; self-tests only.
    """
    app = ClientApp()

    def answer(stage: str) -> Callable[[Message, Context], Message]:
        def handler(message: Message, context: Context) -> Message:
            client = plan.clients[int(cast(int, context.node_config["partition-id"]))]
            try:
                reply, spent = Hospital(plan, client, fault).handle(
                    stage, from_record(message.content), _load(context)
                )
            except (PolicyError, ProtocolError) as error:
                return Message(Error(code=REFUSED, reason=str(error)), reply_to=message)
            context.state[STATE] = ConfigRecord({"steps": spent.steps})
            return Message(to_record(reply), reply_to=message)

        return handler

    app.train()(answer("train"))
    for stage in ("hello", *(s for s in STAGES if s != "train")):
        app.query(stage)(answer(stage))
    return app


def _load(context: Context) -> Spent:
    record = context.state.config_records.get(STATE)
    return Spent(steps=int(cast(int, record["steps"]))) if record is not None else Spent()
