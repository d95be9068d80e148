"""Attribute inference from the released model's answers, as ART has it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.attack import Budget
from attacks.attribute.knowledge import ATTACK_MODEL, knowledge, query_view
from audit.core.guesses import AttributeGuess
from audit.core.views import View


class ArtBlackBox:
    """Learn the hidden attribute from the other fields, the label and the model's answer.

    Source:
        ART's ``AttributeInferenceBlackBox``; the setting of Fredrikson et al. 2014 (USENIX
        Security, "Privacy in Pharmacogenetics"). Differs: ART trains on the predicted class alone;
        here the model is shown to it as a regressor, so that it learns from log-odds. The baseline
        sees the same standardised columns, without the answer.
    """

    def guess(self, view: View, rng: np.random.Generator) -> AttributeGuess:
        """Return the more likely category of each candidate; ``rng`` is not used.

        Raises:
            ViewError: The view hides no attribute, or shows it.
        """
        from art.attacks.inference.attribute_inference import AttributeInferenceBlackBox

        name = "attribute-art"
        known = knowledge(query_view(view, name), name, answered=True)
        # ART adds one column of answers itself: the last, which is all there is for two classes.
        labelled, candidates = known.labelled[:, :-1], known.candidates[:, :-1]
        attack: Any = AttributeInferenceBlackBox(
            _answering(known.population[:, -1], labelled.shape[1]),
            attack_model_type=ATTACK_MODEL,
            attack_feature=0,
            scaler_type=None,  # standardised already, by the same constants as the baseline
        )
        attack.fit(labelled)
        inferred = attack.infer(candidates, pred=known.candidates[:, -1:], values=[0, 1])
        chances = attack.attack_model.predict_proba(known.candidates.astype(np.float32))
        return known.answer(inferred, chances)


def _answering(answers: NDArray[np.float64], width: int) -> Any:
    """Return an estimator that gives these answers, one for each row that ART trains on.

    ART's rows have a category in place of the attribute's value, so the released model itself
    cannot be asked about them.
    """
    from art.estimators.regression import BlackBoxRegressor

    class Answered(BlackBoxRegressor):  # type: ignore[misc]
        def predict(self, x: NDArray[Any], **kwargs: Any) -> NDArray[np.float64]:
            del kwargs
            if len(x) != len(answers):
                raise ValueError(f"{len(x)} rows were asked about, expected {len(answers)}")
            return answers

    return Answered(predict_fn=lambda x: x, input_shape=(width,))


def build(budget: Budget) -> ArtBlackBox:
    """Return the attack; every budget is the same."""
    del budget
    return ArtBlackBox()
