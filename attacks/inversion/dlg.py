"""Deep leakage from gradients: made-up records whose gradient is fitted to the observed one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from attacks.attack import (
    CLIP_SLACK,
    NOT_FINITE,
    Budget,
    finite,
    gradient_of,
    probe_observations,
    records_in,
)
from attacks.inversion.controls import with_controls
from attacks.inversion.dummies import DummyGradients, reachable
from attacks.inversion.labels.reader import LabelReader
from attacks.inversion.work import NOTHING, ProbeSize, Work
from audit.core.errors import ViewError
from audit.core.guesses import Reconstruction, ReconstructionGuess
from audit.core.views import Background, Observation, View

LABEL_START = 4.0
"""Logit with which a likely label starts ahead of the noise."""

CERTAIN = 40.0
"""Logit of a label that is known: the others' probabilities vanish beside it."""


@dataclass(frozen=True, kw_only=True)
class DeepLeakage:
    """Fit dummy records and soft labels to a probe's gradient by L-BFGS.

    Args:
        iterations: L-BFGS iterations for one record; more records get more (``growth``).
        restarts: Starts from new noise; the one with the smallest matching loss is kept.
        most_records: Larger probes are skipped, with that as the reason.
        initial_scale: Standard deviation of the first dummy records, input units.
        reads_labels: Whether labels are read off the gradient and kept (iDLG), as in
            ``inversion.labels.reader``; else they are optimised with the records.
        controls: Whether random gradients are inverted beside.

    Source:
        Zhu et al. 2019, arXiv:1906.08935, section 3: squared distance of gradients, labels
        optimised with the records. Differs: float64, a strong Wolfe line search, a distance
        relative to the observed gradient, dummies that start near zero and at the labels that
        the last bias' gradient points to (Zhao et al. 2020, arXiv:2001.02610, section 3), and
        where the recipe clips each record's gradient the dummies' gradients are clipped alike,
        since the adversary knows the recipe.
    """

    iterations: int
    restarts: int
    most_records: int
    initial_scale: float = 0.1
    reads_labels: bool = False
    controls: bool = True

    @property
    def id(self) -> str:
        """As in the registry."""
        return "idlg" if self.reads_labels else "dlg"

    def guess(self, view: View, rng: np.random.Generator) -> ReconstructionGuess:
        """Reconstruct every probe that is small enough, and a random gradient beside each.

        Raises:
            ViewError: The view has no probes, or its model leaves no gradient path.
        """
        probes = probe_observations(view, self.id)
        return with_controls(
            lambda some: self._each(some, view.background, rng), probes, rng, wanted=self.controls
        )

    def _each(
        self, probes: Sequence[Observation], background: Background, rng: np.random.Generator
    ) -> ReconstructionGuess:
        done: list[Reconstruction] = []
        skipped: dict[str, str] = {}
        for probe in probes:
            count = records_in(probe)
            if count > self.most_records:
                skipped[probe.name] = (
                    f"{count} records: more than the {self.most_records} of this budget"
                )
                continue
            if probe.steps > 1:
                skipped[probe.name] = f"{probe.steps} local steps: see fedavg-unrolled"
                continue
            if not finite(probe):
                skipped[probe.name] = NOT_FINITE
                continue
            reconstruction = self._invert(probe, background, rng)
            if reconstruction is None:
                skipped[probe.name] = "every restart diverged"
            else:
                done.append(reconstruction)
        return ReconstructionGuess(reconstructions=tuple(done), skipped=skipped)

    def work(self, background: Background, sizes: Sequence[ProbeSize]) -> Work:
        """Return about the most that ``guess`` will compute (``work.Searching``)."""
        del background
        total, begun = NOTHING, set[ProbeSize]()
        for size in sizes:
            if size.in_all <= self.most_records and size.steps == 1:
                most = int(self.iterations * size.in_all**0.5) * 3 // 2
                searches = self.restarts * (1 if size in begun else 2)  # and a random gradient
                begun.add(size)
                total += Work.of(
                    searches=searches,
                    iterations=most,
                    uses=2 * size.in_all,
                    calls=searches * most,
                )
        return total

    def _invert(
        self, probe: Observation, background: Background, rng: np.random.Generator
    ) -> Reconstruction | None:
        module: nn.Module = background.architecture.module(probe.weights)
        matching = _Matching(module.double(), probe, background)
        count = records_in(probe)
        shape = (count, *background.architecture.input_shape)
        ramp = torch.linspace(*background.record_range, int(np.prod(shape[1:])))
        reachable(
            DummyGradients(background, probe.weights, dtype=torch.float64),
            ramp.double().view(1, 1, *shape[1:]),
            self.id,
        )
        best: tuple[float, Tensor, Tensor] | None = None
        for _ in range(self.restarts):
            records = torch.from_numpy(self.initial_scale * rng.standard_normal(shape))
            found = self._descend(matching, records, self._labels(matching, probe, background, rng))
            if np.isfinite(found[0]) and (best is None or found[0] < best[0]):
                best = found
        if best is None:
            return None
        low, high = background.record_range
        return Reconstruction(
            observation=probe.name,
            clients=probe.clients,
            records=best[1].clamp(low, high).float().numpy(),
            labels=best[2].argmax(dim=1).numpy(),
            objective=best[0],
        )

    def _labels(
        self,
        matching: "_Matching",
        probe: Observation,
        background: Background,
        rng: np.random.Generator,
    ) -> Tensor:
        """Return the first logits of the dummies' labels."""
        count, classes = records_in(probe), background.architecture.classes
        if self.reads_labels:
            known = LabelReader(background, probe.weights).labels(probe, count)
            return torch.from_numpy(CERTAIN * np.eye(classes)[known])
        noise = rng.standard_normal((count, classes))
        return torch.from_numpy(noise + LABEL_START * matching.likely_labels(count))

    def _descend(
        self, matching: "_Matching", records: Tensor, labels: Tensor
    ) -> tuple[float, Tensor, Tensor]:
        """One start; return the matching loss reached, and the dummies."""
        parameters = [records.requires_grad_()]
        if not self.reads_labels:
            parameters.append(labels.requires_grad_())
        steps = int(self.iterations * len(records) ** 0.5)
        optimizer = torch.optim.LBFGS(
            parameters,
            lr=1.0,
            max_iter=steps,
            max_eval=steps * 3 // 2,
            history_size=50,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-12,
            tolerance_change=1e-16,
        )

        def closure() -> Tensor:
            loss = matching.loss(records, labels)
            gradients = torch.autograd.grad(loss, parameters)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        return matching.loss(records, labels).item(), records.detach(), labels.detach()


class _Matching:
    """Distance between the observed gradient and the one that dummies would have caused."""

    def __init__(self, module: nn.Module, probe: Observation, background: Background) -> None:
        self._module = module
        self._max_grad_norm = background.recipe.max_grad_norm
        self._loss_scale = background.recipe.loss_scale
        self._offsets = torch.from_numpy(
            np.log(background.recipe.class_priors or np.ones(background.architecture.classes))
        )
        self._weights = {n: p.detach() for n, p in module.named_parameters()}
        each = [share / (probe.records or 1) for share in probe.shares]
        self._shares = torch.from_numpy(np.repeat(each, probe.records or 1))
        target = gradient_of(probe)
        self._target = [torch.from_numpy(target[name]) for name in self._weights]
        if len(self._target[-1]) != background.architecture.classes:
            raise ViewError("dlg needs a model whose last parameter has a row for each class")
        self._scale = 1.0 / max(float(sum((t**2).sum() for t in self._target)), 1e-300)

    def likely_labels(self, count: int) -> NDArray[np.float64]:
        """Return one-hot starts from the last layer's gradient, shape (count, classes).

        True labels make a bias' gradient negative; without a bias, they make the longest rows of
        the weights' gradient. The likeliest class comes first, and again if there are too few.
        """
        last = self._target[-1].numpy()
        if last.ndim == 1:
            order, found = np.argsort(last), int((last < 0).sum())
        else:
            lengths = np.linalg.norm(last.reshape(len(last), -1), axis=1)
            order, found = np.argsort(-lengths), int((lengths > lengths.max() / 2).sum())
        return np.eye(len(last))[np.resize(order[: max(1, found)], count)]

    def loss(self, records: Tensor, labels: Tensor) -> Tensor:
        """Return the squared distance of the gradients, relative to the observed one's square."""
        soft = labels.softmax(dim=1)
        gradients = (
            self._mean_gradient(records, soft)
            if self._max_grad_norm is None
            else self._clipped_mean_gradient(records, soft, self._max_grad_norm)
        )
        parts = [((g - t) ** 2).sum() for g, t in zip(gradients, self._target, strict=True)]
        return self._scale * torch.stack(parts).sum()

    def _mean_gradient(self, records: Tensor, soft: Tensor) -> Sequence[Tensor]:
        weights = {n: w.requires_grad_() for n, w in self._weights.items()}
        logits = functional_call(self._module, weights, (records,)) + self._offsets
        loss = -(self._shares @ (soft * logits.log_softmax(dim=1)).sum(dim=1))
        return torch.autograd.grad(loss, list(weights.values()), create_graph=True)

    def _clipped_mean_gradient(
        self, records: Tensor, soft: Tensor, max_grad_norm: float
    ) -> Sequence[Tensor]:
        if len(records) == 1:  # the mean is the record's own gradient: no need for one by one
            only = self._mean_gradient(records, soft)
            norm = torch.stack([g.norm() for g in only]).norm()
            factor = (max_grad_norm / (norm + CLIP_SLACK)).clamp(max=self._loss_scale)
            return [factor * g for g in only]

        def one_loss(weights: dict[str, Tensor], record: Tensor, label: Tensor) -> Tensor:
            logits = functional_call(self._module, weights, (record[None],)) + self._offsets
            loss: Tensor = -(label * logits.log_softmax(dim=1)[0]).sum()
            return loss

        weights = {n: w.detach() for n, w in self._weights.items()}
        each = list(vmap(grad(one_loss), in_dims=(None, 0, 0))(weights, records, soft).values())
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in each], dim=1).norm(dim=1)
        factor = (max_grad_norm / (norms + CLIP_SLACK)).clamp(max=self._loss_scale)
        return [torch.einsum("i,i...->...", factor * self._shares, g) for g in each]


def with_labels(budget: Budget) -> DeepLeakage:
    """Return iDLG at a budget: labels are read off the last layer's gradient first."""
    return replace(build(budget), reads_labels=True)


def build(budget: Budget) -> DeepLeakage:
    """Return the attack at a budget."""
    settings = {
        Budget.QUICK: DeepLeakage(iterations=80, restarts=1, most_records=4),
        Budget.STANDARD: DeepLeakage(iterations=200, restarts=2, most_records=8),
        Budget.THOROUGH: DeepLeakage(iterations=300, restarts=4, most_records=24),
    }
    return settings[budget]
