"""The studies of ``studies.yaml``: what each runs, under which names, and what its runs share with others.

A study is either a set of settings, each run as a variant of the config through the ordinary rules, or a program: a
function on the pooled tables. Nothing here needs more than the config, so that Snakemake reads it in no time.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from feel_steps.config import Config, check, explain, get_base, merge, resolve, switches_localizer
from feel_steps.errors import InputError, hint
from feel_steps.selection import schedule
from feel_steps.tables.folders import read_place


class Program(NamedTuple):
    """Where a study's function is, whether it compares with annotations, and whether it reads a run's pooled tables."""

    place: str
    annotated: bool = True
    pooled: bool = True


PROGRAMS = {
    "cci-k1": Program("feel_steps.studies.cci:parameter"),
    "cci-k2": Program("feel_steps.studies.cci:parameter"),
    "cci-lambda": Program("feel_steps.studies.cci:parameter"),
    "noise": Program("feel_steps.studies.cci:noise"),
    "few-videos": Program("feel_steps.studies.cci:few_videos"),
    "classes": Program("feel_steps.studies.classes:classes"),
    "overhead": Program("feel_steps.studies.overhead:overhead", annotated=False),
    "image-clustering": Program("feel_steps.studies.beyond:image_clustering", annotated=False, pooled=False),
    "anomaly-detection": Program("feel_steps.studies.beyond:anomaly_detection", annotated=False, pooled=False),
    "unknown-clusters": Program("feel_steps.studies.unknown:unknown_clusters"),
}

LEARNED = ("embedding", "adapted", "actionness")  # views that need a localizer
# what a variant may change
_VARIED = ("iterations", "clusters", "pool", "cluster", "refine", "select", "train", "localize")
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
        Its place on the figure's axes, NaN where it has none.
    true_labels : bool
        Whether annotated classes stand in for the clusters, the bound of weak supervision.
    """

    label: str
    variant: str
    overrides: Config
    x: float = math.nan
    y: float = math.nan
    true_labels: bool = False

    @property
    def place(self) -> dict[str, Any]:
        """What its rows in the study's table come from: the variant, and x and y where it has them."""
        axes = {"x": self.x, "y": self.y}
        return {"variant": self.variant, **{key: value for key, value in axes.items() if not math.isnan(value)}}


@dataclass(frozen=True)
class Study:
    """One entry of the studies file; ``settings`` is empty for a program, ``program`` for a set of settings."""

    name: str
    about: Config  # the entry: title, question, paper, metrics, figure, …
    settings: list[Setting] = field(default_factory=list)
    reference: str | dict[str, str] | None = None

    @property
    def program(self) -> bool:
        return "program" in self.about


def read_studies(file: str | Path, config: Config, schemas: Path) -> dict[str, Study]:
    """Read a studies file and work out the settings of each study.

    Parameters
    ----------
    file : path
    config : mapping
        The run's, checked.
    schemas : path
        Folder of the JSON schemas.

    Returns
    -------
    dict of str to Study
        In a run without annotations, without the programs and settings that need them.

    Raises
    ------
    InputError
        The file is missing or is no YAML; an entry or a setting has a key or a value that the schemas do not allow,
        or a reference that is none of its settings; no program has the name of an entry that is one.
    """
    import yaml
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    try:
        entries = yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}
    except OSError as problem:
        raise InputError(f"{file}: {problem.strerror}; config key 'studies_file' names the studies") from None
    except yaml.YAMLError as problem:
        raise InputError(f"{file}: no YAML ({' '.join(str(problem).split())})") from None
    form, own = (yaml.safe_load((schemas / f"{name}.schema.yaml").read_text()) for name in ("studies", "config"))
    if error := best_match(Draft202012Validator(form).iter_errors(entries)):
        raise InputError(f"{file}: {explain(error)}")
    overrides = Draft202012Validator(own).evolve(schema=own["properties"]["variants"]["additionalProperties"])
    studies = {}
    for name, about in entries.items():
        where = f"{file}: study '{name}'"
        if "program" in about:
            if name not in PROGRAMS:
                raise InputError(f"{where}: no program has that name; {hint(name, PROGRAMS)}")
            if _is_annotated(config) or not PROGRAMS[name].annotated:
                studies[name] = Study(name, about, reference=about.get("reference"))
            continue
        try:
            settings = list(_settings(about, config, overrides))
        except InputError as problem:
            raise InputError(f"{where}, {problem}") from None
        reference = _reference(about, settings, config, where)
        if not _is_annotated(config):
            settings = [setting for setting in settings if not setting.true_labels]
        studies[name] = Study(name, about, settings, reference)
    return studies


def check_study(study: Study, config: Config, schema: Path, file: str | Path) -> None:
    """Hold each setting of a study to what the config is held to.

    Raises
    ------
    InputError
        Names the study, the setting, the key, what was found and what was expected.
    """
    try:
        check({**config, "variants": {f"setting-{i}": one.overrides for i, one in enumerate(study.settings)}}, schema)
        return
    except InputError:
        pass  # once more, to say which
    for setting in study.settings:
        try:
            check({**config, "variants": {"setting": setting.overrides}}, schema)
        except InputError as error:
            reason = str(error).removeprefix("config: ").removeprefix("variant 'setting': ")
            raise InputError(f"{file}: study '{study.name}', setting '{setting.label}': {reason}") from None


def choose(studies: Mapping[str, Study], wanted: str | list[str], file: str | Path) -> list[str]:
    """Names of the wanted studies.

    Raises
    ------
    InputError
        There is no such study, or it needs annotations.
    """
    names = list(studies) if wanted == "all" else [wanted] if isinstance(wanted, str) else wanted
    for name in names:
        if name not in studies:
            raise InputError(
                f"config: key 'studies': {file} has no study '{name}' that this run can do; it has {', '.join(studies)}"
            )
    return names


def get_program(name: str) -> Callable[..., Any]:
    """The function of a program study.

    Raises
    ------
    InputError
        No program has that name.
    """
    if name not in PROGRAMS:
        raise InputError(f"study '{name}': no such program; {hint(name, PROGRAMS)}")
    module, _, function = PROGRAMS[name].place.partition(":")
    return getattr(import_module(module), function)


def get_run(file: Path) -> tuple[int, int]:
    """Seed and iteration of a table, by its place.

    Raises
    ------
    InputError
        It does not lie in ``…/seed-S/iter-I/``.
    """
    place = read_place(file.parent)
    if not place:
        raise InputError(f"{file}: expected a table in …/seed-S/iter-I/, whose place tells seed and iteration")
    return place[1:]


# ---------------------------------------------------------------------------------------------------- settings


def _settings(about: Config, config: Config, validator: Any) -> Iterator[Setting]:
    """The settings of an entry, each once."""
    from jsonschema.exceptions import best_match

    base_name = get_base(config)
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
        if switches_localizer(base, given):
            overrides["train"]["settings"] = given["train"].get("settings", {})
            known = {**base, "train": {**base["train"], "settings": {}}}
        resolved = resolve({**config, "variants": {"": overrides}}, "")
        twins = [name for name in own if _same(resolved, own[name]) and not true_labels]
        changed = [f"{key}-{_word(value)}" for key, value in _flat(named) if _at(known, key) != value]
        words = ["true-labels"] * true_labels + changed
        if label not in seen:
            seen.add(label)
            yield Setting(label, twins[0] if twins else "+".join(words), overrides, x, y, true_labels)


def _is_annotated(config: Config) -> bool:
    return config["dataset"]["layout"] == "demo" or bool(config["dataset"]["annotations"])


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


def _reference(about: Config, settings: list[Setting], config: Config, where: str) -> str | dict[str, str] | None:
    """Label of the setting that others are compared with, or one for each; by default the config as it stands."""
    labels = [setting.label for setting in settings]
    given = about.get("reference")
    for label in [*given, *given.values()] if isinstance(given, dict) else [given] if given else []:
        if label not in labels:
            raise InputError(f"{where}: key 'reference': '{label}' is none of its settings: {'; '.join(labels)}")
    base = get_base(config)
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
    return all(a[key] == b[key] for key in _VARIED)


# ---------------------------------------------------------------------------------------------------- shared work


def get_owners(variants: Mapping[str, Config], borrowers: Mapping[str, bool]) -> dict[str, str]:
    """Which tables of a variant are the same as those of one before it, by the settings they come from.

    Parameters
    ----------
    variants : mapping of str to config
        All variants, resolved, in their order.
    borrowers : mapping of str to bool
        Those that may take tables from others, and whether they learn from true labels.

    Returns
    -------
    dict of str to str
        ``{variant}/iter-{iteration}/{file}`` to the variant that has that file to give.
    """
    first: dict[str, str] = {}
    owners = {}
    for name, settings in variants.items():
        for place, origin in _origins(settings, borrowers.get(name, False)):
            owner = first.setdefault(f"{place} {origin}", name)
            if owner != name and name in borrowers:
                owners[f"{name}/{place}"] = owner
    return owners


def _origins(settings: Config, true_labels: bool) -> Iterator[tuple[str, str]]:
    """Each table of each iteration, and a digest of the settings that it comes from, through all iterations before."""
    attended = ""
    for i in range(1, settings["iterations"] + 1):
        select = dict(settings["select"])
        pace = {key: select.pop(key) for key in ("speed", "alpha", "beta", "share")}
        pooled = _digest(attended, settings["pool"] if i > 1 else _first_pool(settings["pool"]))
        clustered = _digest(pooled, settings["clusters"], settings["cluster"])
        refined = _digest(clustered, settings["refine"], true_labels)
        selected = _digest(refined, schedule(i, **pace), select)
        attended = _digest(selected, settings["clusters"], settings["train"])
        files = {
            "pooled.parquet": pooled,
            "clusters.parquet": clustered,
            "centres.parquet": clustered,
            "refined.parquet": refined,
            "selected.parquet": selected,
            "model.safetensors": attended,
            "training.parquet": attended,
            "attention.parquet": attended,
            "embeddings.parquet": attended,
            "detections.parquet": _digest(attended, settings["localize"]),
        }
        yield from ((f"iter-{i}/{file}", origin) for file, origin in files.items())


def _first_pool(pool: Config) -> Config:
    """Settings of the first iteration's pooling: without the views that need a localizer."""
    views = pool["views"]
    known = views if views == "auto" else [view for view in views if view not in LEARNED]
    return pool | {"views": known or ["mean"]}


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
