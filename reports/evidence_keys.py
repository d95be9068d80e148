"""The fixed words for what a bundle may hold as evidence, and how much of it a run has."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from types import MappingProxyType


class EvidenceKey(StrEnum):
    """One kind of artefact; ``MEANING`` says what each stands for."""

    DP_CLAIM = "dp_claim"
    DP_PARAMETERS = "dp_parameters"
    PRIVACY_CURVE = "privacy_curve"
    BUDGET_BY_HOSPITAL = "budget_by_hospital"
    SECURE_AGGREGATION = "secure_aggregation"
    ADVERSARIES = "adversaries"
    MEMBERSHIP = "membership"
    MEMBERSHIP_BY_GROUP = "membership_by_group"
    DP_AUDIT = "dp_audit"
    SELFTEST = "selftest"
    INVERSION = "inversion"
    ATTRIBUTE_INFERENCE = "attribute_inference"
    UTILITY = "utility"
    UTILITY_BY_GROUP = "utility_by_group"
    COVERAGE_MATRIX = "coverage_matrix"
    POSITIVE_CONTROLS = "positive_controls"
    GATE = "gate"
    RESIDUAL_RISK = "residual_risk"
    DATA_DESCRIPTION = "data_description"
    MODEL_DESCRIPTION = "model_description"
    REPRODUCTION = "reproduction"
    ENVIRONMENT = "environment"
    EVENT_LOG = "event_log"
    SIGNATURE = "signature"
    LIMITS_STATED = "limits_stated"
    HOSPITAL_LEDGER = "hospital_ledger"
    NOISE_SOURCE = "noise_source"


MEANING: Mapping[EvidenceKey, str] = MappingProxyType(
    {
        EvidenceKey.DP_CLAIM: "claims of differential privacy: unit, adversary, assumptions",
        EvidenceKey.DP_PARAMETERS: "noise multiplier, clipping norm, sampling rate, steps, delta",
        EvidenceKey.PRIVACY_CURVE: "epsilon of the whole run over delta, computed twice",
        EvidenceKey.BUDGET_BY_HOSPITAL: "what each hospital spent in this run, in all rounds",
        EvidenceKey.SECURE_AGGREGATION: "the protocol, its threshold, and what the server saw",
        EvidenceKey.ADVERSARIES: "who was assumed to see what, and with which side knowledge",
        EvidenceKey.MEMBERSHIP: "membership inference: value, interval, chance level, n",
        EvidenceKey.MEMBERSHIP_BY_GROUP: "membership inference for each group of patients",
        EvidenceKey.DP_AUDIT: "empirical lower bounds on epsilon, against the claims",
        EvidenceKey.SELFTEST: "what the instrument found on mechanisms whose epsilon is known",
        EvidenceKey.INVERSION: "reconstruction of records from updates, against prior guesses",
        EvidenceKey.ATTRIBUTE_INFERENCE: "inference of a sensitive field, against imputation",
        EvidenceKey.UTILITY: "accuracy of each released model, with interval and baseline",
        EvidenceKey.UTILITY_BY_GROUP: "accuracy for each group of patients",
        EvidenceKey.COVERAGE_MATRIX: "which attack ran against which adversary, and which did not",
        EvidenceKey.POSITIVE_CONTROLS: "settings that leak by construction, and what was found",
        EvidenceKey.GATE: "the comparison with an approved baseline and policy",
        EvidenceKey.RESIDUAL_RISK: "what remains, in patients out of 10,000",
        EvidenceKey.DATA_DESCRIPTION: "source, size, split and groups of the data",
        EvidenceKey.MODEL_DESCRIPTION: "architecture, training recipe and what is released",
        EvidenceKey.REPRODUCTION: "configuration and commands that make the run again",
        EvidenceKey.ENVIRONMENT: "versions and digests of code and packages, and the machine",
        EvidenceKey.EVENT_LOG: "what was done when, from training to report",
        EvidenceKey.SIGNATURE: "a signed attestation over every file of the bundle",
        EvidenceKey.LIMITS_STATED: "what stays outside of every guarantee and measurement",
        EvidenceKey.HOSPITAL_LEDGER: "each hospital's durable record of spending over all runs",
        EvidenceKey.NOISE_SOURCE: "where the noise came from, and whether it can be made again",
    }
)
"""One line a key, for reports."""


class EvidenceStatus(StrEnum):
    """How much of an artefact, or of the evidence for a requirement, a run has."""

    PRESENT = "present"
    PARTIAL = "partial"
    ABSENT = "absent"


@dataclass(frozen=True)
class EvidenceState:
    """What a run says of one key.

    Args:
        status: Of the artefact.
        file: Its path inside the bundle, relative and with forward slashes; None where absent.
        reason: Why it is not whole; may be empty where it is present.

    Raises:
        ValueError: An artefact without its file, a file outside of the bundle, or a lack without
            its reason.
    """

    status: EvidenceStatus
    file: str | None
    reason: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.status, EvidenceStatus):
            raise ValueError(f"status: got {self.status!r}, expected an EvidenceStatus")
        if (self.file is None) != (self.status is EvidenceStatus.ABSENT):
            raise ValueError(
                f"file: got {self.file!r} for {self.status.value} evidence; expected a path in the "
                "bundle, and None only for absent evidence"
            )
        if self.file is not None and not _inside(self.file):
            raise ValueError(f"file: got {self.file!r}, expected a relative path in the bundle")
        if self.status is not EvidenceStatus.PRESENT and not self.reason.strip():
            raise ValueError(f"reason: is empty; expected why evidence is {self.status.value}")


def _inside(file: str) -> bool:
    path = PurePosixPath(file)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
