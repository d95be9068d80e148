"""The gap attack, as the Adversarial Robustness Toolbox has it: right means member."""

from typing import Any

import numpy as np
from torch import nn

from attacks.attack import Budget, released_model
from audit.core.guesses import MembershipGuess
from audit.core.views import View


class ArtRuleBased:
    """Score 1 where the released model predicts the true label, else 0.

    Source:
        ART's ``MembershipInferenceBlackBoxRuleBased``; adversary 1 of Yeom et al. 2018,
        arXiv:1709.01604, with the 0-1 loss; the gap attack of Choquette-Choo et al. 2021,
        arXiv:2007.14321, section 3.1. It needs no more than labels, and no reference model.
    """

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Return 1 for a guessed member; ``rng`` is not used.

        Raises:
            ViewError: The view has no released weights.
        """
        from art.attacks.inference.membership_inference import (
            MembershipInferenceBlackBoxRuleBased,
        )
        from art.estimators.classification import PyTorchClassifier

        weights = released_model(view, "art-rule")
        background = view.background
        classifier: Any = PyTorchClassifier(
            model=background.architecture.module(weights),
            loss=nn.CrossEntropyLoss(),
            input_shape=background.architecture.input_shape,
            nb_classes=background.architecture.classes,
            clip_values=background.record_range,
            device_type="cpu",
        )
        attack: Any = MembershipInferenceBlackBoxRuleBased(classifier)
        one_hot = np.eye(background.architecture.classes, dtype=np.float32)
        candidates = background.candidates
        inferred = attack.infer(candidates.inputs, one_hot[candidates.labels])
        return MembershipGuess(
            candidates=candidates.ids, scores=np.asarray(inferred, dtype=np.float64).ravel()
        )


def build(budget: Budget) -> ArtRuleBased:
    """Return the attack; every budget is the same."""
    del budget
    return ArtRuleBased()
