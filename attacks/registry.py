"""All attacks: one line each. Adding an attack is one file and one entry here."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module

from attacks.attack import Attack, Budget
from audit.core.adversaries import Adversary
from audit.core.errors import ConfigError


class Family(StrEnum):
    """What an attack guesses."""

    MEMBERSHIP = "membership"
    INVERSION = "inversion"
    ATTRIBUTE = "attribute"
    AUDIT = "dp-audit"


class Canary(StrEnum):
    """What kind of made-up record an audit plants."""

    GRADIENT = "gradient"
    OUTLIER = "outlier"
    RECORD = "record"
    HOSPITAL = "hospital"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An attack's line in the registry.

    Args:
        id: As on the command line and in every record.
        title: One line for people.
        family: What it guesses, and so how it is scored.
        adversaries: Whose views it runs on.
        source: Paper and section.
        module: Where its ``build(budget)``, or what follows a colon, is; imported when it is run.
        baseline: Another entry, run on the same view, whose score is this one's chance level.
        references: Whether its view must hold reference federations.
        canary: What it plants in audit cells; None: it works on what was recorded.
    """

    id: str
    title: str
    family: Family
    adversaries: tuple[Adversary, ...]
    source: str
    module: str
    baseline: str | None = None
    references: bool = False
    canary: Canary | None = None

    def build(self, budget: Budget) -> Attack:
        """Return the attack with the hyperparameters of a budget."""
        module, _, builder = self.module.partition(":")
        build: Callable[[Budget], Attack] = getattr(import_module(module), builder or "build")
        return build(budget)


_MODEL = (Adversary.QUERY, Adversary.RECIPIENT)
_SERVERS = (Adversary.SERVER, Adversary.SECAGG_SERVER)

_ALL = (
    Entry(
        id="loss",
        title="loss threshold",
        family=Family.MEMBERSHIP,
        adversaries=_MODEL,
        source="Yeom et al. 2018, arXiv:1709.01604, adversary 2 (threshold)",
        module="attacks.membership.loss",
    ),
    Entry(
        id="art-rule",
        title="ART's rule: classified correctly means member",
        family=Family.MEMBERSHIP,
        adversaries=(Adversary.RECIPIENT,),
        source="Adversarial Robustness Toolbox; Yeom et al. 2018, arXiv:1709.01604 (adversary 1)",
        module="attacks.membership.art_rule",
    ),
    Entry(
        id="modified-entropy",
        title="modified prediction entropy threshold",
        family=Family.MEMBERSHIP,
        adversaries=_MODEL,
        source="Song and Mittal 2021, arXiv:2003.10595, equation 8",
        module="attacks.membership.modified_entropy",
    ),
    Entry(
        id="lira-online",
        title="likelihood ratio against models with and without the record",
        family=Family.MEMBERSHIP,
        adversaries=_MODEL,
        source="Carlini et al. 2022, arXiv:2112.03570, Algorithm 1 and section VI-B",
        module="attacks.membership.lira_online",
        references=True,
    ),
    Entry(
        id="lira-offline",
        title="standard score against models without the record",
        family=Family.MEMBERSHIP,
        adversaries=_MODEL,
        source="Carlini et al. 2022, arXiv:2112.03570, section IV-C, equation 4",
        module="attacks.membership.lira_offline",
        references=True,
    ),
    Entry(
        id="lira-local",
        title="likelihood ratio with the gap and spread of records as difficult",
        family=Family.MEMBERSHIP,
        adversaries=_MODEL,
        source="this project, after Carlini et al. 2022, arXiv:2112.03570, Algorithm 1",
        module="attacks.membership.lira_local",
        references=True,
    ),
    Entry(
        id="rmia",
        title="robust membership inference against population records",
        family=Family.MEMBERSHIP,
        adversaries=_MODEL,
        source="Zarifzadeh et al. 2024, arXiv:2312.03262, and the authors' code",
        module="attacks.membership.rmia",
        references=True,
    ),
    Entry(
        id="bavaria",
        title="Bayesian likelihood ratio for few reference models",
        family=Family.MEMBERSHIP,
        adversaries=_MODEL,
        source="Brännvall 2026, arXiv:2603.11799, BaVarIA-t",
        module="attacks.membership.bavaria",
        references=True,
    ),
    Entry(
        id="art-black-box",
        title="ART's attack model, fitted on reference models",
        family=Family.MEMBERSHIP,
        adversaries=_MODEL,
        source="Adversarial Robustness Toolbox; Shokri et al. 2017, arXiv:1610.05820",
        module="attacks.membership.art_black_box",
        references=True,
    ),
    Entry(
        id="art-decision-boundary",
        title="label-only distance to the decision boundary",
        family=Family.MEMBERSHIP,
        adversaries=(Adversary.QUERY,),
        source="Adversarial Robustness Toolbox; Choquette-Choo et al. 2021, arXiv:2007.14321, 3.4",
        module="attacks.membership.art_decision_boundary",
    ),
    Entry(
        id="update-cosine",
        title="cosine between a candidate's gradient and the updates",
        family=Family.MEMBERSHIP,
        adversaries=_SERVERS,
        source="Li, Li and Ribeiro 2023, ICLR, openreview QsCSLPP55Ku (cosine attack)",
        module="attacks.membership.update_cosine",
    ),
    Entry(
        id="update-difference",
        title="how much shorter updates get without a candidate's gradient",
        family=Family.MEMBERSHIP,
        adversaries=_SERVERS,
        source="Li, Li and Ribeiro 2023, ICLR, openreview QsCSLPP55Ku (gradient difference)",
        module="attacks.membership.update_difference",
    ),
    Entry(
        id="update-regression",
        title="regression of the updates on all candidates' gradients",
        family=Family.MEMBERSHIP,
        adversaries=_SERVERS,
        source="this project, after Leemann et al. 2023, arXiv:2306.07273 (GLiR)",
        module="attacks.membership.update_regression",
    ),
    Entry(
        id="loss-trajectory",
        title="losses over the rounds' global models, held against reference federations",
        family=Family.MEMBERSHIP,
        adversaries=(Adversary.PARTICIPANT,),
        source="Liu et al. 2022, arXiv:2208.14933",
        module="attacks.membership.loss_trajectory",
        references=True,
    ),
    Entry(
        id="prior-mean",
        title="baseline without gradient: the population's mean record",
        family=Family.INVERSION,
        adversaries=_SERVERS,
        source="prior-only baseline",
        module="attacks.inversion.prior",
    ),
    Entry(
        id="dlg",
        title="deep leakage from gradients",
        family=Family.INVERSION,
        adversaries=_SERVERS,
        source="Zhu et al. 2019, arXiv:1906.08935, section 3",
        module="attacks.inversion.dlg",
        baseline="prior-mean",
    ),
    Entry(
        id="first-layer",
        title="analytic inversion of the first fully connected layer",
        family=Family.INVERSION,
        adversaries=_SERVERS,
        source="Phong et al. 2018, doi 10.1109/TIFS.2017.2787987; Geiping et al. 2020, "
        "arXiv:2003.14053, proposition 3.1",
        module="attacks.inversion.first_layer",
        baseline="prior-mean",
    ),
    Entry(
        id="spear",
        title="exact inversion of small batches through ReLU sparsity",
        family=Family.INVERSION,
        adversaries=_SERVERS,
        source="after Dimitrov et al. 2024, arXiv:2403.03945",
        module="attacks.inversion.spear",
        baseline="prior-mean",
    ),
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
    Entry(
        id="canary-update",
        title="DP audit: gradient canaries against single updates",
        family=Family.AUDIT,
        adversaries=(Adversary.SERVER,),
        source="after Nasr et al. 2023, arXiv:2302.07956, section 4",
        module="attacks.auditing.gradient_canary:update",
        canary=Canary.GRADIENT,
    ),
    Entry(
        id="canary-difference",
        title="DP audit: gradient canaries against differences of two updates",
        family=Family.AUDIT,
        adversaries=(Adversary.SERVER,),
        source="this project; canaries after Nasr et al. 2023, arXiv:2302.07956",
        module="attacks.auditing.gradient_canary:difference",
        canary=Canary.GRADIENT,
    ),
    Entry(
        id="canary-sum",
        title="DP audit: gradient canaries against the sum of updates",
        family=Family.AUDIT,
        adversaries=(Adversary.SECAGG_SERVER,),
        source="after Nasr et al. 2023, arXiv:2302.07956, section 4",
        module="attacks.auditing.gradient_canary:total",
        canary=Canary.GRADIENT,
    ),
    Entry(
        id="canary-own-noise",
        title="DP audit: gradient canaries against the sum less one's own noise",
        family=Family.AUDIT,
        adversaries=(Adversary.PARTICIPANT,),
        source="this project; canaries after Nasr et al. 2023, arXiv:2302.07956",
        module="attacks.auditing.gradient_canary:own_noise",
        canary=Canary.GRADIENT,
    ),
    Entry(
        id="canary-noise-seed",
        title="DP audit: noise from a generator whose seeds can be tried",
        family=Family.AUDIT,
        adversaries=(Adversary.SERVER,),
        source="this project; the generator: Matsumoto and Nishimura 1998",
        module="attacks.auditing.noise_seed",
        canary=Canary.GRADIENT,
    ),
    Entry(
        id="canary-outlier",
        title="DP audit: what an outlier does to how other records are treated",
        family=Family.AUDIT,
        adversaries=(Adversary.SERVER,),
        source="this project",
        module="attacks.auditing.outlier_canary",
        canary=Canary.OUTLIER,
    ),
    Entry(
        id="canary-records",
        title="DP audit: canary records and the final model of one run",
        family=Family.AUDIT,
        adversaries=(Adversary.QUERY,),
        source="Steinke et al. 2023, arXiv:2305.08846, section 5",
        module="attacks.auditing.record_canary:one_run",
        canary=Canary.RECORD,
    ),
    Entry(
        id="canary-runs",
        title="DP audit: a canary record and the final models of many runs",
        family=Family.AUDIT,
        adversaries=(Adversary.QUERY,),
        source="after Annamalai and De Cristofaro 2024, arXiv:2405.14106",
        module="attacks.auditing.record_canary:many_runs",
        canary=Canary.RECORD,
    ),
    Entry(
        id="canary-hospitals",
        title="estimate: whole hospitals in unison, and the final model",
        family=Family.AUDIT,
        adversaries=(Adversary.RECIPIENT,),
        source="after Andrew et al. 2024, arXiv:2302.03098",
        module="attacks.auditing.hospital_canary",
        canary=Canary.HOSPITAL,
    ),
)

ATTACKS = {entry.id: entry for entry in _ALL}


def select(only: list[str] | None) -> list[Entry]:
    """Return the chosen attacks, each preceded by its baseline, in the registry's order.

    Raises:
        ConfigError: An id is unknown.
    """
    if not only:
        return list(_ALL)
    for name in only:
        if name not in ATTACKS:
            raise ConfigError(
                f"--only {name!r}: unknown attack; expected one of {', '.join(ATTACKS)}"
            )
    wanted = {*only, *(ATTACKS[name].baseline for name in only)}
    return [entry for entry in _ALL if entry.id in wanted]
