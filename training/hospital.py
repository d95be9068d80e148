"""One hospital: it checks a request against its policy, trains, pays, and only then answers."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from audit.core.errors import IntegrityError, PolicyError, ProtocolError
from audit.core.parcel import Parcel
from audit.formats.parcels import parcel_digest
from training.accounting import Mechanism, spent_epsilon
from training.batch_order import batches, public_order, secret_order
from training.canaries import Canaries, canary_sign
from training.data.configured import cached_dataset
from training.dp_sgd import Laboratory, LocalResult, train_locally
from training.faults import Fault
from training.journal import Release, SessionJournal
from training.ledger import Charge, Ledger
from training.local_plan import LocalPlan
from training.plan import CellPlan, HospitalSetup
from training.policy import session_name
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
        fault: What is broken in it; self-tests only.
    """

    def __init__(self, plan: CellPlan, client: str, fault: Fault | None = None) -> None:
        self.plan = plan
        self.client = client
        self._fault = fault or Fault()
        self.folder = plan.cell.client(client)
        self.setup = HospitalSetup.load(self.folder)
        self._protocol = client_protocol(
            plan.aggregation,
            client,
            self.setup.signing_identity,
            self.setup.pinned_roster if len(self.setup.roster) > 1 else None,
        )
        self._ledger = Ledger(plan.ledgers, client=client, dataset=self.setup.dataset)
        self._canaries = Canaries.load(self.folder)

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
        name = session_name(request.fields)
        journal = SessionJournal(self.client, self.folder, name)
        digest = _digest(request)
        reply = journal.reply(stage, digest)
        if reply is None:
            if stage == "train":
                reply, state = self._train(request, name, journal, digest, spent)
            else:
                reply, state = self._protocol.answer(
                    self._session(name), stage, protocol_part(request), journal.state()
                )
            journal.store(stage, digest, reply, state)
        if stage == "train" and request.fields.get("kind") == "round":
            # A repeated request for an early round gives back no budget.
            spent = Spent(steps=max(spent.steps, int(str(reply.fields[METRIC + "steps"]))))
        return reply, spent

    def _session(self, name: str) -> Session:
        parameters = sum(p.numel() for p in self.plan.architecture.build().parameters())
        return Session(label=self.plan.label(name), dimension=parameters)

    def _train(
        self, request: Parcel, name: str, journal: SessionJournal, digest: str, spent: Spent
    ) -> tuple[Parcel, Parcel | None]:
        """Train, keep the update, pay for it, mask it: in this order."""
        self.setup.policy.check(request)
        plan = _local_plan(request, classes=self.plan.architecture.classes)
        release = journal.release(digest)
        if release is None:
            if self._ledger.holds(run=self.plan.run_id, cell=self.plan.config.id, session=name):
                raise IntegrityError(
                    f"{self.client} was charged for {name} of {self.plan.config.id}, but its "
                    f"stored update is missing from {self.folder}; a second release is refused"
                )
            release = self._release(request, name, plan)
            journal.store_release(digest, release)
        self._ledger.charge(
            Charge(
                run=self.plan.run_id,
                cell=self.plan.config.id,
                session=name,
                kind=str(request.fields["kind"]),
                steps=plan.record_steps,
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
        if plan.epochs is not None:
            plan = self._in_batches(plan, request, name, len(labels))
        done = self._fault.local_plan(plan, self.plan)
        sampling, key = self._key(name, "sampling"), self._key(name, "noise")

        def trained(noise: NoiseStream) -> LocalResult:
            return train_locally(
                self._module(request),
                self._fault.inputs(inputs),
                labels,
                done,
                sampling=NoiseStream(sampling),
                noise=noise,
                device=self.plan.device,
                laboratory=self._laboratory(request),
            )

        result = trained(self._fault.noise(key, self.client, name))
        notes: dict[str, object] = {
            "mean_loss": result.mean_loss,
            "records_used": result.records_used,
            "records": len(labels),
        }
        sent = self._fault.sent(result.update, lambda noise: trained(noise).update)
        return Release(update=sent, notes=notes)

    def _in_batches(self, plan: LocalPlan, request: Parcel, name: str, records: int) -> LocalPlan:
        """Return the plan of a probe with its batches dealt."""
        size, epochs = int(str(request.fields["mini_batch"])), int(str(request.fields["epochs"]))
        if records % size or plan.steps != epochs * (records // size):
            raise PolicyError(
                f"local_steps: {plan.steps} asked for; expected {epochs} epochs of whole batches "
                f"of {size} among {records} records"
            )
        if request.fields["order"] == "public":
            seed, client = self.plan.seed, self.client
            order = public_order(seed, name, client, records=records, size=size, epochs=epochs)
        else:
            stream = NoiseStream(self._key(name, "order"))
            order = secret_order(stream, records=records, size=size, epochs=epochs)
        return replace(plan, batches=batches(order))

    def _laboratory(self, request: Parcel) -> Laboratory | None:
        """Return the canaries of an audit cell; all but a push turn around with every round."""
        if self._canaries is None or request.fields["kind"] == "probe":
            return None
        push = self._canaries.push
        return Laboratory(
            columns=self._fault.used(self._canaries.columns),
            sign=1.0 if push else canary_sign(int(str(request.fields["round"]))),
            broken=self._fault.broken(),
            push=push,
        )

    def _module(self, request: Parcel) -> nn.Module:
        """Return the global model of a request, checked."""
        arrays = own_part(request).arrays
        if not all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == "f"):
            raise ProtocolError("model: the server sent NaN or infinite parameters")
        try:
            return self.plan.architecture.module(arrays)  # type: ignore[arg-type]
        except (RuntimeError, TypeError) as error:
            raise ProtocolError(f"model: not one of this federation: {error}") from None

    def _with_metrics(
        self, protected: Parcel, request: Parcel, plan: LocalPlan, spent: Spent
    ) -> Parcel:
        """Add the privacy metrics, none of which depends on data.

        The ledger says how many steps were made: Flower forgets a client's state at a restart.
        They are priced at this hospital's own limits, an upper bound if a round had more noise.
        """
        metrics: dict[str, float | int] = {}
        if request.fields["kind"] == "round":
            charged = self._ledger.round_steps(run=self.plan.run_id, cell=self.plan.config.id)
            steps = max(charged, spent.steps + plan.steps)
            metrics["steps"] = steps
            policy = self.setup.policy
            if plan.noise_multiplier is not None:
                metrics["noise_multiplier"] = plan.noise_multiplier
            if policy.min_noise_multiplier is not None and self.plan.noise_epsilon is not None:
                metrics["spent_epsilon"] = spent_epsilon(
                    Mechanism(
                        noise_multiplier=policy.min_noise_multiplier,
                        sample_rate=policy.max_sample_rate,
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
        if probe:
            return dataset.inputs(indices), dataset.y[indices]
        indices = self._fault.used(indices)
        inputs, labels = dataset.inputs(indices), dataset.y[indices]
        if self._canaries is None:
            return inputs, labels
        made = self._canaries
        canaries = self._fault.used(np.arange(len(made.labels)))
        return (
            np.concatenate([inputs, made.inputs[canaries]]),
            np.concatenate([labels, made.labels[canaries]]),
        )

    def _key(self, session: str, purpose: str) -> bytes:
        master = self.plan.noise_master
        if master is None:
            return fresh_key()
        return derived_key(master, self.plan.config.id, self.client, session, purpose)


def _digest(request: Parcel) -> str:
    try:
        return parcel_digest(request)
    except ValueError as error:
        raise PolicyError(f"request: expected finite numbers: {error}") from None


def _local_plan(request: Parcel, *, classes: int) -> LocalPlan:
    """Read the request; every step of a probe is on all of its records, or on a batch of them."""
    fields = request.fields

    def number(name: str) -> float:
        return float(fields[name])  # type: ignore[arg-type]

    private = "noise_multiplier" in fields
    priors = fields.get("class_priors")
    if isinstance(priors, list) and len(priors) != classes:
        raise PolicyError(f"class_priors: {priors} asked for; expected {classes} shares")
    return LocalPlan(
        steps=int(number("local_steps")),
        sample_rate=number("sample_rate"),
        expected_batch_size=number("expected_batch_size"),
        learning_rate=number("learning_rate"),
        momentum=number("momentum"),
        noise_multiplier=number("noise_multiplier") if private else None,
        max_grad_norm=number("max_grad_norm") if private else None,
        loss_scale=number("loss_scale") if private else 1.0,
        augment_shift=int(number("augment_shift")),
        class_priors=tuple(float(p) for p in priors) if isinstance(priors, list) else None,
        epochs=int(number("epochs")) if "mini_batch" in fields else None,
    )
