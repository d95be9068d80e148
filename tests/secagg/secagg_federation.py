"""A federation in one process: every stage runs on new client objects and on a reloaded state."""

import base64
import json
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from audit.core.parcel import Parcel
from training.secagg.identity import Identity, Roster
from training.secagg.masked_client import MaskedClient
from training.secagg.masked_server import MaskedServer
from training.secagg.protocol import Aggregate, Session
from training.secagg.quantise import Quantiser

Tamper = Callable[[str, str, Parcel], Parcel]
STAGES = ("keys", "shares", "train", "consistency", "unmask")
QUANTISER = Quantiser(clip_range=1.0, bits=16, stochastic=False)


def identity(index: int) -> Identity:
    return Identity.from_bytes(bytes([index + 1]) * 32)


def names(n: int) -> list[str]:
    return [f"hospital-{index}" for index in range(n)]


def roster(n: int) -> Roster:
    return Roster({name: identity(index).public_key for index, name in enumerate(names(n))})


def updates(n: int, dimension: int, seed: int = 0, scale: float = 0.8) -> dict[str, NDArray]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-scale, scale, dimension) for name in names(n)}


def plain_mean(
    vectors: Mapping[str, NDArray], survivors: tuple[str, ...], weights: Mapping[str, int] | None
) -> NDArray:
    factor = {name: 1 if weights is None else weights[name] for name in survivors}
    return sum(factor[name] * vectors[name] for name in survivors) / sum(factor.values())


def dump(parcel: Parcel) -> str:
    def pack(value):
        if isinstance(value, bytes):
            return {"bytes": base64.b64encode(value).decode()}
        return [pack(item) for item in value] if isinstance(value, list) else value

    assert not parcel.arrays
    return json.dumps({name: pack(value) for name, value in parcel.fields.items()})


def load(text: str) -> Parcel:
    def unpack(value):
        if isinstance(value, dict):
            return base64.b64decode(value["bytes"])
        return [unpack(item) for item in value] if isinstance(value, list) else value

    return Parcel(fields={name: unpack(value) for name, value in json.loads(text).items()})


def keep(stage: str, client: str, parcel: Parcel) -> Parcel:
    return parcel


class Federation:
    """n clients, a server, drop-outs by stage, and hooks that tamper with what travels."""

    def __init__(
        self,
        n: int,
        colluders: int = 0,
        *,
        drops: Mapping[str, str] | None = None,
        weights: Mapping[str, int] | None = None,
        quantiser: Quantiser = QUANTISER,
        dimension: int = 7,
        label: str = "run/round-001",
        tamper_request: Tamper = keep,
        tamper_reply: Tamper = keep,
    ) -> None:
        self.n = n
        self.options = {
            "roster": roster(n),
            "colluders": colluders,
            "quantiser": quantiser,
            "weights": weights,
        }
        self.drops = dict(drops or {})
        self.session = Session(label=label, dimension=dimension)
        self.tamper_request, self.tamper_reply = tamper_request, tamper_reply
        self.server = MaskedServer(**self.options)
        self.states: dict[str, str] = {}
        self.log: list[tuple[str, dict[str, Parcel], dict[str, Parcel]]] = []

    def client(self, name: str) -> MaskedClient:
        return MaskedClient(name, identity=identity(names(self.n).index(name)), **self.options)

    def state(self, name: str) -> Parcel | None:
        return load(self.states[name]) if name in self.states else None

    def answer(self, name: str, stage: str, request: Parcel) -> Parcel:
        reply, state = self.client(name).answer(self.session, stage, request, self.state(name))
        self.states[name] = dump(state)
        return reply

    def protect(self, name: str, update: NDArray, request: Parcel) -> Parcel:
        reply, state = self.client(name).protect(self.session, update, request, self.state(name))
        self.states[name] = dump(state)
        return reply

    def exchange(self, stage: str, requests: Mapping[str, Parcel]) -> dict[str, Parcel]:
        sent = {name: self.tamper_request(stage, name, requests[name]) for name in requests}
        replies = {
            name: self.tamper_reply(stage, name, self.answer(name, stage, request))
            for name, request in sent.items()
            if self.alive(name, stage)
        }
        self.log.append((stage, sent, replies))
        return replies

    def alive(self, name: str, stage: str) -> bool:
        dropped = self.drops.get(name)
        return dropped is None or STAGES.index(stage) < STAGES.index(dropped)

    def before(self) -> dict[str, Parcel]:
        requests = self.server.before_training(self.session, names(self.n), self.exchange)
        return {name: self.tamper_request("train", name, requests[name]) for name in requests}

    def train(self, vectors: Mapping[str, NDArray]) -> dict[str, Parcel]:
        requests = self.before()
        return {
            name: self.tamper_reply("train", name, self.protect(name, vectors[name], request))
            for name, request in requests.items()
            if self.alive(name, "train")
        }

    def run(self, vectors: Mapping[str, NDArray]) -> Aggregate:
        return self.server.after_training(self.session, self.train(vectors), self.exchange)


def replace(parcel: Parcel, **changed) -> Parcel:
    """The same message with some fields changed."""
    return Parcel(arrays=parcel.arrays, fields={**parcel.fields, **changed})
