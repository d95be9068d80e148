"""ART's learned attack: a model of membership, fitted on the answers of reference models."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from attacks.attack import Budget, answers, reference_models
from attacks.membership.art_model import art_classifier
from attacks.membership.likelihood import require_both_sides
from audit.core.guesses import MembershipGuess
from audit.core.views import View


class ArtBlackBox:
    """Score a candidate by what ART's attack model, fitted on reference models, says of it.

    Args:
        trees: Trees of the random forest.
        least_leaf: Fewest answers in a leaf; ART's own default of 1 remembers single answers.

    Source:
        ART's ``MembershipInferenceBlackBox`` on predictions and true labels, with its random
        forest; the shadow models of Shokri et al. 2017, arXiv:1610.05820. Differs: the
        reference models are shadow models on the candidates themselves; one attack model sees the
        class as an input, as ART has it, where the paper trains one a class.
    """

    def __init__(self, *, trees: int, least_leaf: int) -> None:
        self.trees, self.least_leaf = trees, least_leaf

    def guess(self, view: View, rng: np.random.Generator) -> MembershipGuess:
        """Return the attack model's chances of membership; ``rng`` seeds its forest.

        Raises:
            ViewError: The view lacks the model or reference models on both sides.
        """
        from art.attacks.inference.membership_inference import MembershipInferenceBlackBox

        background, candidates = view.background, view.background.candidates
        target = softmax(answers(view, "art-black-box"), axis=1)
        references = reference_models(view, "art-black-box")
        require_both_sides(references.trained_on, "art-black-box", least=1)
        seen = softmax(references.logits[:, -1].astype(np.float64), axis=2)
        labels = np.broadcast_to(candidates.labels, seen.shape[:2])
        inside, outside = references.trained_on, ~references.trained_on
        attack: Any = MembershipInferenceBlackBox(
            art_classifier(background, _unasked), attack_model_type="rf"
        )
        attack.attack_model.set_params(
            n_estimators=self.trees,
            min_samples_leaf=self.least_leaf,
            random_state=int(rng.integers(2**31)),
            n_jobs=1,
        )
        attack.fit(
            pred=seen[inside], y=labels[inside], test_pred=seen[outside], test_y=labels[outside]
        )
        chances = attack.infer(None, y=candidates.labels, pred=target, probabilities=True)
        return MembershipGuess(
            candidates=candidates.ids, scores=np.asarray(chances, dtype=np.float64).ravel()
        )


def build(budget: Budget) -> ArtBlackBox:
    """Return the attack; a larger budget grows a larger forest."""
    trees = {Budget.QUICK: 100, Budget.STANDARD: 300, Budget.THOROUGH: 1000}[budget]
    return ArtBlackBox(trees=trees, least_leaf=5)


def _unasked(inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Refuse a query: the answers were handed over, and each is counted once."""
    raise AssertionError(f"ART asked about {len(inputs)} records whose answers it was given")
