"""Names of a run's records and patients, and its secret keys: none of these may leave it."""

from audit.core.errors import MissingEvidenceError
from audit.formats.parcels import read_parcel
from audit.store.run import RunDirectory
from audit.vault import Vault


def forbidden_words(run: RunDirectory) -> frozenset[str]:
    """Return the pseudonyms of candidates and of their patients, and the keys in hexadecimal.

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
        vault = Vault(run.secrets)
        truth = vault.membership()
        if run.config.reproduction:
            found.add(vault.noise_key())
        if (vault.path / "canary_key.json").is_file():
            found.add(vault.canary_key(bytes).hex())
    except MissingEvidenceError:
        return frozenset(found)
    return frozenset(found | set(truth.member) | set(truth.groups.get("patient", {}).values()))
