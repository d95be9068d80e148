"""What a client checks before it believes the server: keys, partners, lists and signatures."""

from collections.abc import Mapping, Sequence

from audit.core.errors import ProtocolError
from audit.core.parcel import Parcel
from training.secagg import fields, terms
from training.secagg.identity import KEY_BYTES, SIGNATURE_BYTES
from training.secagg.terms import SEALED_BYTES, RoundKeys, Terms


def read_keys(
    public_terms: Terms, context: bytes, own_id: str, own: RoundKeys, request: Parcel
) -> dict[str, RoundKeys]:
    """Check the forwarded list of signed round keys.

    Args:
        public_terms: The client's own terms.
        context: Digest of the session and the terms.
        own_id: The client that checks.
        own: The keys that it advertised.
        request: "clients", "share_keys", "mask_keys", "signatures", one entry a client.

    Returns:
        Client to its round keys, own included.

    Raises:
        ProtocolError: An unknown or repeated client, a bad signature, a repeated key, the own keys
            missing or changed, or fewer clients than the threshold.

    Source:
        Bonawitz et al. 2017, Figure 4, round 1.
    """
    clients = fields.texts(request, "clients")
    size = {"share_keys": KEY_BYTES, "mask_keys": KEY_BYTES, "signatures": SIGNATURE_BYTES}
    share_keys, mask_keys, signatures = (
        fields.blobs(request, name, size=size[name], count=len(clients)) for name in size
    )
    public_terms.require_enough(clients, terms.SHARES)
    if len({*share_keys, *mask_keys}) != 2 * len(clients):
        raise ProtocolError("share_keys, mask_keys: a key is listed twice")
    keys = {}
    for client, share, mask, signature in zip(
        clients, share_keys, mask_keys, signatures, strict=True
    ):
        keys[client] = RoundKeys(share=share, mask=mask)
        verify_keys(public_terms, context, client, keys[client], signature)
    if own_id not in keys:
        raise ProtocolError(f"clients: {own_id}, who is asked, is missing")
    if keys[own_id] != own:
        raise ProtocolError(f"clients: the keys of {own_id}, who is asked, were changed")
    return keys


def verify_keys(
    public_terms: Terms, context: bytes, client: str, keys: RoundKeys, signature: bytes
) -> None:
    """Refuse, with ProtocolError, round keys that this client did not sign for this session."""
    public_terms.roster.verify(client, signature, terms.keys_statement(context, client, keys))


def read_partners(
    public_terms: Terms, own_id: str, request: Parcel, keys: Mapping[str, RoundKeys]
) -> tuple[list[str], dict[str, bytes]]:
    """Check which clients' shares the server forwarded.

    Args:
        public_terms: The client's own terms.
        own_id: The client that checks.
        request: "clients" (own included), "senders" (all others), "ciphertexts" of the senders.
        keys: Round keys that this client verified.

    Returns:
        All partners, sorted, own included; and the sealed shares by sender.

    Raises:
        ProtocolError: A client without verified keys, own one missing, a sender too many or too
            few, a ciphertext of the wrong length, or fewer clients than the threshold.

    Source:
        Bonawitz et al. 2017, Figure 4, round 2.
    """
    partners = sorted(fields.texts(request, "clients"))
    unknown = sorted(set(partners) - set(keys))
    if unknown:
        raise ProtocolError(f"clients: {unknown} advertised no keys in this session")
    if own_id not in partners:
        raise ProtocolError(f"clients: {own_id}, who is asked, is missing")
    public_terms.require_enough(partners, terms.TRAIN)
    senders = fields.texts(request, "senders")
    fields.require_same_names("senders", senders, [name for name in partners if name != own_id])
    sealed = fields.blobs(request, "ciphertexts", size=SEALED_BYTES, count=len(senders))
    return partners, dict(zip(senders, sealed, strict=True))


def read_lists(
    public_terms: Terms, own_id: str, request: Parcel, partners: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Check the lists of survivors and of the dead.

    Args:
        public_terms: The client's own terms.
        own_id: The client that checks.
        request: "survivors" and "dead".
        partners: Clients with which this client is masked, own included.

    Returns:
        Survivors and dead, each sorted.

    Raises:
        ProtocolError: A client in both lists, lists that are not together the partners, own one
            not a survivor, or fewer survivors than the threshold.

    Source:
        Bonawitz et al. 2017, Figure 4, rounds 3 and 4.
    """
    survivors = sorted(fields.texts(request, "survivors"))
    dead = sorted(fields.texts(request, "dead"))
    both = sorted(set(survivors) & set(dead))
    if both:
        raise ProtocolError(f"survivors, dead: {both} are named alive and dead")
    outside = sorted({*survivors, *dead} - set(partners))
    if outside:
        raise ProtocolError(f"survivors, dead: {outside} are no partners of this session")
    fields.require_same_names("survivors and dead", [*survivors, *dead], partners)
    if own_id not in survivors:
        raise ProtocolError(f"survivors: {own_id}, who is asked, is missing")
    public_terms.require_enough(survivors, terms.UNMASK)
    return survivors, dead


def require_agreement(
    public_terms: Terms,
    context: bytes,
    request: Parcel,
    survivors: Sequence[str],
    dead: Sequence[str],
) -> None:
    """Check that at least t survivors signed these very lists.

    Without it a server that shows each client other lists can open the sum of fewer honest
    clients than the threshold allows (2 instead of 3, for 5 clients and no colluder).

    Args:
        public_terms: The client's own terms.
        context: Digest of the session and the terms.
        request: "signers" and their "signatures".
        survivors: Checked list.
        dead: Checked list.

    Raises:
        ProtocolError: A signer who is no survivor, a bad signature, or too few.

    Source:
        Bonawitz et al. 2017, Figure 4, rounds 3 and 4, the part for active adversaries.
    """
    signers = fields.texts(request, "signers")
    signatures = fields.blobs(request, "signatures", size=SIGNATURE_BYTES, count=len(signers))
    strangers = sorted(set(signers) - set(survivors))
    if strangers:
        raise ProtocolError(f"signers: {strangers} are no survivors")
    public_terms.require_enough(signers, terms.CONSISTENCY)
    statement = terms.lists_statement(context, survivors, dead)
    for signer, signature in zip(signers, signatures, strict=True):
        public_terms.roster.verify(signer, signature, statement)
