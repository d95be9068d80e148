"""The exception tree. Each class carries the exit code that the command line returns for it."""


class AuditError(Exception):
    """Base of every error that this project raises on purpose; the message is shown to the user."""

    exit_code = 5


class ConfigError(AuditError):
    """Usage or configuration: a path that does not exist, an unknown key, metric or name."""

    exit_code = 2


class DataError(ConfigError):
    """A data file is missing, truncated, or not of the shape that the configuration says."""


class MissingEvidenceError(AuditError):
    """A directory is no run, or the run lacks what was asked for."""

    exit_code = 4


class IntegrityError(AuditError):
    """Stored bytes are damaged, or not the ones that the manifest names."""


class PatientDataError(AuditError):
    """Evidence that is about to leave would name a patient or show a record."""


class LockedRunError(AuditError):
    """Another process is using the run directory."""


class ProtocolError(AuditError):
    """A message breaks the aggregation protocol, or too few clients are left to unmask a sum."""


class PolicyError(AuditError):
    """A hospital refused a request that goes beyond its own policy."""


class PrivacyClaimError(AuditError):
    """A privacy claim does not survive its independent recomputation."""


class ViewError(AuditError):
    """A view lacks what an attack needs."""

    exit_code = 4
