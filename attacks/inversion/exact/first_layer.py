"""Analytic inversion of the first fully connected layer: a neuron's gradient over its bias'."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attacks.attack import Budget, probe_observations, records_in
from attacks.inversion.controls import with_controls
from attacks.inversion.exact.fully_connected import FirstLayer, Matrix, likely_labels, unusable
from attacks.inversion.exact.peeling import Split, peeled
from audit.core.guesses import Reconstruction, ReconstructionGuess
from audit.core.views import Background, Observation, View

SURE = 4.0
"""Deviations of the noise's square by which the bias' gradient must exceed it to be a sign."""


@dataclass(frozen=True, kw_only=True)
class FirstLayerInversion:
    """Divide the gradient of the first layer's weights by that of its bias.

    One record makes the weights' gradient of every neuron the bias' times the record, whatever
    clipping did to both: least squares over the neurons gives the record, drawn towards the
    population's mean as far as noise hides it. Of several records each
    neuron gives a mixture, weighted by their gradients; behind a ReLU some neurons see one record
    alone, and give it exactly. Which ones do shows without the truth: the gradient that the model
    has for the ratio, under some label, lies in the span of the observed one's columns. Such a
    record's part is taken off, and other neurons are left with one record. Where none is found any
    more, the population's mean fills up: mixtures are further from the records than that.

    Args:
        most_mixtures: Distinct ratios of neurons that are looked at, the largest first.

    Source:
        Phong et al. 2018, doi 10.1109/TIFS.2017.2787987 (a neuron's ratio); Geiping et
        al. 2020, arXiv:2003.14053, proposition 3.1; mixtures and neurons that see one record
        alone: Fowl et al. 2022, arXiv:2110.13057, where the server crafts the model for that.
        Differs: the model is as it was trained, the span tells records from mixtures, and a record
        that was found is taken off by the rank that it adds (Wedderburn's reduction).
    """

    most_mixtures: int

    def guess(self, view: View, rng: np.random.Generator) -> ReconstructionGuess:
        """Reconstruct every probe, and a random gradient beside each.

        Raises:
            ViewError: No probes, or a model without a fully connected first layer with a bias.
        """
        probes = probe_observations(view, "first-layer")
        return with_controls(lambda some: self._each(some, view.background), probes, rng)

    def _each(self, probes: Sequence[Observation], background: Background) -> ReconstructionGuess:
        done: list[Reconstruction] = []
        skipped: dict[str, str] = {}
        for probe in probes:
            first = FirstLayer.of(background, probe, "first-layer")
            gradient = first.gradient(probe)
            reason = unusable(gradient)
            if reason is not None:
                skipped[probe.name] = reason
            else:
                done.append(self._invert(first, gradient, probe, background))
        return ReconstructionGuess(reconstructions=tuple(done), skipped=skipped)

    def _invert(
        self, first: FirstLayer, gradient: Matrix, probe: Observation, background: Background
    ) -> Reconstruction:
        count = records_in(probe)
        split = Split.of(gradient, count)
        prior = background.population.inputs.mean(axis=0).ravel().astype(np.float64)
        low, high = background.record_range
        labels = likely_labels(probe, background, count)
        rows = np.repeat(prior[None], count, axis=0)
        if count == 1:
            rows[0] = denoised_ratio(gradient, split.noise, prior=prior, spread=high - low)
        else:
            found = peeled(first, gradient, count, background, most=self.most_mixtures)
            known = len(found.labels)
            rows[:known], labels[:known] = found.rows[:, :-1], found.labels
        records = rows.reshape(count, *background.architecture.input_shape)
        return Reconstruction(
            observation=probe.name,
            clients=probe.clients,
            records=records.clip(low, high).astype(np.float32),
            labels=labels,
            objective=_unexplained(gradient, rows),
        )


def denoised_ratio(gradient: Matrix, noise: float, *, prior: Matrix, spread: float) -> Matrix:
    """Return the same as far as it stands out of the noise, and the prior as far as not.

    The bias' gradient is noisy, too: its square exceeds the true one by the noise's, which is
    taken off. What is left must be more than chance makes of noise, or nothing was seen.

    Args:
        gradient: As for ``ratio``.
        noise: Standard deviation of an entry.
        prior: The record to expect, shape (inputs,).
        spread: Width of the range of records, taken for that of a uniform prior.

    Returns:
        Shape (inputs,), in the record's units.
    """
    bias, neurons = gradient[:, -1], len(gradient)
    power = bias @ bias - neurons * noise**2
    if power <= SURE * (2.0 * neurons) ** 0.5 * noise**2:
        return prior.astype(np.float64)
    moved = bias @ gradient[:, :-1] - power * prior
    variance = noise**2 * (bias @ bias) * (1.0 + prior**2)
    found: Matrix = prior + power * moved / (power**2 + variance * 12.0 / spread**2)
    return found


def _unexplained(gradient: Matrix, rows: Matrix) -> float:
    """Return the squared part of a gradient that lies outside the span of rows (record, 1)."""
    span = np.column_stack([rows, np.ones(len(rows))])
    weights = np.linalg.lstsq(span.T, gradient.T, rcond=None)[0]
    return float(((gradient - weights.T @ span) ** 2).sum() / (gradient**2).sum())


def build(budget: Budget) -> FirstLayerInversion:
    """Return the attack at a budget."""
    mixtures = {Budget.QUICK: 256, Budget.STANDARD: 1024, Budget.THOROUGH: 4096}
    return FirstLayerInversion(most_mixtures=mixtures[budget])
