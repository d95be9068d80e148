"""What a hospital agrees to. It refuses a server that asks for less privacy or more work."""

import hashlib
import json
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from audit.core.errors import PolicyError
from audit.core.parcel import Parcel, Scalar


class LocalPolicy(BaseModel):
    """A hospital's own limits for one cell.

    Attributes:
        private: Whether DP is required; False only where the hospital agreed to train without.
        min_noise_multiplier: Lowest acceptable; None without DP.
        max_grad_norm: Highest acceptable clipping norm; None without DP.
        max_sample_rate: Highest acceptable sampling rate of a round's steps.
        max_steps: Most steps in one round.
        rounds: Most rounds.
        delta: Highest acceptable delta of the claim.
        roster: Digest of the pinned identities.
        probes: Whether laboratory probes are answered. Never on a deployment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: str = "audit-policy/v1"
    private: bool
    min_noise_multiplier: float | None
    max_grad_norm: float | None
    max_sample_rate: float
    max_steps: int
    rounds: int
    delta: float
    roster: str
    probes: bool

    def check(self, request: Parcel) -> None:
        """Refuse a training request beyond these limits.

        Raises:
            PolicyError: Names the field, the value asked for, and the limit.
        """
        fields = request.fields
        if self.private:
            _at_least("noise_multiplier", fields, self.min_noise_multiplier or 0.0)
            _at_most("max_grad_norm", fields, self.max_grad_norm or 0.0)
            _at_most("delta", fields, self.delta)
        _at_most("round", fields, self.rounds)
        if fields.get("roster") != self.roster:
            raise PolicyError("roster: the server's differs from the one pinned here")
        if fields.get("kind") == "probe":
            if not self.probes:
                raise PolicyError("kind: 'probe' asked for; this hospital answers none")
            _at_most("local_steps", fields, 1)
            return
        if fields.get("kind") != "round":
            raise PolicyError(f"kind: {fields.get('kind')!r} asked for; expected 'round'")
        _at_most("sample_rate", fields, self.max_sample_rate)
        _at_most("local_steps", fields, self.max_steps)


def roster_digest(public_keys: Mapping[str, bytes]) -> str:
    """Return a digest of the pinned identities: client id to Ed25519 public key."""
    text = json.dumps({name: key.hex() for name, key in sorted(public_keys.items())})
    return hashlib.sha256(text.encode()).hexdigest()


def _number(name: str, fields: Mapping[str, Scalar]) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124
        raise PolicyError(f"{name}: {value!r} asked for; expected a number")
    return float(value)


def _at_least(name: str, fields: Mapping[str, Scalar], limit: float) -> None:
    if _number(name, fields) < limit:
        raise PolicyError(f"{name}: {fields[name]} asked for; this hospital wants at least {limit}")


def _at_most(name: str, fields: Mapping[str, Scalar], limit: float) -> None:
    if _number(name, fields) > limit:
        raise PolicyError(f"{name}: {fields[name]} asked for; this hospital allows at most {limit}")
