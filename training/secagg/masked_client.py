"""A hospital's half of the masked protocol; it trusts its pinned roster and not the server.

The state that goes in and out holds private keys and shares. The caller stores it before it sends
the reply, and answers a repeated identical request with the stored bytes: asked twice, this class
refuses, since a second answer could give away the other half of a peer's secrets.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import ProtocolError
from audit.core.parcel import Parcel, Scalar
from training.secagg import checks, client_state, fields, masking, shamir, terms
from training.secagg.identity import KEY_BYTES, Identity, Roster
from training.secagg.protocol import Session
from training.secagg.quantise import Quantiser
from training.secagg.terms import RoundKeys, Terms


class MaskedClient:
    """Masks its update and helps to open the sum, never a single update.

    Args:
        client_id: This client, in the roster.
        identity: Its long-term signing key, the private half of its roster entry.
        roster: All hospitals, pinned here and never taken from the server.
        colluders: Hospitals assumed to work with the server.
        quantiser: The public grid.
        weights: Public weight of every client; None weighs all equally.

    Raises:
        ValueError: The identity is not the roster's, or the terms are impossible (see `Terms`).

    Source:
        Bonawitz et al. 2017, Figure 4 with the parts for active adversaries. Differs: roster
        positions as Shamir points, the terms bound into every key, a commitment to the seed.
    """

    id: str = terms.ID

    def __init__(
        self,
        client_id: str,
        *,
        identity: Identity,
        roster: Roster,
        colluders: int,
        quantiser: Quantiser,
        weights: Mapping[str, int] | None = None,
    ) -> None:
        if roster.public_keys.get(client_id) != identity.public_key:
            raise ValueError(f"identity: not the one that the roster pins for {client_id!r}")
        self.client_id = client_id
        self._identity = identity
        self._terms = Terms(
            roster=roster, colluders=colluders, quantiser=quantiser, weights=weights
        )

    def answer(
        self, session: Session, stage: str, request: Parcel, state: Parcel | None
    ) -> tuple[Parcel, Parcel | None]:
        """Answer one of the stages "keys", "shares", "consistency" and "unmask".

        Args:
            session: The aggregation that the request belongs to.
            stage: Name of the stage.
            request: The server's message.
            state: What the previous stage returned; None for "keys".

        Returns:
            The reply, and the state to store before it is sent.

        Raises:
            ProtocolError: The request breaks the protocol, comes out of order or a second time.

        Source:
            Bonawitz et al. 2017, Figure 4, rounds 0, 1, 3 and 4.
        """
        if stage == terms.KEYS:
            if state is not None:
                raise ProtocolError("keys: already advertised in this session")
            terms.require_session(request, session, "the server")
            return self._advertise(session)
        steps = {
            terms.SHARES: self._share,
            terms.CONSISTENCY: self._agree,
            terms.UNMASK: self._reveal,
        }
        if stage not in steps:
            raise ProtocolError(f"{stage}: no stage of the masked protocol")
        known = client_state.require(
            state,
            stage,
            request,
            session=session,
            public_terms=self._terms,
            client=self.client_id,
        )
        return steps[stage](session, request, known)

    def protect(
        self,
        session: Session,
        update: NDArray[np.float64],
        request: Parcel,
        state: Parcel | None,
    ) -> tuple[Parcel, Parcel | None]:
        """Quantise the update, weigh it and add the masks.

        Args:
            session: The aggregation.
            update: Shape (dimension,), units of the quantiser's range; clipped to it.
            request: What the server put beside the model: "clients", "senders", "ciphertexts".
            state: What "shares" returned.

        Returns:
            The reply with array "masked" (uint32 or uint64), and the state. Its field "clipped"
            counts clipped coordinates; it depends on the data and never leaves the client.

        Raises:
            ProtocolError: A value that is not finite, a wrong shape, a peer that never advertised,
                a ciphertext that does not authenticate, or fewer peers than the threshold.

        Source:
            Bonawitz et al. 2017, Figure 4, round 2; double masking of section 4. Differs: shares
            are decrypted here and not when unmasking, so tampering stops before the update leaves.
        """
        known = client_state.require(
            state,
            terms.TRAIN,
            request,
            session=session,
            public_terms=self._terms,
            client=self.client_id,
        )
        if update.shape != (session.dimension,):
            raise ProtocolError(f"update: shape {update.shape}, expected ({session.dimension},)")
        context = self._terms.context(session)
        keys = client_state.peer_keys(known)
        partners, sealed = checks.read_partners(self._terms, self.client_id, request, keys)
        shares = {self.client_id: fields.blob(known, "own_shares", size=2 * shamir.SHARE_BYTES)}
        for peer, ciphertext in sealed.items():
            shares[peer] = self._open(known, context, peer, keys[peer], ciphertext)

        quantised = self._terms.quantiser.quantise(update)
        dtype = self._terms.dtype
        weighted = quantised.levels * np.uint64(self._terms.weight(self.client_id))
        seed = fields.blob(known, "seed", size=masking.SEED_BYTES)
        own_key = masking.self_mask_key(seed, context=context, client=self.client_id)
        masked: NDArray[np.generic] = np.add(
            weighted.astype(dtype), masking.expand(own_key, session.dimension, dtype)
        )
        private = fields.blob(known, "mask_private_key", size=KEY_BYTES)
        for peer in sealed:
            key = masking.pair_mask_key(
                private, context=context, own=self.client_id, peer=peer, peer_public=keys[peer].mask
            )
            mask = masking.expand(key, session.dimension, dtype)
            masked = masking.add_pair_mask(masked, mask, own=self.client_id, peer=peer)
        reply = Parcel(arrays={"masked": masked}, fields=terms.message(session))
        return reply, client_state.advance(
            known,
            terms.TRAIN,
            partners=partners,
            seed_shares=[shares[client][: shamir.SHARE_BYTES] for client in partners],
            key_shares=[shares[client][shamir.SHARE_BYTES :] for client in partners],
            clipped=quantised.clipped,
        )

    def _advertise(self, session: Session) -> tuple[Parcel, Parcel]:
        """Round 0: two fresh key pairs, signed."""
        share_private, mask_private = masking.new_private_key(), masking.new_private_key()
        keys = RoundKeys(
            share=masking.public_key(share_private), mask=masking.public_key(mask_private)
        )
        context = self._terms.context(session)
        signature = self._identity.sign(terms.keys_statement(context, self.client_id, keys))
        reply = terms.message(
            session, share_key=keys.share, mask_key=keys.mask, signature=signature
        )
        state: dict[str, Scalar] = {
            "stage": terms.KEYS,
            "client": self.client_id,
            "context": context,
            "share_private_key": share_private,
            "mask_private_key": mask_private,
        }
        return Parcel(fields=reply), Parcel(fields=state)

    def _share(self, session: Session, request: Parcel, state: Parcel) -> tuple[Parcel, Parcel]:
        """Round 1: check everybody's keys, then share the seed and the mask key out."""
        context = self._terms.context(session)
        share_private = fields.blob(state, "share_private_key", size=KEY_BYTES)
        mask_private = fields.blob(state, "mask_private_key", size=KEY_BYTES)
        own = RoundKeys(
            share=masking.public_key(share_private), mask=masking.public_key(mask_private)
        )
        keys = checks.read_keys(self._terms, context, self.client_id, own, request)
        clients = sorted(keys)
        points = [self._terms.roster.position(client) for client in clients]
        seed = masking.new_seed()
        seed_shares = shamir.split(seed, threshold=self._terms.threshold, points=points)
        key_shares = shamir.split(mask_private, threshold=self._terms.threshold, points=points)
        both = {
            client: seed_shares[point] + key_shares[point]
            for client, point in zip(clients, points, strict=True)
        }
        receivers = [client for client in clients if client != self.client_id]
        ciphertexts = [
            masking.seal(
                both[receiver],
                share_private,
                context=context,
                sender=self.client_id,
                receiver=receiver,
                receiver_public=keys[receiver].share,
            )
            for receiver in receivers
        ]
        commitment = masking.seed_commitment(seed, context=context, client=self.client_id)
        reply = terms.message(
            session, receivers=receivers, ciphertexts=ciphertexts, commitment=commitment
        )
        return Parcel(fields=reply), client_state.advance(
            state,
            terms.SHARES,
            seed=seed,
            own_shares=both[self.client_id],
            clients=clients,
            share_keys=[keys[client].share for client in clients],
            mask_keys=[keys[client].mask for client in clients],
        )

    def _agree(self, session: Session, request: Parcel, state: Parcel) -> tuple[Parcel, Parcel]:
        """Round 3: check and sign, once, who survived and who died."""
        partners = fields.texts(state, "partners")
        survivors, dead = checks.read_lists(self._terms, self.client_id, request, partners)
        statement = terms.lists_statement(self._terms.context(session), survivors, dead)
        reply = terms.message(session, signature=self._identity.sign(statement))
        return Parcel(fields=reply), client_state.advance(
            state, terms.CONSISTENCY, survivors=survivors, dead=dead
        )

    def _reveal(self, session: Session, request: Parcel, state: Parcel) -> tuple[Parcel, Parcel]:
        """Round 4: one share for each partner, never both."""
        partners = fields.texts(state, "partners")
        survivors, dead = checks.read_lists(self._terms, self.client_id, request, partners)
        fields.require_same_names("survivors", survivors, fields.texts(state, "survivors"))
        fields.require_same_names("dead", dead, fields.texts(state, "dead"))
        checks.require_agreement(
            self._terms, self._terms.context(session), request, survivors, dead
        )
        size, count = shamir.SHARE_BYTES, len(partners)
        seed_shares = fields.blobs(state, "seed_shares", size=size, count=count)
        key_shares = fields.blobs(state, "key_shares", size=size, count=count)
        reply = terms.message(
            session,
            survivors=survivors,
            seed_shares=[seed_shares[partners.index(client)] for client in survivors],
            dead=dead,
            key_shares=[key_shares[partners.index(client)] for client in dead],
        )
        return Parcel(fields=reply), client_state.advance(state, terms.UNMASK)

    def _open(
        self, state: Parcel, context: bytes, peer: str, keys: RoundKeys, ciphertext: bytes
    ) -> bytes:
        """The two shares that a peer sealed for this client, one after the other."""
        shares = masking.unseal(
            ciphertext,
            fields.blob(state, "share_private_key", size=KEY_BYTES),
            context=context,
            sender=peer,
            receiver=self.client_id,
            sender_public=keys.share,
        )
        shamir.parse_share(shares[: shamir.SHARE_BYTES])
        shamir.parse_share(shares[shamir.SHARE_BYTES :])
        return shares
