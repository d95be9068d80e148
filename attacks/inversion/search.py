"""Many observations inverted at once: what is searched for, from which starts, and what is kept."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray

from attacks.attack import NOT_FINITE, finite, gradient_of, probe_observations, records_in
from attacks.inversion.batch_order import Layout, dealt, layout_of
from attacks.inversion.controls import randomised
from attacks.inversion.dummies import DummyGradients, reachable
from attacks.inversion.exchange import tries
from attacks.inversion.labels.reader import LabelReader
from attacks.inversion.problem import Problem, Sent, Solution, Solver
from attacks.inversion.work import NOTHING, ProbeSize, Work
from audit.core.errors import ViewError
from audit.core.guesses import Reconstruction, ReconstructionGuess
from audit.core.views import Background, Observation, View

MOST_VALUES = 60_000_000
"""Entries of per-record gradients that are held at once; a few copies of them are alive."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """Inverts every observation that is small enough, and a random gradient beside each.

    Args:
        attack: Id, for errors.
        restarts: Starts from new noise; the one with the smallest matching loss is kept.
        most_records: Observations of more records are skipped, with that as the reason.
        refuses: Why an observation is not for this attack; None: it is.
        deals: Ways of dealing labels to mini-batches that are tried for each observation.
        screen: Solver that tries them; the deals with the smallest losses are searched from.
        dtype: Precision of the gradients of single steps.
    """

    attack: str
    restarts: int
    most_records: int
    refuses: Callable[[Observation | ProbeSize], str | None]
    deals: int = 1
    screen: Solver | None = None
    dtype: torch.dtype = torch.float32

    def run(
        self,
        view: View,
        solver: Solver,
        rng: np.random.Generator,
    ) -> ReconstructionGuess:
        """Return what was found on a view's probes, each taken for a single step.

        Args:
            view: A server's.
            solver: How dummies are fitted.
            rng: Starts and random gradients.

        Raises:
            ViewError: The view has no probes, or its model leaves no gradient path.
        """

        def sent(background: Background, one: Observation) -> Sent:
            return DummyGradients(background, one.weights, dtype=self.dtype)

        probes = probe_observations(view, self.attack)
        return self.invert(probes, view.background, solver, rng, sent)

    def invert(
        self,
        observations: Sequence[Observation],
        background: Background,
        solver: Solver,
        rng: np.random.Generator,
        sent: Callable[[Background, Observation], Sent],
        *,
        controls: bool = True,
    ) -> ReconstructionGuess:
        """Return what was found on some observations (``run``).

        Args:
            observations: Each with the number of its records.
            background: Auxiliary knowledge.
            solver: How dummies are fitted.
            rng: Starts and random gradients.
            sent: How a hospital's step is imitated.
            controls: Whether random gradients are inverted beside.
        """
        skipped: dict[str, str] = {}
        chosen = []
        for one in observations:
            reason = self._reason(one)
            if reason is None:
                chosen.append(one)
            else:
                skipped[one.name] = reason
        found: dict[str, Reconstruction | None] = {}
        beside: dict[str, Reconstruction | None] = {}
        for group in _alike(chosen):
            made = sent(background, group[0])
            plain = DummyGradients(background, group[0].weights, dtype=made.dtype)
            start = torch.from_numpy(background.population.inputs[:1])[None].to(made.dtype)
            reachable(plain, start, self.attack)
            both = [*group, *(randomised(one, rng) for one in group if controls)]
            done = [
                found
                for problem, part, labels in self._problems(both, background, made, rng)
                for found in self._solved(solver, problem, part, labels)
            ]
            found |= {one.name: real for one, real in zip(group, done, strict=False)}
            drawn = done[len(group) :]
            beside |= {one.name: control for one, control in zip(group, drawn, strict=False)}
        for name, reconstruction in found.items():
            if reconstruction is None:
                skipped[name] = "every restart diverged"
        kept = [one for one in found.values() if one is not None]
        return ReconstructionGuess(
            reconstructions=tuple(kept),
            skipped=skipped,
            controls=tuple(
                control for one in kept if (control := beside.get(one.observation)) is not None
            ),
        )

    def work(self, sizes: Sequence[ProbeSize], solver: Solver, *, in_steps: bool = False) -> Work:
        """Return what ``run`` will compute: observations that it skips cost nothing.

        Args:
            sizes: Of the observations.
            solver: How dummies are fitted.
            in_steps: Whether local steps are imitated.
        """
        total, begun = NOTHING, set[ProbeSize]()
        for size in sizes:
            if size.in_all > self.most_records or self.refuses(size) is not None:
                continue
            uses = size.uses if in_steps else size.in_all
            uses *= 2 if self.dtype == torch.float64 else 1
            tried = max(self.restarts, self.deals if in_steps and size.batch is not None else 0)
            screens = tried if self.screen is not None and tried > self.restarts else 0
            steps = size.steps if in_steps else 1
            for sets, by in ((self.restarts, solver), (screens, self.screen or solver)):
                # Observations of one kind are searched together: their calls count once.
                calls = by.iterations * steps if sets and size not in begun else 0
                total += Work.of(
                    searches=2 * sets,
                    iterations=by.iterations,
                    uses=uses,
                    calls=calls,
                    tries=tries(by.iterations, size.uses) if in_steps and size.batch else 0,
                )
            begun.add(size)
        return total

    def _reason(self, one: Observation) -> str | None:
        count = records_in(one)
        if count > self.most_records:
            return f"{count} records: more than the {self.most_records} of this budget"
        if not finite(one):
            return NOT_FINITE
        return self.refuses(one)

    def _problems(
        self,
        group: Sequence[Observation],
        background: Background,
        sent: Sent,
        rng: np.random.Generator,
    ) -> Iterator[tuple[Problem, Sequence[Observation], NDArray[np.int64]]]:
        """Yield as many observations at once as memory allows, with the labels read off them."""
        reader = LabelReader(background, group[0].weights)
        count, in_steps = records_in(group[0]), not isinstance(sent, DummyGradients)
        mini = in_steps and group[0].batch is not None
        deals = max(self.restarts, self.deals if mini else 0)
        at_once = max(1, MOST_VALUES // (count * sent.parameters * deals))
        for begin in range(0, len(group), at_once):
            part = group[begin : begin + at_once]
            # Where there are two readings of the labels, starts and deals take turns.
            readings = [reader.readings(one, count) for one in part]
            labels = np.concatenate([np.resize(read, (deals, count)) for read in readings])
            layout = layout_of(part, restarts=deals, in_steps=in_steps)
            if mini:
                labels = dealt(labels, layout, rng=rng)
            problem = self._problem(part, background, sent, layout=layout, labels=labels, rng=rng)
            if self.screen is not None and deals > self.restarts:
                screened = self.screen.solve(problem)
                losses = screened.losses.view(len(part), deals)
                best = losses.nan_to_num(torch.inf).argsort(dim=1)[:, : self.restarts].numpy()
                tried = _kinds(screened, labels).reshape(len(part), deals, -1)
                labels = np.take_along_axis(tried, best[..., None], 1).reshape(best.size, -1)
                layout = layout_of(part, restarts=self.restarts, in_steps=in_steps)
                problem = self._problem(
                    part, background, sent, layout=layout, labels=labels, rng=rng
                )
            yield problem, part, labels

    def _problem(
        self,
        part: Sequence[Observation],
        background: Background,
        sent: Sent,
        *,
        layout: Layout,
        labels: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> Problem:
        """Return the problem of some observations, with new starts."""
        sets = len(labels) // len(part)
        hot = torch.from_numpy(np.eye(background.architecture.classes)[labels])
        shares = torch.from_numpy(np.stack([_shares(one) for one in part]))
        targets = torch.stack([sent.target(gradient_of(one)) for one in part])
        start = torch.from_numpy(rng.random((*labels.shape, *background.architecture.input_shape)))
        return Problem(
            background=background,
            sent=sent,
            targets=targets.repeat_interleave(sets, 0),
            labels=hot.to(sent.dtype),
            shares=shares.to(sent.dtype).repeat_interleave(sets, 0),
            noise=noise_in(part[0], background),
            start=start.to(sent.dtype),
            layout=layout,
        )

    def _solved(
        self,
        solver: Solver,
        problem: Problem,
        part: Sequence[Observation],
        labels: NDArray[np.int64],
    ) -> Iterator[Reconstruction | None]:
        """Yield of each observation the restart with the smallest loss, or None."""
        found = solver.solve(problem)
        labels = _kinds(found, labels)
        shape = (len(part), self.restarts)
        each = found.records.reshape(*shape, *problem.start.shape[1:])
        kinds = labels.reshape(*shape, -1)
        losses = torch.where(found.losses.isfinite(), found.losses, torch.inf).view(shape)
        for at, one in enumerate(part):
            best = int(losses[at].argmin())
            if not (losses[at, best].isfinite() and each[at, best].isfinite().all()):
                yield None
                continue
            records, known = problem.layout.merged(each[at, best], kinds[at, best])
            yield Reconstruction(
                observation=one.name,
                clients=one.clients,
                records=records.float().numpy(),
                labels=known.astype(np.int64),
                objective=float(losses[at, best]),
            )


@dataclass(frozen=True, kw_only=True)
class SearchedInversion:
    """An attack that searches for the records of every single-step probe.

    Args:
        search: Which probes, how many starts.
        solver: How dummies are fitted.
    """

    search: Search
    solver: Solver

    def guess(self, view: View, rng: np.random.Generator) -> ReconstructionGuess:
        """Reconstruct every probe that is small enough.

        Raises:
            ViewError: The view has no probes, or its model leaves no gradient path.
        """
        return self.search.run(view, self.solver, rng)

    def work(self, background: Background, sizes: Sequence[ProbeSize]) -> Work:
        """Return what that will compute (``work.Searching``)."""
        del background
        return self.search.work(sizes, self.solver)


def noise_in(one: Observation, background: Background) -> float:
    """Return the deviation of DP noise in each coordinate of an observation's gradient."""
    recipe = background.recipe
    if recipe.noise_multiplier is None or recipe.max_grad_norm is None or not one.records:
        return 0.0
    shares = float(np.square(one.shares).sum() * one.steps) ** 0.5
    return float(
        recipe.noise_multiplier * recipe.max_grad_norm / (one.batch or one.records) * shares
    )


def single_step(one: Observation | ProbeSize) -> str | None:
    """Refuse observations of several steps (``Search.refuses``)."""
    return None if one.steps == 1 else f"{one.steps} local steps: see fedavg-unrolled"


def no_step_alone(one: Observation | ProbeSize) -> str | None:
    """Refuse observations of a single step (``Search.refuses``)."""
    return None if one.steps > 1 else "a single step: see inverting-gradients"


def _alike(observations: Sequence[Observation]) -> Iterator[list[Observation]]:
    """Yield observations of the same model, records, hospitals, steps and batches together."""

    def kind(one: Observation) -> tuple[int, ...]:
        batch, known = one.batch or 0, one.order is not None
        return one.round, records_in(one), len(one.clients), one.steps, batch, known

    for _, group in groupby(sorted(observations, key=kind), key=kind):
        rest = list(group)
        while rest:
            first = rest[0].weights
            same = [one for one in rest if _equal(one.weights, first)]
            yield same
            rest = [one for one in rest if not _equal(one.weights, first)]


def _kinds(found: Solution, given: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the labels of a solution: those that it fitted or dealt anew, or the given ones."""
    return given if found.labels is None else found.labels.argmax(dim=2).numpy()


def _equal(a: object, b: object) -> bool:
    return a is b or all(np.array_equal(a[name], b[name]) for name in b)  # type: ignore[index,attr-defined]


def _shares(one: Observation) -> NDArray[np.float64]:
    each = [share / (one.records or 1) for share in one.shares]
    return np.repeat(each, one.records or 1)


def image_like(background: Background) -> bool:
    """Say whether records are images of (channels, height, width)."""
    return len(background.architecture.input_shape) == 3


def refuse_tables(background: Background, attack: str) -> None:
    """Check that records are images.

    Raises:
        ViewError: They are not.
    """
    if not image_like(background):
        raise ViewError(f"{attack} needs images; these records are tables")
