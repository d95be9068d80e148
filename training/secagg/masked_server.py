"""The server's half of the masked protocol: it relays, and opens the sum of the survivors.

It has no randomness of its own: the same replies give the same requests, so after a restart the
caller runs `before_training` again on the stored replies. It never holds an unmasked update.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import ProtocolError
from audit.core.parcel import Parcel
from training.secagg import checks, fields, masking, shamir, terms
from training.secagg.identity import KEY_BYTES, SIGNATURE_BYTES, Roster
from training.secagg.protocol import Aggregate, Exchange, Session
from training.secagg.quantise import Quantiser
from training.secagg.terms import SEALED_BYTES, RoundKeys, Terms


@dataclass(frozen=True, kw_only=True)
class _Open:
    """A session between its two halves: partners (clients in training) and what they published."""

    session: Session
    keys: Mapping[str, RoundKeys]
    commitments: Mapping[str, bytes]

    @property
    def partners(self) -> list[str]:
        return sorted(self.commitments)


class MaskedServer:
    """Opens the weighted mean of the survivors' masked updates.

    Args:
        roster: All hospitals and their pinned identities.
        colluders: Hospitals assumed to work with the server; sets the threshold.
        quantiser: The public grid.
        weights: Public weight of every client; None weighs all equally.

    Raises:
        ValueError: The terms are impossible (see `Terms`).

    Source:
        Bonawitz et al. 2017, Figure 4. Differs: see `MaskedClient`.
    """

    id: str = terms.ID

    def __init__(
        self,
        *,
        roster: Roster,
        colluders: int,
        quantiser: Quantiser,
        weights: Mapping[str, int] | None = None,
    ) -> None:
        self._terms = Terms(
            roster=roster, colluders=colluders, quantiser=quantiser, weights=weights
        )
        self._open: dict[str, _Open] = {}

    def before_training(
        self, session: Session, clients: Sequence[str], exchange: Exchange
    ) -> Mapping[str, Parcel]:
        """Collect and forward keys, then shares.

        Args:
            session: The aggregation.
            clients: Hospitals that are asked, part of the roster.
            exchange: Carries the requests of the stages "keys" and "shares".

        Returns:
            What goes beside the model: "clients", and the "ciphertexts" of all other "senders".

        Raises:
            ProtocolError: An unknown client, a malformed reply, or fewer left than the threshold.

        Source:
            Bonawitz et al. 2017, Figure 4, rounds 0 and 1.
        """
        asked = sorted(set(clients))
        for client in asked:
            self._terms.roster.require(client)
        self._terms.require_enough(asked, terms.KEYS)
        header = Parcel(fields=terms.message(session))
        replies = self._ask(session, terms.KEYS, dict.fromkeys(asked, header), exchange)
        keys, signatures = self._read_keys(session, replies)
        alive = sorted(keys)
        listing = Parcel(
            fields=terms.message(
                session,
                clients=alive,
                share_keys=[keys[client].share for client in alive],
                mask_keys=[keys[client].mask for client in alive],
                signatures=[signatures[client] for client in alive],
            )
        )
        replies = self._ask(session, terms.SHARES, dict.fromkeys(alive, listing), exchange)
        sealed = {client: _read_sealed(replies[client], client, alive) for client in replies}
        self._open[session.label] = _Open(
            session=session,
            keys=keys,
            commitments={
                client: fields.blob(reply, "commitment", size=masking.COMMITMENT_BYTES)
                for client, reply in replies.items()
            },
        )
        partners = self._open[session.label].partners
        return {
            client: self._train_request(session, client, partners, sealed) for client in partners
        }

    def after_training(
        self, session: Session, replies: Mapping[str, Parcel], exchange: Exchange
    ) -> Aggregate:
        """Add the masked vectors up and remove the masks of the sum.

        Args:
            session: One for which `before_training` has run.
            replies: Train replies by client; who is missing here counts as dead.
            exchange: Carries the requests of the stages "consistency" and "unmask".

        Returns:
            The weighted mean of the survivors.

        Raises:
            ProtocolError: The session is not open, a reply is malformed or inconsistent, or fewer
                clients are left than the threshold.

        Source:
            Bonawitz et al. 2017, Figure 4, rounds 2 to 4.
        """
        opened = self._open.get(session.label)
        if opened is None or opened.session != session:
            raise ProtocolError(f"session: {session.label!r} was not prepared by before_training")
        survivors = sorted(replies)
        dead = [client for client in opened.partners if client not in replies]
        fields.require_same_names("replies and dead", [*survivors, *dead], opened.partners)
        self._terms.require_enough(survivors, terms.TRAIN)
        total: NDArray[np.generic] = np.zeros(session.dimension, dtype=self._terms.dtype)
        for client in survivors:
            terms.require_session(replies[client], session, client)
            masked = fields.vector(
                replies[client], "masked", dtype=self._terms.dtype, dimension=session.dimension
            )
            total = np.add(total, masked)
        shares = self._collect_shares(session, survivors, dead, exchange)
        for client in survivors:
            total = np.subtract(total, self._self_mask(opened, client, shares))
        for client in dead:
            total = self._remove_pair_masks(opened, total, client, survivors, shares)
        weight = sum(self._terms.weight(client) for client in survivors)
        mean = self._terms.quantiser.mean(total.astype(np.uint64), weight)
        del self._open[session.label]
        return Aggregate(mean=mean, survivors=tuple(survivors))

    def _ask(
        self, session: Session, stage: str, requests: Mapping[str, Parcel], exchange: Exchange
    ) -> dict[str, Parcel]:
        """Exchange, and refuse strangers, other sessions and too few replies."""
        replies = exchange(stage, requests)
        for client, reply in replies.items():
            if client not in requests:
                raise ProtocolError(f"{stage}: {client} was not asked and replied")
            terms.require_session(reply, session, client)
        self._terms.require_enough(sorted(replies), stage)
        return {client: replies[client] for client in sorted(replies)}

    def _read_keys(
        self, session: Session, replies: Mapping[str, Parcel]
    ) -> tuple[dict[str, RoundKeys], dict[str, bytes]]:
        """The advertised keys and their signatures, verified."""
        context = self._terms.context(session)
        keys, signatures = {}, {}
        for client, reply in replies.items():
            keys[client] = RoundKeys(
                share=fields.blob(reply, "share_key", size=KEY_BYTES),
                mask=fields.blob(reply, "mask_key", size=KEY_BYTES),
            )
            signatures[client] = fields.blob(reply, "signature", size=SIGNATURE_BYTES)
            checks.verify_keys(self._terms, context, client, keys[client], signatures[client])
        return keys, signatures

    def _train_request(
        self,
        session: Session,
        client: str,
        partners: list[str],
        sealed: Mapping[str, Mapping[str, bytes]],
    ) -> Parcel:
        """The sealed shares for one client."""
        senders = [sender for sender in partners if sender != client]
        return Parcel(
            fields=terms.message(
                session,
                clients=partners,
                senders=senders,
                ciphertexts=[sealed[sender][client] for sender in senders],
            )
        )

    def _collect_shares(
        self, session: Session, survivors: list[str], dead: list[str], exchange: Exchange
    ) -> dict[str, dict[int, bytes]]:
        """Have the survivors agree, then reveal: owner of the secret to shares by point."""
        lists = terms.message(session, survivors=survivors, dead=dead)
        replies = self._ask(
            session,
            terms.CONSISTENCY,
            dict.fromkeys(survivors, Parcel(fields=lists)),
            exchange,
        )
        signers = list(replies)
        signatures = [
            fields.blob(replies[client], "signature", size=SIGNATURE_BYTES) for client in signers
        ]
        request = Parcel(fields={**lists, "signers": signers, "signatures": signatures})
        checks.require_agreement(
            self._terms, self._terms.context(session), request, survivors, dead
        )
        replies = self._ask(session, terms.UNMASK, dict.fromkeys(signers, request), exchange)
        shares: dict[str, dict[int, bytes]] = {client: {} for client in [*survivors, *dead]}
        for client, reply in replies.items():
            point = self._terms.roster.position(client)
            for names, kind in ((survivors, "survivors"), (dead, "dead")):
                if fields.texts(reply, kind) != names:
                    raise ProtocolError(f"{kind}: {client} answered for other clients than asked")
                values = fields.blobs(
                    reply,
                    "seed_shares" if kind == "survivors" else "key_shares",
                    size=shamir.SHARE_BYTES,
                    count=len(names),
                )
                for owner, value in zip(names, values, strict=True):
                    shares[owner][point] = value
        return shares

    def _self_mask(
        self, opened: _Open, client: str, shares: Mapping[str, Mapping[int, bytes]]
    ) -> NDArray[np.generic]:
        """A survivor's own mask, from shares of its seed."""
        context = self._terms.context(opened.session)
        seed = shamir.combine(shares[client], threshold=self._terms.threshold)
        commitment = masking.seed_commitment(seed, context=context, client=client)
        if commitment != opened.commitments[client]:
            raise ProtocolError(f"seed_shares: those for {client} do not give the committed seed")
        key = masking.self_mask_key(seed, context=context, client=client)
        return masking.expand(key, opened.session.dimension, self._terms.dtype)

    def _remove_pair_masks(
        self,
        opened: _Open,
        total: NDArray[np.generic],
        client: str,
        survivors: Sequence[str],
        shares: Mapping[str, Mapping[int, bytes]],
    ) -> NDArray[np.generic]:
        """Take out the masks that the survivors shared with a dead client."""
        private = shamir.combine(shares[client], threshold=self._terms.threshold)
        if masking.public_key(private) != opened.keys[client].mask:
            raise ProtocolError(f"key_shares: those for {client} do not give its mask key")
        for peer in survivors:
            key = masking.pair_mask_key(
                private,
                context=self._terms.context(opened.session),
                own=client,
                peer=peer,
                peer_public=opened.keys[peer].mask,
            )
            mask = masking.expand(key, opened.session.dimension, self._terms.dtype)
            total = masking.remove_pair_mask(total, mask, own=peer, peer=client)
        return total


def _read_sealed(reply: Parcel, sender: str, clients: Sequence[str]) -> dict[str, bytes]:
    """One client's sealed shares by receiver."""
    receivers = fields.texts(reply, "receivers")
    expected = [client for client in clients if client != sender]
    fields.require_same_names("receivers", receivers, expected)
    sealed = fields.blobs(reply, "ciphertexts", size=SEALED_BYTES, count=len(receivers))
    return dict(zip(receivers, sealed, strict=True))
