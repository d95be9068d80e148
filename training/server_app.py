"""The Flower ServerApp of one cell: rounds, probes, the server's log, and resuming."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from numpy.typing import NDArray

from audit.core.errors import AuditError, IntegrityError
from audit.core.model import Weights
from audit.core.parcel import Parcel, Scalar
from audit.formats.files import read_json_lines, write_json_lines
from audit.formats.parcels import read_weights, write_parcel, write_weights
from training.plan import CellPlan, probe_sessions
from training.policy import roster_digest
from training.protocols import server_protocol
from training.recording import RecordingGrid
from training.secagg.identity import Roster
from training.strategy import SecureAggregationStrategy
from training.wire import message_parcel, to_record

Evaluation = Callable[[Weights], Mapping[str, float]]
"""Global weights to accuracy, its interval and n on the server's own test set."""

Progress = Callable[[int, Mapping[str, float]], None]
"""Called with each finished round and its metrics."""


def build_server_app(plan: CellPlan, *, evaluate: Evaluation, progress: Progress) -> ServerApp:
    """Return the app that trains one cell from where its recording ends.

    Args:
        plan: The cell.
        evaluate: The server's own test.
        progress: Told of every finished round.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        _Server(plan, RecordingGrid(grid, plan.cell), evaluate, progress).run()

    return app


class _Server:
    """One cell's server."""

    def __init__(
        self, plan: CellPlan, grid: RecordingGrid, evaluate: Evaluation, progress: Progress
    ) -> None:
        self._plan = plan
        self._grid = grid
        self._evaluate = evaluate
        self._progress = progress
        self._log = read_json_lines(plan.cell.metrics)
        self._strategy = SecureAggregationStrategy(
            protocol=server_protocol(
                plan.aggregation, Roster(plan.roster) if len(plan.roster) > 1 else None
            ),
            label=plan.label,
            request=self._round_request,
            server_learning_rate=plan.config.schedule.server_learning_rate,
            first_round=len(self._log) + 1,
            probes=self._probes(),
            on_probe=self._keep_probe,
            on_model=self._keep_mean,
        )

    def run(self) -> None:
        """Train all rounds that are not in the log yet, and write the released model."""
        plan, done = self._plan, len(self._log)
        remaining = plan.config.schedule.rounds - done
        if remaining:
            self._name_nodes()
            weights = self._model_after(done)
            self._strategy.start(
                grid=self._grid,
                initial_arrays=ArrayRecord({k: Array(v) for k, v in weights.items()}),
                num_rounds=remaining,
                evaluate_fn=self._finish_round,
            )
        if all(line["failure"] for line in self._log):
            reasons = sorted({reason for line in self._log for reason in _reasons(line)})
            raise AuditError(f"{plan.config.id}: every round failed: {'; '.join(reasons)}")
        write_weights(plan.cell.model, self._model_after(plan.config.schedule.rounds))

    def _name_nodes(self) -> None:
        nodes = sorted(self._grid.get_node_ids())
        messages = [Message(to_record(Parcel()), node, "query.hello") for node in nodes]
        named: dict[int, str] = {}
        for reply in self._grid.send_and_receive(messages):
            parcel = message_parcel(reply)
            if not reply.has_error() and parcel.fields["client"] in self._plan.clients:
                named[reply.metadata.src_node_id] = str(parcel.fields["client"])
        self._grid.name_nodes(named)
        self._strategy.set_nodes({client: node for node, client in named.items()})

    def _model_after(self, round_number: int) -> Weights:
        if round_number == 0:
            return self._plan.architecture.initial(self._plan.seed)
        path = self._plan.cell.transcript(round_number) / "round.model.safetensors"
        try:
            return self._plan.architecture.ordered(read_weights(path))
        except ValueError as error:
            raise IntegrityError(f"{path} is not a model of this cell: {error}") from None

    def _common(self) -> dict[str, Scalar]:
        plan = self._plan
        fields: dict[str, Scalar] = {
            "roster": roster_digest(plan.roster),
            "momentum": plan.config.schedule.momentum,
            **(
                {"class_priors": list(plan.config.schedule.class_priors)}
                if plan.config.schedule.class_priors
                else {}
            ),
        }
        if plan.noise_multiplier is not None and plan.max_grad_norm is not None:
            fields["noise_multiplier"] = plan.noise_multiplier
            fields["max_grad_norm"] = plan.max_grad_norm
            fields["delta"] = plan.delta
            fields["loss_scale"] = plan.config.schedule.loss_scale
        return fields

    def _round_request(self, round_number: int) -> dict[str, Scalar]:
        schedule = self._plan.config.schedule
        return {
            **self._common(),
            "kind": "round",
            "round": round_number,
            "local_steps": schedule.local_steps,
            "sample_rate": self._plan.sample_rate,
            "expected_batch_size": float(schedule.batch_size),
            "learning_rate": schedule.rate(round_number),
            "augment_shift": schedule.augment_shift,
        }

    def _probes(self) -> dict[int, list[tuple[str, Mapping[str, Scalar]]]]:
        planned: dict[int, list[tuple[str, Mapping[str, Scalar]]]] = {}
        for probe in probe_sessions(self._plan.probes):
            fields: dict[str, Scalar] = {
                **self._common(),
                "kind": "probe",
                "round": probe.round,
                "local_steps": probe.steps,
                "sample_rate": 1.0,
                "expected_batch_size": float(probe.batch),
                "learning_rate": self._plan.probes.rate(self._plan.config.schedule, probe.round),
                "augment_shift": 0,
            }
            if probe.batch < probe.records:
                fields |= {
                    "mini_batch": probe.batch,
                    "epochs": probe.uses,
                    "order": "public" if probe.public_order else "secret",
                }
            planned.setdefault(probe.round, []).append((probe.name, fields))
        return planned

    def _keep_mean(self, round_number: int, _: Weights, mean: NDArray[np.float64]) -> None:
        path = self._plan.cell.transcript(round_number) / "round.aggregate.safetensors"
        write_parcel(path, Parcel(arrays={"mean": mean}))

    def _keep_probe(
        self, session: str, mean: NDArray[np.float64] | None, failure: str | None
    ) -> None:
        folder, _, probe = session.partition("/")
        path = self._plan.cell.path / "transcript" / folder / f"{probe}.aggregate.safetensors"
        arrays = {} if mean is None else {"mean": mean}
        write_parcel(path, Parcel(arrays=arrays, fields={"failure": failure or ""}))

    def _finish_round(self, flower_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        """Keep the model, test it, and write the round's line of the log, in this order."""
        if flower_round == 0:
            return None
        number = len(self._log) + 1
        weights = {name: array.numpy() for name, array in arrays.items()}
        write_weights(self._plan.cell.transcript(number) / "round.model.safetensors", weights)
        accuracy = dict(self._evaluate(weights))
        report = self._strategy.reports[number]
        line = {
            "round": number,
            **accuracy,
            "survivors": list(report.survivors),
            "clients": report.metrics,
            "refusals": report.refusals,
            "failure": report.failure,
        }
        self._log.append(line)
        write_json_lines(self._plan.cell.metrics, self._log)
        self._progress(number, accuracy)
        return MetricRecord(cast(Any, accuracy))


def _reasons(line: Mapping[str, Any]) -> list[str]:
    """Why a round failed: the server's reason, and those of the hospitals that refused."""
    return [str(line["failure"]), *(f"{c}: {r}" for c, r in line["refusals"].items())]
