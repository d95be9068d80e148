"""Baselines made and opened: approved from runs, signed, and refused when expired or changed."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from audit.core.errors import ConfigError, IntegrityError, MissingEvidenceError
from audit.formats.baseline import Approval, Baseline, read_baseline
from audit.formats.files import write_json
from audit.gate.facts import held, read_facts
from audit.store.run import RunDirectory

SIGNATURE_SUFFIX = ".dsse.json"


def approve(
    runs: Sequence[RunDirectory],
    out: Path,
    *,
    by: str,
    reason: str,
    expires: date | None = None,
    key: Path | None = None,
    today: date | None = None,
) -> Baseline:
    """Write a baseline from a run, or from several seeds of one configuration.

    Args:
        runs: At least one.
        out: Replaced if it exists, with its signature.
        by, reason: Who approves, and why.
        expires: The last day on which a gate accepts it.
        key: Private key that signs it.
        today: For tests.

    Raises:
        ConfigError: Who or why is empty, the expiry has passed, or the key is not usable.
        MissingEvidenceError, IntegrityError: As of ``read_facts``.
        LockedRunError: A run is still being trained or attacked.
    """
    for name, text in (("--by", by), ("--reason", reason)):
        if not text.strip():
            raise ConfigError(f"{name} is empty: expected who approves, and why")
    if expires is not None and expires < (today or datetime.now(UTC).date()):
        raise ConfigError(f"--expires {expires} has passed: expected a day to come")
    signer = None
    if key is not None:
        from audit.signing.keys import load_private_key

        signer = load_private_key(key)
    with held(runs):
        facts = read_facts(runs)
    baseline = Baseline(
        schema="audit-baseline/v1",
        approved=Approval(
            by=by.strip(),
            reason=reason.strip(),
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            expires=expires,
            public_key=signer.public_key.keyval["public"] if signer is not None else None,
        ),
        runs=facts.runs,
        cells=tuple(cell.model_copy(update={"audits": ()}) for cell in facts.cells),
        controls=facts.controls,
    )
    beside = out.with_name(out.name + SIGNATURE_SUFFIX)
    beside.unlink(missing_ok=True)
    write_json(out, baseline.model_dump(mode="json", by_alias=True))
    if signer is not None:
        from audit.signing.signed_file import sign_file

        sign_file(out, signer)
    return baseline


def open_baseline(
    path: Path, *, key: Path | None = None, today: date | None = None
) -> tuple[Baseline, str, str]:
    """Read a baseline that may be gated against.

    Without a key a signature is checked with the public key that the baseline names: that shows
    that nothing was changed since, and not who signed.

    Args:
        path: Of ``baseline.json``; its signature lies beside it.
        key: Public key that must have signed it.
        today: For tests.

    Returns:
        The baseline, the SHA-256 of its bytes, and what is known of its signature.

    Raises:
        ConfigError: There is no such file, or the key is not usable.
        IntegrityError: It is damaged, or its signature is bad or gone.
        MissingEvidenceError: It expired, has another schema, or NaN in it.
    """
    baseline, content = read_baseline(path)
    signature = signature_of(path, baseline, content, key)
    expires = baseline.approved.expires
    if expires is not None and expires < (today or datetime.now(UTC).date()):
        raise MissingEvidenceError(
            f"baseline {path} expired on {expires}: approve a run again (audit baseline approve)"
        )
    return baseline, hashlib.sha256(content).hexdigest(), signature


def signature_of(path: Path, baseline: Baseline, content: bytes, key: Path | None) -> str:
    """Return what is known of a baseline's signature; errors as of ``open_baseline``."""
    named, beside = baseline.approved.public_key, path.with_name(path.name + SIGNATURE_SUFFIX)
    if key is None and named is None:
        if beside.exists():
            raise IntegrityError(f"baseline {path} names no key, and {beside.name} lies beside it")
        return "none"
    from securesystemslib.signer import SSlibKey

    from audit.signing.keys import load_public_key
    from audit.signing.signed_file import check_file

    if key is not None:
        public = load_public_key(key)
    else:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(named or ""))
        except ValueError:
            raise IntegrityError(f"baseline {path}: public_key {named!r} is no key") from None
        public = SSlibKey.from_crypto(raw)
    if check_file(path, public) != content:
        raise IntegrityError(f"baseline {path} was changed while it was read")
    return "valid" if key is not None else "valid by the key that it names; give --key to pin it"
