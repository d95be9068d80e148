"""What is signed about a bundle: an in-toto statement that tests were run, and how they ended.

Source:
    in-toto attestation framework: Statement v1 (spec/v1/statement.md) and the predicate Test
    Result v0.1 (spec/predicates/test-result.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from audit.core.errors import IntegrityError
from audit.signing.canonical import canonical_json, parse_strictly
from audit.signing.manifest import ATTESTATION, MANIFEST

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


class Ending(StrEnum):
    """How all tests together ended."""

    PASSED = "PASSED"
    WARNED = "WARNED"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """What an audit found, as names of tests.

    Args:
        passed: Tests that passed, such as ``eps-1: claim against the server: consistent``.
        warned: Tests that could not tell, such as an underpowered audit.
        failed: Tests that failed, such as a violated claim.
        configuration: Files of the bundle by which the tests were run, such as
            ``config.resolved.yaml``.
        url: Of the run, where it has one.

    Raises:
        ValueError: A test is named twice, or there is none: nothing tested is not passed.
    """

    passed: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    configuration: tuple[str, ...] = ("config.resolved.yaml",)
    url: str | None = None

    def __post_init__(self) -> None:
        names = [*self.passed, *self.warned, *self.failed]
        if not names:
            raise ValueError("a test result needs at least one test, be it one that could not run")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the test {twice!r} is named twice")

    @property
    def ending(self) -> Ending:
        """The worst that a test came to."""
        if self.failed:
            return Ending.FAILED
        return Ending.WARNED if self.warned else Ending.PASSED


def statement_bytes(
    result: AuditResult, *, manifest_sha256: str, hashes: Mapping[str, str]
) -> bytes:
    """Return the statement about a bundle, as canonical JSON.

    Args:
        result: What was found.
        manifest_sha256: The statement's subject.
        hashes: Of the bundle's files; those of the configuration are named in the statement.

    Raises:
        ValueError: The bundle has no such configuration file.
    """
    missing = [name for name in result.configuration if name not in hashes]
    if missing:
        raise ValueError(f"configuration {missing[0]!r} is not in the bundle")
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": MANIFEST, "digest": {"sha256": manifest_sha256}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "result": result.ending.value,
                "configuration": [
                    {"name": name, "digest": {"sha256": hashes[name]}}
                    for name in result.configuration
                ],
                **({"url": result.url} if result.url is not None else {}),
                "passedTests": list(result.passed),
                "warnedTests": list(result.warned),
                "failedTests": list(result.failed),
            },
        }
    )


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a statement says.

    Args:
        result: What was found.
        manifest_sha256: Of the manifest that it is about.
        configuration: Name to SHA-256 of the files by which the tests were run.
    """

    result: AuditResult
    manifest_sha256: str
    configuration: Mapping[str, str]


def read_statement(content: bytes) -> Statement:
    """Read a statement.

    Args:
        content: The signed bytes.

    Raises:
        IntegrityError: It is not exactly what ``statement_bytes`` gives.
    """
    where = f"{ATTESTATION}: its statement"
    parsed = parse_strictly(content, where=where)
    try:
        (subject,) = parsed["subject"]
        predicate, used = parsed["predicate"], parsed["predicate"]["configuration"]
        statement = Statement(
            result=AuditResult(
                passed=_names(predicate["passedTests"]),
                warned=_names(predicate["warnedTests"]),
                failed=_names(predicate["failedTests"]),
                configuration=_names([one["name"] for one in used]),
                url=predicate.get("url"),
            ),
            manifest_sha256=subject["digest"]["sha256"],
            configuration={one["name"]: one["digest"]["sha256"] for one in used},
        )
        again = statement_bytes(
            statement.result,
            manifest_sha256=statement.manifest_sha256,
            hashes=statement.configuration,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(f"{where} is not a test result as expected: {error}") from None
    if again != content:
        raise IntegrityError(f"{where} is not a test result as expected")
    return statement


def _names(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(name, str) for name in values):
        raise TypeError("expected lists of names")
    return tuple(values)
