"""What a run calls its records and patients: none of these names may leave it."""

from audit.core.errors import MissingEvidenceError
from audit.formats.parcels import read_parcel
from audit.store.run import RunDirectory
from audit.vault import Vault


def record_ids(run: RunDirectory) -> frozenset[str]:
    """Return the pseudonyms of candidates and of their patients.

    With the secrets gone, patients' pseudonyms are not known any more, and those of the
    candidates come from the cells. ``reports.guard`` finds pseudonyms of this project's making
    besides, whether they are listed or not.

    Args:
        run: A trained run.

    Raises:
        IntegrityError: What holds them is damaged.
    """
    found: set[str] = set()
    for cell in run.config.cells:
        path = run.cell(cell.id).candidates
        if path.is_file():
            ids = read_parcel(path).fields["ids"]
            found |= {str(name) for name in ids} if isinstance(ids, list) else set()
    try:
        truth = Vault(run.secrets).membership()
    except MissingEvidenceError:
        return frozenset(found)
    return frozenset(found | set(truth.member) | set(truth.groups.get("patient", {}).values()))
