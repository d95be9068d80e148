"""What all kinds of audit cells share: data, coins, federations of the released cell's recipe."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.core.config import CellConfig, Config
from audit.formats.files import read_json
from audit.pipeline.audit_federation import AuditFederation
from audit.pipeline.audit_jobs import canary_secret, job_key
from audit.pipeline.prepare import Prepared, prepare
from audit.store.run import RunDirectory
from audit.vault import Vault
from training.canaries import Canaries
from training.data.configured import data_root
from training.faults import Fault
from training.models import TorchArchitecture
from training.randomness import derived_key


class CanaryDealer:
    """Makes audit federations of a run, and notes which of their canaries are in.

    Args:
        run: The run.
        config: Its configuration.
    """

    def __init__(self, run: RunDirectory, config: Config) -> None:
        self._run, self._config = run, config
        self._vault = Vault(run.secrets)

    @cached_property
    def prepared(self) -> Prepared:
        """The run's data."""
        return prepare(self._config)

    @cached_property
    def secret(self) -> bytes:
        """The key from which coins follow.

        Raises:
            MissingEvidenceError: The secrets are gone: canaries cannot be dealt.
        """
        return canary_secret(self._config, self._vault)

    def federation(
        self,
        cell: CellConfig,
        built: TorchArchitecture,
        *,
        name: str,
        folder: Path,
        parts: Sequence[NDArray[np.int64]],
        canaries: Sequence[Canaries],
        ledgers: Path | None = None,
        fault: Fault | None = None,
    ) -> AuditFederation:
        """Return a federation of a cell's recipe.

        Args:
            cell: Which cell.
            built: Its model.
            name: Unique in the cell.
            folder: Where what is seen of it is kept.
            parts: Records of each hospital, indices into the dataset.
            canaries: Of each hospital.
            ledgers: Where hospitals are charged; None: no patient's record is in it.
            fault: What is broken in every hospital; self-tests only.
        """
        reproduction = self._config.reproduction
        return AuditFederation(
            config=self._config,
            cell=cell,
            architecture=built,
            noise_multiplier=read_json(self._run.cell(cell.id).summary)["noise_multiplier"],
            spec=self.prepared.spec,
            root=data_root().absolute(),
            folder=folder,
            name=name,
            parts=tuple(parts),
            canaries=tuple(canaries),
            ledgers=ledgers,
            noise_master=derived_key(self.secret, name, "noise") if reproduction else None,
            fault=fault,
        )

    def note(self, federation: AuditFederation, present: NDArray[np.bool_]) -> str:
        """Keep which canaries are in, in the secrets, and return the federation's key."""
        salt = derived_key(self.secret, "keys")
        key = job_key(federation, self.prepared.dataset.sha256, salt=salt)
        self._vault.write_canaries(federation.cell.id, key, present)
        return key
