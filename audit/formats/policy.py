"""``policy.yaml``: what the gate looks at, and how much change it lets pass."""

import hashlib
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictStr,
    model_validator,
)

from audit.core.adversaries import Adversary
from audit.core.errors import ConfigError
from audit.core.loading import config_folder, validate
from audit.core.metrics import METRICS

SCHEMA = "audit-policy/v1"
ALL = "all"
BOUND = "empirical_epsilon_lower_bound"
"""The metric without an upper end: it is held against the claim, never against a limit."""

Level = Literal["off", "warn", "error"]


def _known_metric(name: str) -> str:
    if name != ALL and name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; expected all or one of {', '.join(METRICS)}")
    return name


def _known_adversaries(names: tuple[str, ...]) -> tuple[str, ...]:
    known = [ALL, *(a.value for a in Adversary)]
    for name in names:
        if name not in known:
            raise ValueError(f"unknown adversary {name!r}; expected one of {', '.join(known)}")
    return names


def _off(value: Any) -> Any:
    """YAML 1.1 reads a bare off as false."""
    return "off" if value is False else value


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Target(_Strict):
    """Which scores are meant.

    Attributes:
        metric: An id of ``audit.core.metrics``, or all.
        adversary: One, several, or all.
        attack: An id, a pattern such as ``lira-*``, or all. ``strongest`` is the largest of an
            adversary's attacks, its interval widened for the choice.
        slice: An id, or a pattern such as ``*/batch-1`` or ``worst-*``; ``all`` is the slice of
            that name: all records together. ``*`` is every slice.
    """

    metric: Annotated[StrictStr, AfterValidator(_known_metric)]
    adversary: Annotated[tuple[StrictStr, ...], AfterValidator(_known_adversaries)] = (ALL,)
    attack: StrictStr = ALL
    slice: StrictStr = ALL

    @model_validator(mode="before")
    @classmethod
    def _one_adversary(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and "adversary" in tree:
            tree = {**tree, "adversary": _as_tuple(tree["adversary"])}
        return tree

    def matches(self, *, adversary: str, attack: str, metric: str, slice: str) -> bool:
        """Return whether a score is meant."""
        return (
            self.metric in {ALL, metric}
            and (ALL in self.adversary or adversary in self.adversary)
            and (self.attack == ALL or fnmatchcase(attack, self.attack))
            and fnmatchcase(slice, self.slice)
        )

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.metric} of {self.attack} by {', '.join(self.adversary)} ({self.slice})"


class Rule(Target):
    """What is asked of the scores that it matches.

    Attributes:
        level: ``error`` moves the exit code, ``warn`` is only shown, ``off`` is left out.
        limit: Largest value allowed, in the metric's unit; of a metric that leaks downwards (mse)
            the smallest. Skips the control.
        margin: Largest rise of the leak above the baseline, in the metric's unit.
        alpha: Chance of a false failure, and of a false pass; None: the policy's.
        min_n: Fewest observations behind a value.
        seeds: Fewest retrained seeds on each side.
        spread: Standard deviation over retrained models that is assumed where a margin compares
            one seed with one, which cannot show it, in the metric's unit.
        on_inconclusive: What an undecided interval counts as. Missing, failed or underpowered
            attacks and controls that were not detected are inconclusive even under ``warn``.
    """

    level: Annotated[Level, BeforeValidator(_off)] = "error"
    limit: float | None = None
    margin: float | None = Field(default=None, ge=0)
    alpha: float | None = Field(default=None, gt=0, le=0.5)
    min_n: int = Field(default=1, ge=1)
    seeds: int = Field(default=1, ge=1)
    spread: float = Field(default=0.0, ge=0)
    on_inconclusive: Literal["inconclusive", "fail", "warn"] = "inconclusive"

    @model_validator(mode="after")
    def _check(self) -> "Rule":
        asked = self.limit is not None or self.margin is not None
        if self.metric == BOUND and asked:
            raise ValueError(
                f"{BOUND} is a lower bound without an upper end: it takes no limit and no margin, "
                "and is held against the claim"
            )
        if self.level != "off" and not asked and self.metric != BOUND:
            raise ValueError(f"rule on {self.name}: expected a limit, a margin or level off")
        if self.metric == ALL and asked:
            raise ValueError(
                "metric all with a limit or a margin: units differ; name one metric a rule"
            )
        return self


class Waiver(Target):
    """Someone answers for what a rule would report; guarantees and claims cannot be waived.

    Attributes:
        cell: Its id, or all.
        owner, reason: Who, and why.
        expires: The last day on which it holds.
    """

    cell: StrictStr = ALL
    owner: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    expires: date

    def covers(self, cell: str) -> bool:
        """Return whether it holds for a cell."""
        return self.cell in {ALL, cell}


class Policy(_Strict):
    """Rules, the first that matches a score decides about it.

    Attributes:
        alpha: Chance that a gate of an unchanged recipe fails, over all rules together; and of
            each single false pass.
    """

    schema_: Literal["audit-policy/v1"] = Field(alias="schema")
    alpha: float = Field(default=0.05, gt=0, le=0.5)
    rules: tuple[Rule, ...] = Field(min_length=1)
    waivers: tuple[Waiver, ...] = ()

    def rule_for(self, *, adversary: str, attack: str, metric: str, slice: str) -> Rule | None:
        """Return the rule that decides about a score; None: none does, or it is off."""
        for rule in self.rules:
            if rule.matches(adversary=adversary, attack=attack, metric=metric, slice=slice):
                return None if rule.level == "off" else rule
        return None

    def alpha_of(self, rule: Rule) -> float:
        """Return a rule's own alpha, or the policy's."""
        return rule.alpha if rule.alpha is not None else self.alpha


def default_policy_path() -> Path:
    """Return the policy that comes with the package."""
    return config_folder() / "policy.yaml"


def read_policy(path: Path) -> tuple[Policy, str]:
    """Read and check a policy.

    Returns:
        The policy and the SHA-256 of its file.

    Raises:
        ConfigError: No such file, not YAML, or an unknown key, metric, adversary or value.
    """
    import yaml

    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"policy {path}: {error.strerror or error}") from None
    try:
        tree = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"policy {path}: not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"policy {path}: expected a mapping, got {type(tree).__name__}")
    return validate(Policy, tree, where=f"policy {path}"), hashlib.sha256(content).hexdigest()
