"""`audit train`: a federated run for each swept epsilon, recorded so that it can be resumed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audit.core.config import CellConfig, Config
from audit.core.errors import ConfigError
from audit.formats.files import read_json_lines, write_json
from audit.formats.parcels import read_weights, write_parcel
from audit.pipeline.cells import cell_model, cell_plan
from audit.pipeline.cost import training_cost
from audit.pipeline.opening import agreed_config, create_run, with_kept_key
from audit.pipeline.prepare import (
    Prepared,
    class_counts,
    ledger_root,
    prepare,
    split_record,
)
from audit.pipeline.privacy import (
    CellPrivacy,
    cell_privacy,
    claims,
    group_warning,
    privacy_record,
    probe_overflow,
)
from audit.pipeline.table import write_table
from audit.pipeline.utility import UTILITY_SCHEMA, Examiner
from audit.store.run import CellDirectory, RunDirectory
from audit.vault import Vault
from training.backends.inprocess import DropOut
from training.data.groups import largest_group
from training.faults import Fault
from training.federation import Backend, new_identities, run_cell, set_up_hospitals
from training.models import TorchArchitecture, architecture
from training.plan import CellPlan, HospitalSetup
from training.protocols import check_aggregation
from training.secagg.identity import Identity

CELL_SCHEMA = "audit-cell/v1"


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """What a caller wants to be told while training goes on.

    Args:
        planned: Called once with a sentence on the cost, before anything is trained.
        warned: Called with each warning.
        cell: Called with a cell's id, its rounds, and how many of them are done already.
        round: Called with a cell's id, a round and its metrics.
    """

    planned: Callable[[str], None] = lambda _: None
    warned: Callable[[str], None] = lambda _: None
    cell: Callable[[str, int, int], None] = lambda _cell, _rounds, _done: None
    round: Callable[[str, int, Mapping[str, float]], None] = lambda _cell, _round, _metrics: None


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train, as opposed to what.

    Args:
        backend: Where the apps run.
        device: torch device of the hospitals.
        download: Whether missing MNIST files may be fetched.
        resume: Go on with what the directory holds.
        dropped: Hospitals that vanish, for tests.
        fault: What is broken in every hospital, for self-tests: the run is marked with it.
        watcher: Whom to tell.
    """

    backend: Backend = Backend.INPROCESS
    device: str = "cpu"
    download: bool = False
    resume: bool = False
    dropped: DropOut | None = None
    fault: Fault | None = None
    watcher: Watcher = field(default_factory=Watcher)


def train(config: Config | None, out: Path, options: TrainOptions) -> RunDirectory:
    """Train every cell that is not finished yet.

    Args:
        config: What to train; None when resuming: the run's own.
        out: The run directory.
        options: How.

    Returns:
        The finished run.

    Raises:
        ConfigError: The configuration does not fit the data, or another run lies there.
        AuditError: Training or the protocol failed; what was done is kept.
    """
    run = RunDirectory.open(out) if options.resume and (out / "run.json").exists() else None
    if run is None:
        RunDirectory.check_free(out)
    config = agreed_config(config, run, out)
    warning = check_aggregation(config.aggregation, config.partition.clients)
    if warning:
        options.watcher.warned(warning)
    prepared = prepare(config, download=options.download)
    for cell in config.cells:
        _check_model(cell, prepared)
    run = run or create_run(config, out, options.backend.value)
    with run.locked():
        run.clear_leftovers()
        if options.fault is not None:
            run.mark_faults([options.fault.name])
        config = with_kept_key(config, run)
        _Run(run, config, prepared, options).train()
    return run


def _check_model(cell: CellConfig, prepared: Prepared) -> None:
    """Refuse a model or augmentation that does not fit the records, before anything is made."""
    shape, schedule = prepared.dataset.shape, cell.schedule
    built = architecture(cell.model, shape, prepared.dataset.classes)
    priors, classes = schedule.class_priors, prepared.dataset.classes
    if priors is not None and len(priors) != classes:
        raise ConfigError(
            f"schedule.class_priors {list(priors)} of {cell.id}: expected {classes} shares"
        )
    shift, wrong = schedule.augment_shift, None
    if shift and len(shape) != 3:
        wrong = f"records of shape {shape} cannot be moved: expected images"
    elif shift and built.fixed_features:
        wrong = f"model.name {cell.model.name!r} has fixed features, computed once a record"
    if wrong:
        raise ConfigError(f"schedule.augment_shift {shift} of {cell.id}: {wrong}")


class _Run:
    """One call of ``train``, its lock held."""

    def __init__(
        self, run: RunDirectory, config: Config, prepared: Prepared, options: TrainOptions
    ) -> None:
        self._run, self._config, self._prepared = run, config, prepared
        self._options, self._watcher = options, options.watcher
        self._vault = Vault(run.secrets)
        self._test_inputs = prepared.dataset.inputs(prepared.split.holdout)

    def train(self) -> None:
        """Train all cells that are not done."""
        todo = [cell for cell in self._config.cells if not self._run.cell(cell.id).done]
        if todo:
            self._watcher.planned(training_cost(self._config, todo, self._prepared))
            several = group_warning(self._config, largest_group(self._prepared.dataset))
            if several:
                self._watcher.warned(several)
        self._write_truth()
        for cell in todo:
            self._train_cell(cell)
        self._run.write_manifest()
        write_table(self._run)
        if self._run.record["state"] != "trained":
            self._run.update_record(state="trained")
            self._run.event("trained")

    def _write_truth(self) -> None:
        """Write the secrets; they follow from the public seed, but for a fixed noise key."""
        if self._run.record["begun"]:
            return
        game = self._prepared.game
        self._vault.write_membership(game.truth)
        if game.attribute is not None:
            self._vault.write_attributes(game.attribute.name, dict(game.category))
        self._vault.write_split(split_record(self._prepared))
        self._vault.write_class_counts(class_counts(self._prepared))
        self._vault.write_victims(self._prepared.victims.truth(self._prepared.dataset))
        if self._config.privacy.noise_key is not None:
            self._vault.write_noise_key(self._config.privacy.noise_key)
        self._run.update_record(
            begun=True,
            dataset={
                "name": self._prepared.dataset.name,
                "sha256": self._prepared.dataset.sha256,
                "public": self._prepared.dataset.public,
            },
        )
        self._run.event("begun", clients=list(self._config.clients))

    def _train_cell(self, cell: CellConfig) -> None:
        directory = self._run.cell(cell.id)
        privacy = cell_privacy(self._config, cell)
        if privacy is not None and privacy.claim.loose:
            self._watcher.warned(
                f"{cell.id}: loose claim: {privacy.claim.epsilon:g} is claimed, an independent "
                f"accountant finds {privacy.claim.recomputed_epsilon:g}"
            )
        overflow = probe_overflow(self._config, cell, privacy.noise_multiplier) if privacy else None
        if overflow:
            self._watcher.warned(overflow)
        plan = self._plan(cell, directory, privacy)
        log = read_json_lines(directory.metrics)
        self._watcher.cell(cell.id, cell.schedule.rounds, len(log))
        self._run.event("cell_begun", cell=cell.id, rounds_done=len(log))
        started = time.monotonic()
        examiner = self._examiner(plan.architecture)
        run_cell(
            plan,
            backend=self._options.backend,
            evaluate=examiner.accuracy,
            progress=lambda number, metrics: self._watcher.round(cell.id, number, metrics),
            dropped=self._options.dropped,
            fault=self._options.fault,
        )
        write_parcel(directory.candidates, self._prepared.game.shown)
        if len(self._prepared.victims.pool):
            write_parcel(directory.pool, self._prepared.victims.shown(self._prepared.dataset))
        seconds = time.monotonic() - started
        weights = read_weights(directory.model)
        utility = examiner.utility(weights)
        write_json(
            directory.utility,
            {
                "schema": UTILITY_SCHEMA,
                "cell": cell.id,
                "groups": examiner.groups(weights, self._prepared),
            },
        )
        self._finish(directory, cell, privacy, {**utility, "seconds": round(seconds, 1)})

    def _plan(
        self, cell: CellConfig, directory: CellDirectory, privacy: CellPrivacy | None
    ) -> CellPlan:
        """Return the cell's plan; its hospitals are set up once, before the first message."""
        config = self._config
        identities, key = self._identities(), config.privacy.noise_key
        plan = cell_plan(
            config,
            cell,
            directory,
            run_id=str(self._run.record["id"]),
            roster={client: identity.public_key for client, identity in identities.items()},
            architecture=cell_model(config, cell, self._prepared),
            noise_multiplier=privacy.noise_multiplier if privacy else None,
            data=self._prepared.spec,
            ledgers=ledger_root().absolute(),
            device=self._options.device,
            noise_master=bytes.fromhex(key) if key else None,
        )
        if not self._is_set_up(directory):
            set_up_hospitals(
                plan,
                dataset=self._prepared.dataset,
                parts=self._prepared.parts,
                probes=self._prepared.victims.probes,
                identities=identities,
            )
        return plan

    def _is_set_up(self, directory: CellDirectory) -> bool:
        return all(
            (directory.client(client) / "setup.json").is_file() for client in self._config.clients
        )

    def _identities(self) -> dict[str, Identity]:
        """Return the hospitals' identities: one set a run, kept by the hospitals themselves."""
        for cell in self._config.cells:
            directory = self._run.cell(cell.id)
            if self._is_set_up(directory):
                return {
                    client: HospitalSetup.load(directory.client(client)).signing_identity
                    for client in self._config.clients
                }
        return new_identities(self._config.clients)

    def _examiner(self, built: TorchArchitecture) -> Examiner:
        holdout = self._prepared.split.holdout
        dataset = self._prepared.dataset
        return Examiner(built, self._test_inputs, dataset.y[holdout])

    def _finish(
        self,
        directory: CellDirectory,
        cell: CellConfig,
        privacy: CellPrivacy | None,
        measured: Mapping[str, Any],
    ) -> None:
        """Write the cell's facts, which mark it as finished, then the manifest and the table."""
        log = read_json_lines(directory.metrics)
        failed = [line["round"] for line in log if line["failure"]]
        if failed:
            self._watcher.warned(
                f"{cell.id}: {len(failed)} of {len(log)} rounds failed and left the model as it "
                f"was: {log[failed[0] - 1]['failure']}"
            )
        write_json(
            directory.privacy,
            privacy_record(self._config, cell, privacy, largest_group(self._prepared.dataset)),
        )
        write_json(
            directory.summary,
            {
                "schema": CELL_SCHEMA,
                "cell": cell.id,
                "target_epsilon": cell.epsilon if cell.private else None,
                "epsilon_scope": self._config.privacy.epsilon_scope,
                "claimed_epsilon": privacy.claim.epsilon if privacy else None,
                "round_epsilon": privacy.round_epsilon if privacy else None,
                "recomputed_epsilon": privacy.claim.recomputed_epsilon if privacy else None,
                "loose_claim": privacy.claim.loose if privacy else None,
                "probe_epsilon": privacy.probe_epsilon if privacy else None,
                "selection_epsilon": privacy.selection_epsilon if privacy else None,
                "tuning": self._config.data.validation_fraction is not None,
                "delta": self._config.privacy.delta,
                "noise_multiplier": privacy.noise_multiplier if privacy else None,
                **measured,
                "failed_rounds": failed,
                "reproduction": self._config.reproduction,
                "claims": claims(self._config, privacy),
            },
        )
        self._run.write_manifest()
        write_table(self._run)
        self._run.event("cell_trained", cell=cell.id, failed_rounds=failed)
