"""What a hospital agrees to. It refuses a server that asks for less privacy or more work."""

import hashlib
import json
import math
import re
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from audit.core.errors import PolicyError
from audit.core.parcel import Parcel, Scalar

MOST_SHIFT = 32
"""Pixels; a larger shift would only fill the hospital's memory."""

_KIND = r"(-s[0-9]{1,3}|-m[0-9]{1,6}-e[0-9]{1,3}(-open)?)?"
_SESSION = re.compile(rf"round-[0-9]{{3,6}}(/probe-b[0-9]{{1,6}}{_KIND}-r[0-9]{{1,6}})?")


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
        max_probe_steps: Most steps of one probe that a record is in.
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
    max_probe_steps: int = 1

    def check(self, request: Parcel) -> None:
        """Refuse a training request beyond these limits, or one that makes no sense.

        A round's session is named after its number, so that there are at most ``rounds`` of them.

        Raises:
            PolicyError: Names the field, the value asked for, and the limit.
        """
        fields = request.fields
        if fields.get("roster") != self.roster:
            raise PolicyError("roster: the server's differs from the one pinned here")
        kind = fields.get("kind")
        if kind not in ("round", "probe"):
            raise PolicyError(f"kind: {kind!r} asked for; expected 'round'")
        if kind == "probe" and not self.probes:
            raise PolicyError("kind: 'probe' asked for; this hospital answers none")
        self._check_session(fields, probe=kind == "probe")
        self._check_privacy(fields)
        _whole("local_steps", fields)
        if "mini_batch" in fields:
            self._check_mini_batches(fields, probe=kind == "probe")
        else:
            most = self.max_probe_steps if kind == "probe" else self.max_steps
            _at_most("local_steps", fields, most)
        _above_zero("sample_rate", fields)
        _at_most("sample_rate", fields, 1.0 if kind == "probe" else self.max_sample_rate)
        _above_zero("expected_batch_size", fields)
        _above_zero("learning_rate", fields)
        _whole("augment_shift", fields, least=0)
        _at_most("augment_shift", fields, MOST_SHIFT)
        if "class_priors" in fields:
            _shares("class_priors", fields)
        _at_least("momentum", fields, 0.0)
        _at_most("momentum", fields, 1.0)

    def _check_session(self, fields: Mapping[str, Scalar], *, probe: bool) -> None:
        number = _whole("round", fields)
        _at_most("round", fields, self.rounds)
        folder, _, rest = session_name(fields).partition("/")
        if folder != f"round-{number:03d}" or bool(rest) != probe:
            raise PolicyError(
                f"session: {fields['session']!r} asked for; expected one of round {number}"
            )

    def _check_mini_batches(self, fields: Mapping[str, Scalar], *, probe: bool) -> None:
        """Each record is in one step an epoch; the hospital counts the steps themselves."""
        if not probe:
            raise PolicyError("mini_batch: asked for in a round; expected a probe")
        _whole("mini_batch", fields)
        _whole("epochs", fields)
        _at_most("epochs", fields, self.max_probe_steps)
        if fields.get("order") not in ("public", "secret"):
            raise PolicyError(f"order: {fields.get('order')!r} asked for; expected 'secret'")

    def _check_privacy(self, fields: Mapping[str, Scalar]) -> None:
        if self.private:
            _at_least("noise_multiplier", fields, self.min_noise_multiplier or math.inf)
            _at_most("max_grad_norm", fields, self.max_grad_norm or 0.0)
            _above_zero("delta", fields)
            _at_most("delta", fields, self.delta)
        if self.private or "noise_multiplier" in fields:
            _above_zero("noise_multiplier", fields)
            _above_zero("max_grad_norm", fields)
            _above_zero("loss_scale", fields)


def session_name(fields: Mapping[str, Scalar]) -> str:
    """Return a request's session, which also names files: nothing but a round or a probe.

    Raises:
        PolicyError: It is no name of a session.
    """
    name = fields.get("session")
    if not isinstance(name, str) or not _SESSION.fullmatch(name):
        raise PolicyError(f"session: {name!r} asked for; expected a name such as 'round-001'")
    return name


def roster_digest(public_keys: Mapping[str, bytes]) -> str:
    """Return a digest of the pinned identities: client id to Ed25519 public key."""
    text = json.dumps({name: key.hex() for name, key in sorted(public_keys.items())})
    return hashlib.sha256(text.encode()).hexdigest()


def _number(name: str, fields: Mapping[str, Scalar]) -> float:
    value = fields.get(name)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(float(value))
    ):
        raise PolicyError(f"{name}: {value!r} asked for; expected a finite number")
    return float(value)


def _whole(name: str, fields: Mapping[str, Scalar], least: int = 1) -> int:
    if isinstance(fields.get(name), float) or _number(name, fields) < least:
        raise PolicyError(
            f"{name}: {fields[name]!r} asked for; expected a whole number from {least}"
        )
    return int(_number(name, fields))


def _shares(name: str, fields: Mapping[str, Scalar]) -> None:
    value = fields[name]
    if not isinstance(value, list) or not all(isinstance(v, float) and 0 < v <= 1 for v in value):
        raise PolicyError(f"{name}: {value!r} asked for; expected shares above 0 and up to 1")


def _above_zero(name: str, fields: Mapping[str, Scalar]) -> None:
    if _number(name, fields) <= 0:
        raise PolicyError(f"{name}: {fields[name]!r} asked for; expected a number above 0")


def _at_least(name: str, fields: Mapping[str, Scalar], limit: float) -> None:
    if _number(name, fields) < limit:
        raise PolicyError(
            f"{name}: {fields[name]!r} asked for; this hospital wants at least {limit}"
        )


def _at_most(name: str, fields: Mapping[str, Scalar], limit: float) -> None:
    if _number(name, fields) > limit:
        raise PolicyError(
            f"{name}: {fields[name]!r} asked for; this hospital allows at most {limit}"
        )
