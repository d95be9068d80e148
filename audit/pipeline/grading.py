"""From a guess to scores: the truth it is held against, and what is kept besides."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from attacks.entry import Canary, Entry, Family
from attacks.registry import ATTACKS
from audit import stats
from audit.core.audits import AuditRecord
from audit.core.config import Config
from audit.core.guesses import (
    AttributeGuess,
    Guess,
    IdentificationGuess,
    LabelCountGuess,
    MembershipGuess,
    ReconstructionGuess,
)
from audit.core.randomness import named_generator
from audit.core.scores import Score
from audit.disclosure.background import cell_background
from audit.disclosure.canaries import (
    canary_truth,
    hospital_truth,
    record_store,
    record_truth,
)
from audit.formats.files import read_json, write_json
from audit.formats.guesses import read_guess
from audit.formats.parcels import write_parcel
from audit.pipeline.leakage import Task
from audit.pipeline.probe_bounds import hidden_by, probe_bounds
from audit.pipeline.utility import released_correct
from audit.pipeline.views import CellViews
from audit.scoring import (
    ATTRIBUTE_METRICS,
    AUDIT_METRICS,
    FIELD_METRICS,
    HOSPITAL_METRICS,
    IDENTIFICATION_METRICS,
    INVERSION_METRICS,
    LABEL_METRICS,
    MEMBERSHIP_METRICS,
    Claimed,
    FieldRule,
    FieldScores,
    Known,
    Origin,
    SliceValues,
    apart,
    most_exposed,
    roc_points,
    score_attribute,
    score_audit,
    score_fields,
    score_hospitals,
    score_identification,
    score_labels,
    score_membership,
    score_one_run,
    score_reconstruction,
    score_rounds,
)
from audit.store.run import RunDirectory
from audit.vault import Vault

ONE_RUN = "canary-records"
"""The audit whose guesses are all about a single run."""


@dataclass(frozen=True, kw_only=True)
class Graded:
    """What became of a guess.

    Args:
        scores: For the table.
        audit: Of a DP audit; None: it was none.
    """

    scores: list[Score]
    audit: AuditRecord | None = None


class Grader:
    """Puts guesses beside the truth of a run.

    Args:
        run: The run.
        config: Its configuration.
        vault: Its secrets.
    """

    def __init__(self, run: RunDirectory, config: Config, vault: Vault) -> None:
        self._run, self._config, self._vault = run, config, vault

    def grade(self, task: Task, origin: Origin, guess: Guess, views: CellViews) -> Graded:
        """Score a guess, and keep pictures and exposed records where they belong.

        Raises:
            MissingEvidenceError: The secrets were deleted.
        """
        if task.entry.family is Family.AUDIT and isinstance(guess, MembershipGuess):
            if task.entry.canary is Canary.HOSPITAL:
                return Graded(scores=[self._hospitals(task, origin, guess, views)])
            score = score_one_run if task.entry.id == ONE_RUN else score_audit
            present = self._present(task, views)
            audited = score(guess, present, self._claimed(task), origin)
            cost = self._accuracy_change(task, views)
            return Graded(scores=audited.scores, audit=audited.record.model_copy(update=cost))
        if isinstance(guess, IdentificationGuess):
            return self._identified(task, origin, guess)
        return Graded(scores=self._scores(task, origin, guess))

    def _identified(self, task: Task, origin: Origin, guess: IdentificationGuess) -> Graded:
        """Score candidates, and audit the probe's own claim by them."""
        clients = dict(zip(guess.observations, guess.clients, strict=True))
        claimed = self._claimed(task)
        noise = claimed.noise_multiplier
        if noise is not None:
            noise = hidden_by(self._config, next(iter(clients.values())), noise)
        found = score_identification(
            guess,
            self._vault.victims(),
            replace(
                claimed,
                epsilon=None if noise is None else stats.epsilon_of_mu(1 / noise, claimed.delta),
                noise_multiplier=noise,
                sample_rate=1.0,
                steps=1,
            ),
            origin,
            bounds=self._bounds(task, clients, matched=False),
            rng=named_generator(self._config.seed, "attack", task.name, "bootstrap"),
        )
        self._keep(origin, found.values)
        return Graded(scores=found.scores, audit=found.record)

    def _keep(self, origin: Origin, values: Mapping[str, Mapping[str, SliceValues]]) -> None:
        """Keep what was measured of each victim: the strongest attack is told from it."""
        self._vault.write_measured(
            origin.cell,
            origin.adversary,
            origin.attack,
            {name: {m: asdict(v) for m, v in found.items()} for name, found in values.items()},
        )

    def _bounds(
        self, task: Task, clients: Mapping[str, tuple[str, ...]], *, matched: bool
    ) -> dict[str, dict[str, float]]:
        noise = self._claimed(task).noise_multiplier
        return probe_bounds(self._config, task.cell, clients, noise, matched=matched)

    def _known(self, task: Task) -> Known:
        """Return the public records that baselines and decoys are made of."""
        background = cell_background(self._config, task.cell, self._run.cell(task.cell.id))
        low, high = background.record_range
        people, pool = background.population, background.pool
        inputs = np.zeros((0, *people.inputs.shape[1:])) if pool is None else pool.inputs
        return Known(
            population=((people.inputs - low) / (high - low)).astype(np.float32),
            labels=people.labels,
            pool=((inputs - low) / (high - low)).astype(np.float32),
            fields=background.fields,
        )

    def _scores(
        self,
        task: Task,
        origin: Origin,
        guess: MembershipGuess | AttributeGuess | LabelCountGuess | ReconstructionGuess,
    ) -> list[Score]:
        if isinstance(guess, MembershipGuess):
            truth = self._vault.membership()
            scores = score_membership(guess, truth, origin)
            self._vault.write_exposed(
                origin.cell, origin.adversary, origin.attack, most_exposed(guess, truth)
            )
            folder = self._run.attack_folder(origin.cell, origin.adversary, origin.attack)
            write_json(folder / "roc.json", roc_points(guess, truth))
            return scores
        baseline = self._baseline(task)
        if isinstance(guess, AttributeGuess):
            return score_attribute(
                guess,
                baseline if isinstance(baseline, AttributeGuess) else None,
                self._vault.attributes(),
                self._vault.membership().member,
                origin,
            )
        rng = named_generator(self._config.seed, "attack", task.name, "bootstrap")
        if isinstance(guess, LabelCountGuess):
            counted = score_labels(
                guess,
                baseline if isinstance(baseline, LabelCountGuess) else None,
                self._vault.victims(),
                self._vault.class_counts(),
                origin,
                rng=rng,
            )
            if task.entry.baseline is not None:
                self._keep(origin, counted.values)
            return counted.scores
        prior = baseline if isinstance(baseline, ReconstructionGuess) else None
        guess, rounds = apart(guess)
        found = score_reconstruction(
            guess,
            prior,
            self._vault.victims(),
            origin,
            rng=rng,
            known=self._known(task),
            bounds=self._bounds(
                task, {one.observation: one.clients for one in guess.reconstructions}, matched=True
            ),
        )
        fields = self._fields(task, origin, guess, prior)
        if task.entry.baseline is not None:  # a baseline is no attack
            of_fields = fields.values if fields else {}
            self._keep(origin, {n: {**v, **of_fields.get(n, {})} for n, v in found.values.items()})
        public = bool(self._run.record["dataset"]["public"])
        folder = self._run.attack_folder(origin.cell, origin.adversary, origin.attack)
        base = folder if public else self._run.secrets / "panels" / task.name
        write_parcel(base / "panels.safetensors", found.panels)
        return [
            *found.scores,
            *(fields.scores if fields else ()),
            *self._of_rounds(task, origin, rounds),
        ]

    def _of_rounds(self, task: Task, origin: Origin, guess: ReconstructionGuess) -> list[Score]:
        """Score reconstructions of training rounds; most attacks make none."""
        if not guess.reconstructions and not guess.skipped:
            return []
        return score_rounds(
            guess,
            cell_background(self._config, task.cell, self._run.cell(task.cell.id)).candidates,
            self._vault.membership(),
            origin,
            rng=named_generator(self._config.seed, "attack", task.name, "rounds"),
        )

    def _fields(
        self,
        task: Task,
        origin: Origin,
        guess: ReconstructionGuess,
        baseline: ReconstructionGuess | None,
    ) -> FieldScores | None:
        """Score reconstructed tables by field; images have none."""
        background = cell_background(self._config, task.cell, self._run.cell(task.cell.id))
        if not background.fields:
            return None
        return score_fields(
            guess,
            baseline,
            self._vault.victims(),
            FieldRule.of(background.fields, background.population.inputs),
            origin,
            rng=named_generator(self._config.seed, "attack", task.name, "fields"),
            known=self._known(task),
        )

    def _baseline(self, task: Task) -> Guess | None:
        """Return the guess of the attack's baseline, which ran before it on the same view."""
        if task.entry.baseline is None:
            return None
        other = replace(task, entry=ATTACKS[task.entry.baseline])
        return read_guess(
            self._run.attack_folder(other.cell.id, other.adversary.value, other.entry.id)
        )

    def _present(self, task: Task, views: CellViews) -> Mapping[str, bool]:
        """Return which canaries of a cell's audit cells were in."""
        hospitals = len(self._config.clients)
        present: dict[str, bool] = {}
        for key in views.keys(task):
            if task.entry.canary is Canary.RECORD:
                present |= record_truth(key, self._vault.canaries(task.cell.id, key))
                continue
            if task.entry.canary is Canary.HOSPITAL:
                present |= hospital_truth(key, self._vault.canaries(task.cell.id, key))
                continue
            present |= canary_truth(key, self._vault.canaries(task.cell.id, key), hospitals)
        return present

    def _hospitals(
        self, task: Task, origin: Origin, guess: MembershipGuess, views: CellViews
    ) -> Score:
        """Return the estimate for a hospital of nominal size; no audit, and no verdict."""
        privacy = self._config.privacy
        return score_hospitals(
            guess,
            self._present(task, views),
            records=privacy.nominal_records,
            delta=privacy.delta,
            origin=origin,
            rng=named_generator(self._config.seed, "attack", task.name, "interval"),
        )

    def _accuracy_change(self, task: Task, views: CellViews) -> dict[str, float]:
        """Return what canary records cost in accuracy, on the same held-out records.

        With several audit cells the first one's; gradient canaries move no prediction.
        """
        if task.entry.canary is not Canary.RECORD:
            return {}
        store = record_store(self._run.path, task.cell.id)
        audited = store.read(views.keys(task)[0]).arrays["correct"].astype(np.bool_)
        released = released_correct(self._run, self._config, task.cell)
        found = stats.paired_difference_interval(
            int((audited & ~released).sum()), int((released & ~audited).sum()), len(released)
        )
        return {
            "accuracy_change": found.value,
            "accuracy_change_low": found.low,
            "accuracy_change_high": found.high,
        }

    def _claimed(self, task: Task) -> Claimed:
        cell, privacy = task.cell, self._config.privacy
        summary = read_json(self._run.cell(cell.id).summary)
        return Claimed(
            epsilon=summary["claimed_epsilon"],
            delta=privacy.delta,
            noise_multiplier=summary["noise_multiplier"],
            sample_rate=min(1.0, cell.schedule.batch_size / privacy.nominal_records),
            steps=cell.schedule.rounds * cell.schedule.local_steps,
        )


def metrics_of(entry: Entry) -> tuple[str, ...]:
    """Return the metrics by which an attack is scored."""
    if entry.family is Family.ATTRIBUTE:
        return ATTRIBUTE_METRICS if entry.baseline else ATTRIBUTE_METRICS[:1]
    if entry.canary is Canary.HOSPITAL:
        return HOSPITAL_METRICS
    return {
        Family.MEMBERSHIP: MEMBERSHIP_METRICS,
        Family.INVERSION: (*INVERSION_METRICS, *FIELD_METRICS),
        Family.IDENTIFICATION: IDENTIFICATION_METRICS,
        Family.LABELS: LABEL_METRICS,
        Family.AUDIT: AUDIT_METRICS,
    }[entry.family]
