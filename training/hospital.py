"""One hospital: it checks a request against its policy, trains, pays, and only then answers."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.core.errors import PolicyError
from audit.core.parcel import Parcel
from audit.store.parcels import parcel_digest
from training.accounting import Mechanism, spent_epsilon
from training.data.dataset import Dataset
from training.data.loaders import load_dataset
from training.data.spec import DataSpec
from training.dp_sgd import LocalPlan, LocalResult, train_locally
from training.journal import Release, SessionJournal, session_folder, stored_reply
from training.ledger import Charge, Ledger
from training.plan import CellPlan, HospitalSetup
from training.protocols import client_protocol
from training.randomness import NoiseStream, derived_key, fresh_key
from training.secagg.protocol import Session
from training.wire import METRIC, own_part, protocol_part


@dataclass(frozen=True, kw_only=True)
class Spent:
    """The budget that a hospital's client state carries from round to round.

    Args:
        steps: DP steps made so far in this cell.
    """

    steps: int = 0


class Hospital:
    """The client side of one cell at one hospital.

    Args:
        plan: The cell.
        client: Which hospital this is.
    """

    def __init__(self, plan: CellPlan, client: str) -> None:
        self.plan = plan
        self.client = client
        self.folder = plan.cell.client(client)
        self.setup = HospitalSetup.load(self.folder)
        self._protocol = client_protocol(
            plan.aggregation,
            client,
            self.setup.signing_identity,
            self.setup.pinned_roster if len(self.setup.roster) > 1 else None,
        )
        self._ledger = Ledger(plan.ledgers, client=client, dataset=self.setup.dataset)

    def handle(self, stage: str, request: Parcel, spent: Spent) -> tuple[Parcel, Spent]:
        """Answer one request.

        The same request gets the stored bytes again; another one for an answered stage is
        refused.

        Args:
            stage: ``hello``, or a stage of the protocol.
            request: What the server sent.
            spent: The budget carried so far.

        Returns:
            The reply, and the budget after it.

        Raises:
            PolicyError: The request goes beyond the hospital's policy.
            ProtocolError: The request breaks the aggregation protocol.
        """
        if stage == "hello":
            return Parcel(fields={"client": self.client}), spent
        name = str(request.fields.get("session", ""))
        journal = SessionJournal(self.client, self.folder, name)
        digest = parcel_digest(request)
        reply = journal.reply(stage, digest)
        if reply is None:
            if stage == "train":
                spent = spent if spent.steps else self._spent_on_disk(name)
                reply, state = self._train(request, name, journal, digest, spent)
            else:
                reply, state = self._protocol.answer(
                    self._session(name), stage, protocol_part(request), journal.state()
                )
            journal.store(stage, digest, reply, state)
        if stage == "train" and request.fields.get("kind") == "round":
            spent = Spent(steps=int(str(reply.fields[METRIC + "steps"])))
        return reply, spent

    def _spent_on_disk(self, name: str) -> Spent:
        """Return the budget after the last round before this one: Flower forgets at a restart."""
        current, _ = session_folder(name)
        for path in sorted(self.folder.glob("round-*/round.train.safetensors"), reverse=True):
            if path.parent.name < current:
                steps = stored_reply(path).fields[METRIC + "steps"]
                return Spent(steps=int(str(steps)))
        return Spent()

    def _session(self, name: str) -> Session:
        parameters = sum(p.numel() for p in self.plan.architecture.build().parameters())
        return Session(label=self.plan.label(name), dimension=parameters)

    def _train(
        self, request: Parcel, name: str, journal: SessionJournal, digest: str, spent: Spent
    ) -> tuple[Parcel, Parcel | None]:
        """Train, keep the update, pay for it, mask it: in this order."""
        self.setup.policy.check(request)
        plan = _local_plan(request)
        release = journal.release(digest)
        if release is None:
            release = self._release(request, name, plan)
            journal.store_release(digest, release)
        self._ledger.charge(
            Charge(
                run=self.plan.run_id,
                cell=self.plan.config.id,
                session=name,
                kind=str(request.fields["kind"]),
                steps=plan.steps,
                sample_rate=plan.sample_rate,
                noise_multiplier=plan.noise_multiplier,
                reproduction=self.plan.noise_master is not None,
            )
        )
        protected, state = self._protocol.protect(
            self._session(name),
            release.update.astype(np.float64),
            protocol_part(request),
            journal.state(),
        )
        return self._with_metrics(protected, request, plan, spent), state

    def _release(self, request: Parcel, name: str, plan: LocalPlan) -> Release:
        inputs, labels = self._records(name, probe=request.fields["kind"] == "probe")
        result: LocalResult = train_locally(
            self.plan.architecture.module(own_part(request).arrays),  # type: ignore[arg-type]
            inputs,
            labels,
            plan,
            sampling=self._stream(name, "sampling"),
            noise=self._stream(name, "noise"),
            device=self.plan.device,
        )
        notes: dict[str, object] = {
            "mean_loss": result.mean_loss,
            "records_used": result.records_used,
            "records": len(labels),
        }
        return Release(update=result.update, notes=notes)

    def _with_metrics(
        self, protected: Parcel, request: Parcel, plan: LocalPlan, spent: Spent
    ) -> Parcel:
        """Add the privacy metrics, none of which depends on data."""
        metrics: dict[str, float | int] = {}
        if request.fields["kind"] == "round":
            steps = spent.steps + plan.steps
            metrics["steps"] = steps
            if plan.noise_multiplier is not None and self.plan.noise_epsilon is not None:
                metrics["noise_multiplier"] = plan.noise_multiplier
                metrics["spent_epsilon"] = spent_epsilon(
                    Mechanism(
                        noise_multiplier=plan.noise_multiplier,
                        sample_rate=plan.sample_rate,
                        steps=steps,
                    ),
                    total_steps=self.plan.total_steps,
                    delta=self.plan.delta,
                    target=self.plan.noise_epsilon,
                )
        fields = {**protected.fields, **{METRIC + k: v for k, v in metrics.items()}}
        return Parcel(arrays=protected.arrays, fields=fields)

    def _records(self, name: str, *, probe: bool) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if probe and name not in self.setup.probes:
            raise PolicyError(f"{self.client} has no records set apart for {name!r}")
        indices = np.array(self.setup.probes[name] if probe else self.setup.indices, dtype=np.int64)
        dataset = cached_dataset(self.plan.data, self.plan.data_root)
        return dataset.inputs(indices), dataset.y[indices]

    def _stream(self, session: str, purpose: str) -> NoiseStream:
        master = self.plan.noise_master
        if master is None:
            return NoiseStream(fresh_key())
        return NoiseStream(derived_key(master, self.plan.config.id, self.client, session, purpose))


def _local_plan(request: Parcel) -> LocalPlan:
    """Read the request; a probe is always one step on all of its records."""
    fields = request.fields

    def number(name: str) -> float:
        return float(fields[name])  # type: ignore[arg-type]

    private = "noise_multiplier" in fields
    return LocalPlan(
        steps=int(number("local_steps")),
        sample_rate=number("sample_rate"),
        expected_batch_size=number("expected_batch_size"),
        learning_rate=number("learning_rate"),
        momentum=number("momentum"),
        noise_multiplier=number("noise_multiplier") if private else None,
        max_grad_norm=number("max_grad_norm") if private else None,
    )


def cached_dataset(spec: DataSpec, root: Path) -> Dataset:
    """Load a dataset once a process."""
    return _load_cached(_Key(spec), str(root))


class _Key:
    """A hashable stand-in for a data spec whose ranges are a mapping."""

    def __init__(self, spec: DataSpec) -> None:
        self.spec = spec
        self._text = repr(spec)

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other._text == self._text


@lru_cache(maxsize=2)
def _load_cached(key: _Key, root: str) -> Dataset:
    return load_dataset(key.spec, Path(root))
