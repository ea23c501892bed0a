"""The studies of ``studies.yaml``: the settings of each, and the variants of the config that run them.

A study is a set of settings, each run as a variant of the config by the workflow, or a program: a function on the
pooled tables of the config's first variant.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from feel_steps.config import Config, merge, resolve, switches_localizer
from feel_steps.errors import InputError, explain, hint

# metrics of a study's table: of variants that the workflow runs, and of programs that compare clusters with classes
VARIANT_METRICS = (
    *("NMI k-means", "NMI refined", "NMI selected", "mAP", "mAP@0.5", "mAP one-to-one"),
    *("NMI previous", "silhouette", "selected"),
)
CLUSTER_METRICS = ("NMI", "AMI", "purity", "NMI selected", "purity selected")
# the function of each program, and the metrics that it gives
PROGRAMS = {
    "cci-k1": ("studies.cci:parameter", CLUSTER_METRICS),
    "cci-k2": ("studies.cci:parameter", CLUSTER_METRICS),
    "cci-lambda": ("studies.cci:parameter", CLUSTER_METRICS),
    "noise": ("studies.cci:noise", CLUSTER_METRICS),
    "few-videos": ("studies.cci:few_videos", CLUSTER_METRICS),
    "classes": ("studies.classes:classes", CLUSTER_METRICS),
    "overhead": ("studies.overhead:overhead", ("seconds", "cpu seconds", "share of k-means", "MiB")),
    "unknown-clusters": ("studies.unknown:unknown_clusters", ("estimate", "relative error")),
}
WITHOUT_TRUTH = ("overhead",)  # programs that compare with no annotations

_MULTIPLE = re.compile(r"x(\d*\.?\d+)")


@dataclass(frozen=True)
class Setting:
    """One setting of a study.

    Attributes
    ----------
    label : str
        As people read it.
    variant : str
        Name of the variant that runs it, and of its folder: the same for the same settings in all studies.
    overrides : dict
        What that variant lays over the config.
    x, y : float
        Where it stands on the figure's axes, NaN where it has no place there.
    true_labels : bool
        Whether annotated classes replace the clusters, the bound of weak supervision.
    """

    label: str
    variant: str
    overrides: Config
    x: float = math.nan
    y: float = math.nan
    true_labels: bool = False

    @property
    def origin(self) -> dict[str, Any]:
        """Where its rows in the study's table come from: the variant, and x and y where it has them."""
        axes = {"x": self.x, "y": self.y}
        return {"variant": self.variant, **{key: value for key, value in axes.items() if not math.isnan(value)}}


@dataclass(frozen=True)
class Study:
    """One entry of the studies file. A program has no settings."""

    about: Config  # the entry: title, question, paper, metrics, figure, …
    settings: list[Setting] = field(default_factory=list)
    reference: str | dict[str, str] | None = None

    @property
    def variants(self) -> list[str]:
        """Names of the variants that it runs."""
        return list(dict.fromkeys(setting.variant for setting in self.settings))


def read_studies(file: str | Path, config: Config, wanted: str | Sequence[str], schema: Path) -> dict[str, Study]:
    """Read the wanted studies of a file and work out their settings.

    Parameters
    ----------
    file : path
    config : mapping
        The run's, checked.
    wanted : str or sequence of str
        A study, several of them, or "all".
    schema : path
        JSON schema of the config.

    Returns
    -------
    dict of str to Study
        Without annotations, "all" leaves out the programs that need them, and each study the settings that do.

    Raises
    ------
    InputError
        The file is missing or is no YAML; it has no wanted study, or needs annotations for it; an entry or a setting
        has a key or a value that the schemas do not allow, a metric that does not exist, or a reference that is none
        of its settings; true labels where videos are cut into parts.
    """
    from jsonschema import Draft202012Validator

    entries = _read_entries(file)
    whole = _load(schema)
    validator = Draft202012Validator(whole).evolve(schema=whole["properties"]["variants"]["additionalProperties"])
    annotated = config["dataset"]["layout"] == "demo" or bool(config["dataset"]["annotations"])
    possible = [name for name, about in entries.items() if annotated or "program" not in about or name in WITHOUT_TRUTH]
    names = possible if wanted == "all" else [wanted] if isinstance(wanted, str) else wanted
    studies = {}
    for name in names:
        if name not in possible:
            raise InputError(
                f"config: key 'studies': {file} has no study '{name}' for these data; it has {', '.join(possible)}"
            )
        about, where = entries[name], f"{file}: study '{name}'"
        if "program" in about:
            if name not in PROGRAMS:
                raise InputError(f"{where}: no program has that name; {hint(name, PROGRAMS)}")
            _check_metrics(about, PROGRAMS[name][1], where)
            studies[name] = Study(about, reference=about.get("reference"))
            continue
        _check_metrics(about, VARIANT_METRICS, where)
        try:
            settings = list(_settings(about, config, validator))
        except InputError as problem:
            raise InputError(f"{where}, {problem}") from None
        reference = _reference(about, settings, next(iter(config["variants"])), where)
        settings = [setting for setting in settings if annotated or not setting.true_labels]
        for setting in settings:
            if setting.true_labels and resolve({**config, "variants": {"": setting.overrides}}, "")["parts"]["cut"]:
                raise InputError(
                    f"{where}, setting '{setting.label}': true labels are those of whole videos, and parts.cut cuts "
                    "them; set parts: {cut: false} in it, or choose other studies by the config key 'studies'"
                )
        studies[name] = Study(about, settings, reference)
    return studies


def get_variants(studies: Mapping[str, Study], config: Config) -> dict[str, Setting]:
    """The variants that these studies add to the config's own, by name."""
    settings = {setting.variant: setting for study in studies.values() for setting in study.settings}
    return {name: setting for name, setting in settings.items() if name not in config["variants"]}


def get_program(name: str) -> Callable[..., Any]:
    """The function of a study that is a program.

    Raises
    ------
    InputError
        No program has that name.
    """
    if name not in PROGRAMS:
        raise InputError(f"study '{name}': no program has that name; {hint(name, PROGRAMS)}")
    return resolve_name(PROGRAMS[name][0])


# ---------------------------------------------------------------------------------------------------- settings


def _load(file: str | Path) -> Any:
    import yaml

    return yaml.safe_load(Path(file).read_text(encoding="utf-8"))


def _read_entries(file: str | Path) -> dict[str, Config]:
    """All entries of a studies file, checked."""
    import yaml
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    try:
        entries = _load(file) or {}
    except OSError as problem:
        raise InputError(f"{file}: {problem.strerror}; config key 'studies_file' names the studies") from None
    except yaml.YAMLError as problem:
        raise InputError(f"{file}: no YAML ({' '.join(str(problem).split())})") from None
    schema = Draft202012Validator(_load(Path(__file__).with_name("schema.yaml")))
    if error := best_match(schema.iter_errors(entries)):
        raise InputError(f"{file}: {explain(error)}")
    return entries


def _check_metrics(about: Config, known: Sequence[str], where: str) -> None:
    """Refuse metrics that the study's table will not have."""
    for key in ("metrics", "lower"):
        for name in about.get(key, ()):
            if name not in known:
                raise InputError(f"{where}: key '{key}': there is no metric '{name}'; {hint(name, known)}")


def _settings(about: Config, config: Config, validator: Any) -> Iterator[Setting]:
    """The settings of an entry, each once."""
    from jsonschema.exceptions import best_match

    base_name = next(iter(config["variants"]))
    base, seen = resolve(config, base_name), set()
    own = {name: resolve(config, name) for name in config["variants"]}
    for label, given, x, y in _given(about, base):
        given = named = merge(about.get("base") or {}, given)
        true_labels = bool(given.pop("true_labels", False))
        if error := best_match(validator.iter_errors(given)):
            raise InputError(f"setting '{label}': {explain(error)}")
        if true_labels:
            given = merge({"iterations": 1, "select": {"speed": "none"}}, given)
        overrides, known = merge(config["variants"][base_name] or {}, given), base
        if "method" in given:  # its own defaults say what differs from it
            switched = merge(config["variants"][base_name] or {}, {"method": given["method"]})
            known = resolve({**config, "variants": {"": switched}}, "") | {"method": base["method"]}
        if switches_localizer(base, given):
            overrides["train"]["settings"] = given["train"].get("settings", {})
            known = {**known, "train": {**known["train"], "settings": {}}}
        resolved = resolve({**config, "variants": {"": overrides}}, "")
        twins = [name for name in own if _same(resolved, own[name]) and not true_labels]
        changed = [f"{key}-{_word(value)}" for key, value in _flat(named) if _at(known, key) != _at(resolved, key)]
        words = ["true-labels"] * true_labels + changed
        if label not in seen:
            seen.add(label)
            yield Setting(label, twins[0] if twins else "+".join(words), overrides, x, y, true_labels)


def _given(about: Config, base: Config) -> Iterator[tuple[str, Config, float, float]]:
    """Label, overrides and place on the axes of the settings of an entry, in their order."""
    for label, given in (about.get("settings") or {}).items():
        given = _multiplied(given or {}, base)
        yield str(label), given, float(given.pop("x", math.nan)), float(given.pop("y", math.nan))
    axes = []
    for key, values in (about.get("grid") or {}).items():
        if isinstance(values, dict):
            axes.append([(label, key, _multiply(value, _at(base, key))) for label, value in values.items()])
        else:
            numbers = [_multiply(value, _at(base, key)) for value in values]
            axes.append([(f"{key.rpartition('.')[2]} {value}", key, value) for value in numbers])
    for point in product(*axes) if axes else ():
        given = {}
        for _, key, value in point:
            given = merge(given, _nested(key, value))
        places = [
            float(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else math.nan for _, _, v in point
        ]
        x, y = [*places, math.nan, math.nan][:2]
        yield ", ".join(label for label, _, _ in point), given, x, y


def _reference(about: Config, settings: list[Setting], base: str, where: str) -> str | dict[str, str] | None:
    """Label of the setting that others are compared with, or one for each; by default the config as it stands."""
    labels = [setting.label for setting in settings]
    given = about.get("reference")
    for label in [*given, *given.values()] if isinstance(given, dict) else [given] if given else []:
        if label not in labels:
            raise InputError(f"{where}: key 'reference': '{label}' is none of its settings: {'; '.join(labels)}")
    return given or next((setting.label for setting in settings if setting.variant == base), next(iter(labels), None))


def _multiplied(given: Mapping[str, Any], base: Any) -> Config:
    """Numbers in place of "x0.5" and the like, multiples of the config's own; where it has none, the key goes."""
    numbers = {}
    for key, value in given.items():
        own = base.get(key) if isinstance(base, Mapping) else None
        if isinstance(value, Mapping):
            numbers[key] = _multiplied(value, own)
        elif (number := _multiply(value, own)) is not None or value is None:
            numbers[key] = number
    return numbers


def _multiply(value: Any, own: Any) -> Any:
    found = _MULTIPLE.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return value
    if own is None:
        return None
    number = float(found[1]) * own
    return max(1, math.floor(number + 0.5)) if isinstance(own, int) else number


def _nested(key: str, value: Any) -> Config:
    """``{"a": {"b": value}}`` for the key ``a.b``."""
    first, _, rest = key.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys with dots, sorted, and their values."""
    for key in sorted(values):
        if isinstance(values[key], Mapping):
            yield from _flat(values[key], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", values[key]


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _word(value: Any) -> str:
    """A value as part of a file's name."""
    text = f"{value:g}" if isinstance(value, float) else json.dumps(value) if not isinstance(value, str) else value
    return re.sub(r"[^\w.-]+", "_", text).strip("_")


def _same(a: Config, b: Config) -> bool:
    return all(a[key] == b[key] for key in a.keys() - {"method", "variants"})  # a method is what it sets elsewhere
