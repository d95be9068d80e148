"""The registry's entries of attribute inference: one for each attack."""

from attacks.entry import Entry, Family
from audit.core.adversaries import Adversary

ENTRIES = (
    Entry(
        id="attribute-imputation",
        title="baseline without model: a hidden attribute from the other fields",
        family=Family.ATTRIBUTE,
        adversaries=(Adversary.QUERY,),
        source="Adversarial Robustness Toolbox; Jayaraman and Evans 2022, arXiv:2209.01292",
        module="attacks.attribute.imputation",
    ),
    Entry(
        id="attribute-art",
        title="ART's black box: a hidden attribute from the model's answer",
        family=Family.ATTRIBUTE,
        adversaries=(Adversary.QUERY,),
        source="Adversarial Robustness Toolbox; Fredrikson et al. 2014 (USENIX Security)",
        module="attacks.attribute.art_black_box",
        baseline="attribute-imputation",
    ),
    Entry(
        id="attribute-match",
        title="the attribute's value whose answer matches the model's",
        family=Family.ATTRIBUTE,
        adversaries=(Adversary.QUERY,),
        source="model inversion, Fredrikson et al. 2014 (USENIX Security), with the exact answer",
        module="attacks.attribute.answer_match",
        baseline="attribute-imputation",
    ),
)
