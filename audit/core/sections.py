"""Sections of the configuration that stand for themselves, and what all sections share."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MANY_RUNS = 8
"""Fewest audit federations from which a quarter can be set aside for a threshold."""


class Section(BaseModel):
    """A section: strict, and frozen once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number")
    return value


Positive = Annotated[float, BeforeValidator(_finite), Field(gt=0)]
Fraction = Annotated[float, BeforeValidator(_finite), Field(ge=0, lt=1)]


class MiniBatches(Section):
    """Local training in small batches, as hospitals do it in a FedAvg round.

    Attributes:
        size: Records of a step.
        epochs: Steps that each record is in.
        order: Who knows which record is in which batch. ``secret``: the hospital alone, which
            draws it anew for each epoch. ``public``: all, since the public seed draws it; it is
            then auxiliary knowledge of every adversary.
    """

    size: int = Field(ge=1)
    epochs: int = Field(default=1, ge=1, le=100)
    order: Literal["secret", "public"] = "secret"

    def divides(self, records: int) -> bool:
        """Say whether so many records make at least two whole batches."""
        return records > self.size and records % self.size == 0


class AuditConfig(Section):
    """Canary records, which audit the final model: black box.

    Attributes:
        canary: ``mislabelled``: population records with a wrong label; ``blank``: one record of raw
            zeros with the label that the initial model finds least likely.
        canaries: So many records at most in one audit federation, and at most a twentieth of all
            training records. With several runs one: canaries of one run share its noise, and
            rates count guesses that are independent of each other.
        runs: Audit federations of a cell. One: every canary is a guess about the same run. More:
            each run is an observation of its own, which costs as many trainings and shows more.
    """

    canary: Literal["mislabelled", "blank"] = "mislabelled"
    canaries: int = Field(default=1_000, ge=1)
    runs: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _check(self) -> "AuditConfig":
        if self.canary == "blank" and (self.canaries != 1 or self.runs < MANY_RUNS):
            raise ValueError(
                f"canary 'blank' with canaries {self.canaries}, runs {self.runs}: blank records "
                f"are all alike; expected canaries 1 and runs of at least {MANY_RUNS}"
            )
        if 1 < self.runs < MANY_RUNS:
            raise ValueError(f"runs {self.runs}: expected 1, or at least {MANY_RUNS}")
        if self.runs > 1 and self.canaries != 1:
            raise ValueError(
                f"canaries {self.canaries} with runs {self.runs}: canaries of one run are not "
                "independent of each other; expected canaries 1"
            )
        return self


class PretrainingConfig(Section):
    """Where every cell starts: weights trained without DP on the auxiliary records.

    Those are public: no hospital holds them, and every adversary's population is drawn from them.

    Attributes:
        epochs: Passes over them.
        batch_size: Records in a batch.
        learning_rate: Of SGD.
        momentum: Of SGD.
    """

    epochs: int = Field(ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: Positive = 0.1
    momentum: Fraction = 0.9


class RolesConfig(Section):
    """What a gate takes cells for, whatever their epsilon.

    Attributes:
        release_cell: Id of the cell whose model is to be released; None: any private one may be.
        control: Id of the cell without DP that the others are compared with; None: the first at
            infinity that is not to be released.
    """

    release_cell: str | None = None
    control: str | None = None

    def control_of(self, private: Mapping[str, bool]) -> str | None:
        """Return the control.

        Args:
            private: Id of each cell to whether it trains with DP.

        Raises:
            ValueError: A role names a cell that is not there, the control is private, or is to
                be released.
        """
        for role, named in (("release_cell", self.release_cell), ("control", self.control)):
            if named is not None and named not in private:
                raise ValueError(f"roles.{role} {named!r}: expected one of {', '.join(private)}")
        without = [cell for cell in private if not private[cell] and cell != self.release_cell]
        if self.control is None:
            return without[0] if without else None
        if self.control not in without:
            raise ValueError(
                f"roles.control {self.control!r}: expected a cell without DP that is not released"
            )
        return self.control


class PartitionConfig(Section):
    """How records are spread over hospitals; a patient's records never part."""

    method: Literal["iid", "dirichlet", "pathological", "site"] = "iid"
    clients: int = Field(default=3, ge=1)
    alpha: Positive = 0.5
    shards_per_client: int = Field(default=2, ge=1)


class CandidatesConfig(Section):
    """How many records the membership game asks about, at most; it asks about as many of one kind
    as of the other, so the smaller number decides.
    """

    members: int = Field(default=10_000, ge=1)
    nonmembers: int = Field(default=10_000, ge=1)
