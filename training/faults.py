"""Broken hospitals: faults that the self-test plants to see whether the audits find them.

A fault is an object that is handed to the client app in code. No configuration and no message can
bring one in; a run that carries one says so in its record.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from training.accounting import solve_noise_multiplier
from training.local_plan import LocalPlan
from training.randomness import NoiseStream, derived_key, fresh_key
from training.steps import Broken

if TYPE_CHECKING:
    from training.plan import CellPlan

Update = NDArray[np.float32]

UNCLIPPED = 1e6
"""A clipping norm that no gradient reaches."""


@dataclass(frozen=True)
class Fault:
    """A hospital without fault; each subclass breaks one thing."""

    name: ClassVar[str] = "none"
    title: ClassVar[str] = "nothing is broken"

    def inputs(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the records as they enter training, canaries among them."""
        return inputs

    def used(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what is handed to training of records or canaries, shape (records,)."""
        return records

    def local_plan(self, plan: LocalPlan, cell: "CellPlan") -> LocalPlan:
        """Return what is done where ``plan`` was agreed."""
        del cell
        return plan

    def noise(self, key: bytes, client: str, session: str) -> NoiseStream:
        """Return the stream that noise is drawn from, where a fresh key was meant."""
        del client, session
        return NoiseStream(key)

    def broken(self) -> Broken | None:
        """Return what makes the optimiser of a private step another one; None: sound."""
        return None

    def sent(self, update: Update, again: Callable[[NoiseStream], Update]) -> Update:
        """Return what leaves the hospital.

        Args:
            update: What should leave.
            again: Trains once more on the same batches with other noise.
        """
        del again
        return update

    def truth(self, member: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which canaries are noted as trained on."""
        return member


class ScaledNoise(NoiseStream):
    """Noise of another size."""

    def __init__(self, key: bytes, factor: float) -> None:
        super().__init__(key)
        self._factor = factor

    def gaussian(self, count: int) -> NDArray[np.float64]:
        """Return Gaussians of deviation ``factor``."""
        return self._factor * super().gaussian(count)


class NarrowSeedNoise(NoiseStream):
    """Noise of torch's generator, which keeps 32 bits of a seed.

    Args:
        key: Gives the seed.
    """

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.seed = int.from_bytes(key[:4], "little")
        self._generator = torch.Generator().manual_seed(self.seed)

    def gaussian(self, count: int) -> NDArray[np.float64]:
        """Return Gaussians of torch's generator."""
        return torch.randn(count, generator=self._generator).double().numpy()


@dataclass(frozen=True)
class NoNoise(Fault):
    """DP-SGD without its noise."""

    name: ClassVar[str] = "no-noise"
    title: ClassVar[str] = "no noise"

    def noise(self, key: bytes, client: str, session: str) -> NoiseStream:
        """Return silence."""
        del client, session
        return ScaledNoise(key, 0.0)


@dataclass(frozen=True)
class TenthOfNoise(Fault):
    """A slip in a decimal place."""

    name: ClassVar[str] = "tenth-of-noise"
    title: ClassVar[str] = "a tenth of the noise"

    def noise(self, key: bytes, client: str, session: str) -> NoiseStream:
        """Return noise of a tenth of the size."""
        del client, session
        return ScaledNoise(key, 0.1)


@dataclass(frozen=True)
class NoClipping(Fault):
    """Gradients of any length; the noise is sized for clipped ones."""

    name: ClassVar[str] = "no-clipping"
    title: ClassVar[str] = "no clipping"

    def local_plan(self, plan: LocalPlan, cell: "CellPlan") -> LocalPlan:
        """Raise the clipping norm out of reach and keep the noise as it is."""
        del cell
        if plan.noise_multiplier is None or plan.max_grad_norm is None:
            return plan
        noise = plan.noise_multiplier * plan.max_grad_norm / UNCLIPPED
        return replace(plan, max_grad_norm=UNCLIPPED, noise_multiplier=noise)


@dataclass(frozen=True)
class BatchClipping(NoClipping):
    """The batch's mean gradient is clipped, once; the noise is sized for clipped records."""

    name: ClassVar[str] = "batch-clipping"
    title: ClassVar[str] = "clipping by batch instead of by record"
    norm: float = 1.0

    def broken(self) -> Broken:
        """Return an optimiser that clips the mean gradient before it adds noise."""

        def clipped(base: type[Any]) -> type[Any]:
            class MeanClipping(base):  # type: ignore[misc]
                def add_noise(this) -> None:  # noqa: N805
                    total = sum(float(p.summed_grad.square().sum()) for p in this.params)
                    most = self.norm * this.expected_batch_size
                    for p in this.params:
                        p.summed_grad *= min(1.0, most / (total**0.5 + 1e-6))
                    super().add_noise()

            return MeanClipping

        return clipped


@dataclass(frozen=True)
class AccountantReset(Fault):
    """The noise is solved for one round, as if no other had been."""

    name: ClassVar[str] = "accountant-reset"
    title: ClassVar[str] = "the accountant reset in each round"

    def local_plan(self, plan: LocalPlan, cell: "CellPlan") -> LocalPlan:
        """Return the plan with the noise that one round alone needs."""
        if plan.noise_multiplier is None or cell.noise_epsilon is None:
            return plan
        alone = solve_noise_multiplier(
            target_epsilon=cell.noise_epsilon,
            delta=cell.delta,
            sample_rate=plan.sample_rate,
            steps=plan.steps,
        )
        return replace(plan, noise_multiplier=alone)


@dataclass(frozen=True)
class SameNoiseEverywhere(Fault):
    """Every hospital seeds its noise alike."""

    name: ClassVar[str] = "same-noise"
    title: ClassVar[str] = "the same noise at every hospital"
    shared: bytes = field(default_factory=fresh_key)

    def noise(self, key: bytes, client: str, session: str) -> NoiseStream:
        """Return a stream that only the session names."""
        del key, client
        return NoiseStream(derived_key(self.shared, session))


@dataclass(frozen=True)
class ReusedNoise(Fault):
    """The noise stream begins anew in each round."""

    name: ClassVar[str] = "reused-noise"
    title: ClassVar[str] = "the noise stream reused in every round"
    shared: bytes = field(default_factory=fresh_key)

    def noise(self, key: bytes, client: str, session: str) -> NoiseStream:
        """Return a stream that only the hospital names."""
        del key, session
        return NoiseStream(derived_key(self.shared, client))


@dataclass(frozen=True)
class NarrowSeed(Fault):
    """Noise from a generator with a 32-bit seed."""

    name: ClassVar[str] = "narrow-seed"
    title: ClassVar[str] = "noise from a generator with a 32-bit seed"

    def noise(self, key: bytes, client: str, session: str) -> NoiseStream:
        """Return torch's generator."""
        del client, session
        return NarrowSeedNoise(key)


@dataclass(frozen=True)
class NoSampling(Fault):
    """Amplification by sampling is claimed, and every record is in every batch."""

    name: ClassVar[str] = "no-sampling"
    title: ClassVar[str] = "a sampling rate claimed but not used"

    def local_plan(self, plan: LocalPlan, cell: "CellPlan") -> LocalPlan:
        """Return the plan at sampling rate 1."""
        del cell
        return replace(plan, sample_rate=1.0)


@dataclass(frozen=True)
class RecordsTwice(Fault):
    """Every record is loaded twice, and clipped and sampled twice; the sampling rate is for one."""

    name: ClassVar[str] = "records-twice"
    title: ClassVar[str] = "every record of a hospital used twice"

    def used(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return each record, and each again."""
        return np.concatenate([records, records])


@dataclass(frozen=True)
class SentBeforeNoise(Fault):
    """The hospital keeps the noised update and sends the one before it."""

    name: ClassVar[str] = "sent-before-noise"
    title: ClassVar[str] = "the update sent before the noise"

    def sent(self, update: Update, again: Callable[[NoiseStream], Update]) -> Update:
        """Return the update of the same batches without noise."""
        del update
        return again(ScaledNoise(bytes(32), 0.0))


@dataclass(frozen=True)
class PrivateStatistics(Fault):
    """Each hospital standardises by the mean and deviation of its own records."""

    name: ClassVar[str] = "private-statistics"
    title: ClassVar[str] = "statistics fitted on private data fed to the model"

    def inputs(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the records standardised by themselves."""
        standardised: NDArray[np.float32] = (inputs - inputs.mean()) / (inputs.std() + 1e-6)
        return standardised


@dataclass(frozen=True)
class SwappedTruth(Fault):
    """The truth file has members and non-members swapped: an audit would see nothing."""

    name: ClassVar[str] = "swapped-truth"
    title: ClassVar[str] = "truth file with members and non-members swapped"

    def truth(self, member: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the complement."""
        return ~member


FAULTS: tuple[type[Fault], ...] = (
    NoNoise,
    TenthOfNoise,
    NoClipping,
    BatchClipping,
    AccountantReset,
    SameNoiseEverywhere,
    NoSampling,
    RecordsTwice,
    SentBeforeNoise,
    PrivateStatistics,
    ReusedNoise,
    NarrowSeed,
    SwappedTruth,
)
"""Every fault that the self-test plants."""
