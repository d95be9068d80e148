"""From YAML and ``-o key=value`` to a checked configuration, with errors that name the field."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from audit.core.config import FIXED_KEY, Config
from audit.core.epsilons import key_text
from audit.core.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


def load_config(source: str, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration by path or shipped name, and lay overrides over it.

    Args:
        source: Path of a YAML file, or the name of a shipped one such as ``demo``.
        overrides: ``a.b=V`` each; V is YAML and lists are replaced whole.

    Raises:
        ConfigError: No such file, malformed YAML, an unknown key or an invalid value.
    """
    tree = _read_yaml(_find(source))
    for override in overrides:
        _apply(tree, override)
    return validate(Config, tree, where=source)


def shipped_configs() -> list[str]:
    """Names of the configurations that come with the package."""
    return sorted(p.stem for p in config_folder().glob("*.yaml") if not p.stem.startswith("policy"))


def config_folder() -> Path:
    """The folder ``configs/``: in a wheel beside the package's code, in a checkout at the root."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def validate(model: type[Model], tree: Any, *, where: str) -> Model:
    """Check a tree against a model; errors name the field, the value and what was expected."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_explain(e) for e in _first(error))) from None


def dump_config(config: Config) -> str:
    """Return the resolved configuration as YAML; a fixed noise key is left out of it."""
    tree = config.model_dump(mode="python")
    if config.privacy.noise_key is not None:
        tree["privacy"]["noise_key"] = FIXED_KEY
    return yaml.safe_dump(_plain(tree), sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _find(source: str) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    shipped = config_folder() / f"{source}.yaml"
    if path.name == source and shipped.is_file():
        return shipped
    raise ConfigError(
        f"configuration {source!r} not found: expected a path or one of "
        + ", ".join(shipped_configs())
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, got {type(tree).__name__}")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"-o {override!r}: expected key=value, such as schedule.rounds=3")
    try:
        value = yaml.safe_load(text) if text.strip() else None
    except yaml.YAMLError as error:
        raise ConfigError(f"-o {override!r}: the value is not valid YAML: {error}") from None
    node = tree
    *parents, last = _parts(key.strip())
    for part in parents:
        child = node.setdefault(_present(node, part), {})
        if not isinstance(child, dict):
            raise ConfigError(f"-o {override!r}: {part!r} has no keys below it")
        node = child
    node[_present(node, last)] = _number(value)


def _parts(key: str) -> list[str]:
    """Split at dots, but keep an epsilon below ``per_epsilon`` whole: per_epsilon.0.5.model."""
    parts = key.split(".")
    if len(parts) > 2 and parts[0] == "per_epsilon" and parts[1].isdigit() and parts[2].isdigit():
        parts[1:3] = [f"{parts[1]}.{parts[2]}"]
    return parts


def _present(node: Mapping[Any, Any], part: str) -> Any:
    """Return the key that a part names: YAML reads an epsilon such as 10 as a number."""
    return next((key for key in node if key_text(key) == part), part)


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-5 as text; people mean the number."""
    if isinstance(value, list):
        return [_number(item) for item in value]
    if isinstance(value, dict):
        return {key: _number(item) for key, item in value.items()}
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value
        return number if "e" in value.lower() and math.isfinite(number) else value
    return value


def _first(error: ValidationError) -> list[Any]:
    """Errors without those that only follow: a list is too short because an item of it is bad."""
    found = error.errors()
    return [
        e
        for e in found
        if e["type"] != "too_short"
        or not any(o is not e and o["loc"][: len(e["loc"])] == e["loc"] for o in found)
    ]


def _explain(error: Any) -> str:
    field = ".".join(str(part) for part in error["loc"]) or "configuration"
    if error["type"] == "extra_forbidden":
        return f"unknown key {field!r}"
    if error["type"] == "missing":
        return f"{field}: missing; expected a value"
    message = str(error["msg"]).removeprefix("Value error, ")
    value = error.get("input")
    shown = "" if isinstance(value, dict | BaseModel) else f" {value!r}"
    return f"{field}:{shown} is invalid: {message}"
