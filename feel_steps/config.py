"""The run's configuration: variants resolved, every key checked before any work starts."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from feel_steps.errors import InputError, explain
from feel_steps.localizers import check_settings

Config = dict[str, Any]

# What stands where a config has null; docs/explanation/method.md describes both methods.
METHODS: dict[str, Config] = {
    "views": {
        "pool": {"views": "auto", "normalize": "standard"},
        "cluster": {"method": "consensus"},
        "refine": {"method": "none"},
        "select": {"speed": "none", "share": 0.75},
        "attend": {"sampling": "windows"},
        "localize": {"time": "centre", "signal": "both", "score": "product", "soft_nms": 0.3},
    },
    "feel": {
        "pool": {"views": ["embedding"], "normalize": "none"},
        "cluster": {"method": "kmeans"},
        "refine": {"method": "cci"},
        "select": {"speed": "constant", "share": 1.0},
        "attend": {"sampling": "length"},
        "localize": {"time": "start", "signal": "activation", "score": "sum", "soft_nms": 0},
    },
}
# Who gives the features of each layout, where the config does not say.
EXTRACTORS = {"demo": "descriptors", "videos": "frames"}
EXISTING = {"cola": "cola", "features": "arrays"}  # layouts that bring their features
UNSCALED = ("descriptors", "i3d", "cola", "arrays")  # extractors whose features the loop takes as they are
_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None}


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> Config:
    """Copy ``base`` with ``overrides`` laid over it, section by section."""
    merged = copy.deepcopy(dict(base))
    for key, value in overrides.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


def read_yaml(file: Path) -> Any:
    """Read a file of ours with libyaml, in a tenth of the time, where PyYAML has it."""
    import yaml

    return yaml.load(file.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506


def read_arguments(entries: Sequence[str], schema: Path) -> Config:
    """Read what stands after --config: text where the schema says text, and else numbers, true, false and null.

    Snakemake reads ``name=2024_05_12`` as a number, and what stands in braces as text.

    Parameters
    ----------
    entries : sequence of str
        ``key=value``; values as in YAML.
    schema : path
        The JSON schema, as YAML.
    """
    import yaml

    rules = read_yaml(schema) if entries else {}
    config: Config = {}
    for entry in entries:
        key, _, text = entry.partition("=")
        try:
            value = yaml.load(text, Loader=yaml.BaseLoader) if text else None  # noqa: S506 (it makes only text)
        except yaml.YAMLError:
            value = text
        value = retype(value, rules.get("properties", {}).get(key, {}), rules)
        both = isinstance(value, Mapping) and isinstance(config.get(key), Mapping)
        config[key] = merge(config[key], value) if both else value
    return config


def retype(value: Any, rule: Mapping[str, Any] | None = None, rules: Mapping[str, Any] | None = None) -> Any:
    """Numbers, true, false and null as such, unless the schema wants text.

    Parameters
    ----------
    value
        Text, or lists and mappings of it.
    rule : mapping, optional
        Part of the schema that is for this value.
    rules : mapping, optional
        The whole schema, to which ``$ref`` in ``rule`` points.
    """
    rule, rules = rule or {}, rules or {}
    if "$ref" in rule:
        rule = rules["$defs"][rule["$ref"].rpartition("/")[2]]
    if isinstance(value, Mapping):
        further = rule.get("additionalProperties")
        own = rule.get("properties") or {}
        other = further if isinstance(further, Mapping) else {}
        return {key: retype(item, own.get(key, other), rules) for key, item in value.items()}
    if isinstance(value, list):
        return [retype(item, rule.get("items"), rules) for item in value]
    if not isinstance(value, str):
        return value
    if "string" in (rule.get("type") or ()):  # a type, or a list of types
        return None if value == "null" and "null" in rule["type"] else value
    if value in _WORDS:
        return _WORDS[value]
    if "_" not in value:  # Python would take 2024_05_12 for a number
        for number in (int, float):
            with suppress(ValueError):
                return number(value)
    return value


def retype_given(config: Mapping[str, Any], given: Mapping[str, Any], entries: Sequence[str], schema: Path) -> Config:
    """Copy a config with :func:`read_arguments` for what was given after --config and still stands there.

    Parameters
    ----------
    config : mapping
        A module's is its importer's choice.
    given : mapping
        What Snakemake read after --config.
    entries, schema
        See :func:`read_arguments`.
    """
    return _retype_inside(config, given, read_arguments(entries, schema))


def _retype_inside(section: Mapping[str, Any], given: Mapping[str, Any], read: Mapping[str, Any]) -> Config:
    typed = dict(section)
    for key, value in given.items():
        own = section.get(key)
        if isinstance(value, Mapping) and isinstance(own, Mapping) and isinstance(read.get(key), Mapping):
            typed[key] = _retype_inside(own, value, read[key])
        elif key in section and key in read and own == value:
            typed[key] = read[key]
    return typed


def spread(config: Mapping[str, Any]) -> Config:
    """Turn a list of numbers of clusters into variants that run side by side: ``feel-k4``, ``feel-k6``.

    A list that the schema refuses is left for it to refuse.
    """
    numbers = config["clusters"]
    if not isinstance(numbers, list) or not numbers or not all(type(number) is int for number in numbers):
        return dict(config)
    variants = {
        f"{name}-k{number}": {**(overrides or {}), "clusters": number}
        for number in numbers
        for name, overrides in config["variants"].items()
    }
    return {**config, "clusters": numbers[0], "variants": variants}


def resolve(config: Mapping[str, Any], variant: str | None) -> Config:
    """The config as one variant has it; as it stands for work that all variants share.

    What is null becomes what the method has there. A variant with another localizer starts from that one's own
    defaults: settings of one mean nothing to the other.
    """
    overrides = config["variants"].get(variant) or {}
    merged = merge(config, overrides)
    if switches_localizer(config, overrides):
        merged["train"]["settings"] = copy.deepcopy(overrides["train"].get("settings", {}))
    for section, values in METHODS[merged["method"]].items():
        merged[section] |= {key: copy.deepcopy(value) for key, value in values.items() if merged[section][key] is None}
    return merged


def get_extractor(config: Mapping[str, Any]) -> str:
    """Who gives the snippet features: the layout, or the extractor that the config names, or the layout's default."""
    layout = config["dataset"]["layout"]
    return EXISTING.get(layout) or config["features"]["extractor"] or EXTRACTORS[layout]


def scales(config: Mapping[str, Any]) -> bool:
    """Whether the streams of the features are brought to one scale."""
    scale = config["features"]["scale"]
    return get_extractor(config) not in UNSCALED if scale == "auto" else scale


def switches_localizer(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> bool:
    """Whether these overrides put another localizer in the place of the config's."""
    localizer = config["train"]["localizer"]
    return overrides.get("train", {}).get("localizer", localizer) != localizer


def list_keys(rules: Mapping[str, Any], rule: Mapping[str, Any] | None = None, above: str = "") -> list[str]:
    """All keys of a schema with dots, ``select.alpha``; those of the variants are left out."""
    rule = rules if rule is None else rule
    if "$ref" in rule:
        rule = rules["$defs"][rule["$ref"].rpartition("/")[2]]
    keys = []
    for name, part in rule.get("properties", {}).items():
        keys.append(f"{above}{name}")
        keys += list_keys(rules, part, f"{above}{name}.") if name != "variants" else []
    return keys


def _list_infinite(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Numbers that are infinite or NaN, with their keys; a schema cannot refuse them."""
    if isinstance(value, float) and not math.isfinite(value):
        yield key, value
    if isinstance(value, (Mapping, list)):
        for name, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _list_infinite(item, f"{key}.{name}" if key else str(name))


def _check_ranges(config: Mapping[str, Any], where: str) -> None:
    for key in ("cas_thresholds", "actionness_thresholds"):
        start, stop, step = config["localize"][key]
        if stop < start or step <= 0:
            raise InputError(
                f"config: {where}key 'localize.{key}' is {[start, stop, step]}; expected [start, stop, step] with "
                "stop not below start and step above 0"
            )
    parts = config["parts"]
    said = {"dataset.labels": config["dataset"]["labels"], "corrections": config["corrections"]}
    if parts["cut"] and any(said.values()):
        key = next(key for key, value in said.items() if value)
        raise InputError(
            f"config: {where}key '{key}' says the clusters of whole videos, and parts.cut cuts them; leave one out"
        )
    if parts["cut"] and parts["longest"] < 2 * parts["shortest"]:
        raise InputError(
            f"config: {where}key 'parts.longest' is {parts['longest']:g}, less than twice parts.shortest "
            f"({parts['shortest']:g}); raise it, since not every video could be cut"
        )
    train = config["train"]
    if train["least_steps"] > train["most_steps"]:
        raise InputError(
            f"config: {where}key 'train.least_steps' is {train['least_steps']}, above train.most_steps "
            f"({train['most_steps']}); lower it, or raise train.most_steps"
        )


def _check_localizer(config: Mapping[str, Any], where: str) -> None:
    train = config["train"]
    try:
        check_settings(train["localizer"], train["settings"])
    except InputError as error:
        raise InputError(f"config: {where}key 'train': {error}") from None
    if "adapted" in (config["pool"]["views"] or ()) and not train["settings"].get("adapter"):
        raise InputError(
            f"config: {where}key 'pool.views' has 'adapted', but the localizer has no adapter; "
            "set train.settings.adapter to its width, such as 64"
        )


def check(config: Mapping[str, Any], schema: Path) -> None:
    """Refuse a config that the schema does not allow, as it stands or as any of its variants has it.

    Parameters
    ----------
    config : mapping
        As Snakemake merged it from config.yaml, presets and the command line.
    schema : path
        The JSON schema, as YAML.

    Raises
    ------
    InputError
        Names the key, what was found and what was expected.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    for key, value in _list_infinite(config):
        raise InputError(f"config: key '{key}' is {value}; expected a finite number")
    validator = Draft202012Validator(read_yaml(schema))
    if error := best_match(validator.iter_errors(config)):
        raise InputError(f"config: {explain(error, validator.schema['properties'], list_keys(validator.schema))}")
    _check_localizer(config, "")
    _check_ranges(config, "")
    variants = {name: resolve(config, name) for name in config["variants"]}
    for name, variant in variants.items():
        if error := best_match(validator.iter_errors(variant)):
            raise InputError(f"config: variant '{name}': {explain(error)}")
        _check_localizer(variant, f"variant '{name}': ")
        _check_ranges(variant, f"variant '{name}': ")
        if (variant["refine"]["method"], variant["refine"]["ranking"]) == ("cci", "approximate"):
            from feel_steps.ranking import require_faiss

            require_faiss()
