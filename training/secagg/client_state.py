"""A client's private state of one session, as the parcel that its caller keeps on disk.

Its field "stage" names the last stage that was done; every stage adds fields and removes none.
"""

from audit.core.errors import ProtocolError
from audit.core.parcel import Parcel, Scalar
from training.secagg import fields, terms
from training.secagg.identity import KEY_BYTES
from training.secagg.protocol import Session
from training.secagg.terms import CONTEXT_BYTES, RoundKeys, Terms

_BEFORE = {
    terms.SHARES: terms.KEYS,
    terms.TRAIN: terms.SHARES,
    terms.CONSISTENCY: terms.TRAIN,
    terms.UNMASK: terms.CONSISTENCY,
}


def require(
    state: Parcel | None,
    stage: str,
    request: Parcel,
    *,
    session: Session,
    public_terms: Terms,
    client: str,
) -> Parcel:
    """Refuse, with ProtocolError, a request out of order, repeated, or of another session."""
    terms.require_session(request, session, "the server")
    if state is None:
        raise ProtocolError(f"{stage}: {client} holds no state of this session")
    if fields.text(state, "client") != client:
        raise ProtocolError(f"client: the state is another client's, not {client}'s")
    if fields.blob(state, "context", size=CONTEXT_BYTES) != public_terms.context(session):
        raise ProtocolError("context: the state is of another session, or the terms changed")
    done = fields.text(state, "stage")
    if done != _BEFORE[stage]:
        raise ProtocolError(
            f"{stage}: expected right after {_BEFORE[stage]!r}, but {client} has done {done!r}"
        )
    return state


def advance(state: Parcel, stage: str, **new: Scalar) -> Parcel:
    """The state after a stage."""
    return Parcel(arrays=state.arrays, fields={**state.fields, "stage": stage, **new})


def peer_keys(state: Parcel) -> dict[str, RoundKeys]:
    """The round keys, own included, that were verified in the stage "shares"."""
    clients = fields.texts(state, "clients")
    share_keys = fields.blobs(state, "share_keys", size=KEY_BYTES, count=len(clients))
    mask_keys = fields.blobs(state, "mask_keys", size=KEY_BYTES, count=len(clients))
    return {
        client: RoundKeys(share=share, mask=mask)
        for client, share, mask in zip(clients, share_keys, mask_keys, strict=True)
    }
