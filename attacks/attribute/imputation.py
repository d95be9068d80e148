"""The baseline of attribute inference: what the other fields tell, without any model."""

from typing import Any

import numpy as np

from attacks.attack import Budget
from attacks.attribute.knowledge import ATTACK_MODEL, knowledge, query_view
from audit.core.guesses import AttributeGuess
from audit.core.views import QueryView, View


class Imputation:
    """Learn the hidden attribute from the population's other fields and labels.

    Source:
        ART's ``AttributeInferenceBaseline``; as the yardstick of attribute inference, Jayaraman and
        Evans 2022, arXiv:2209.01292. Differs: the label stands among the known fields, where ART's
        class takes none, since the attack that is compared with it knows the label too.
    """

    def guess(self, view: View, rng: np.random.Generator) -> AttributeGuess:
        """Return the more likely category of each candidate; ``rng`` is not used.

        Raises:
            ViewError: The view hides no attribute, or shows it.
        """
        return impute(query_view(view, "attribute-imputation"), "attribute-imputation")


def impute(view: QueryView, name: str) -> AttributeGuess:
    """Guess without the model; for an attack, what it falls back on.

    Args:
        view: Of an adversary that guesses an attribute.
        name: The attack, named in an error.

    Raises:
        ViewError: The view hides no attribute, or shows it.
    """
    from art.attacks.inference.attribute_inference import AttributeInferenceBaseline

    known = knowledge(view, name, answered=False)
    attack: Any = AttributeInferenceBaseline(attack_model_type=ATTACK_MODEL, attack_feature=0)
    attack.fit(known.labelled)
    inferred = attack.infer(known.candidates, values=[0, 1])
    chances = attack.attack_model.predict_proba(known.candidates.astype(np.float32))
    return known.answer(inferred, chances)


def build(budget: Budget) -> Imputation:
    """Return the baseline; every budget is the same."""
    del budget
    return Imputation()
