"""Reads ``corrections.yaml``: what a person corrected on the page, checked and free of contradictions.

The file is for the clusters of one iteration, named under ``of``. Names and merges change what is shown. Moves, ignored
videos and marked moments are also constraints for the iterations after that one (:func:`list_constraints`).
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from feel_steps.dataset.files import explain_yaml, join_halves, read_text
from feel_steps.errors import InputError, explain, hint

if TYPE_CHECKING:
    from feel_steps.tables.kinds import Columns

BEYOND = 0.5  # seconds by which a moment may end after its video: players and containers round
IS, NOT, IGNORED = "is", "not", "ignored"  # roles of a constraint
Constraint = tuple[str, str, int | None]  # video, role, cluster

_CLUSTER = {"type": "integer", "minimum": 0, "explain": "the number of a cluster"}
_VIDEO = {"type": "string", "minLength": 1, "explain": "the id of a video, in quotes"}
_TIME = {"type": "number", "minimum": 0, "explain": "a number of seconds from 0"}
_MOMENT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["video_id", "cluster", "t_start", "t_end"],
    "anyOf": [{"required": ["mark"]}, {"required": ["borders"]}],
    "explain": "video_id, cluster, t_start, t_end, and mark (right or wrong) or borders ([start, end]), or both",
    "properties": {
        "video_id": _VIDEO,
        "cluster": _CLUSTER,
        "t_start": _TIME,
        "t_end": _TIME,
        "mark": {"enum": ["right", "wrong"], "explain": "right or wrong"},
        "borders": {"type": "array", "minItems": 2, "maxItems": 2, "items": _TIME, "explain": "[start, end]"},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["of"],
    "explain": "settings such as of, names and merges",
    "properties": {
        "of": {
            "type": "object",
            "additionalProperties": False,
            "required": ["variant", "seed", "iteration", "centres"],
            "explain": "variant, seed, iteration and centres, as the page writes them",
            "properties": {
                "variant": {"type": "string", "explain": "the name of a variant"},
                "seed": {"type": "integer", "minimum": 0, "explain": "a seed"},
                "iteration": {"type": "integer", "minimum": 1, "explain": "a whole number from 1"},
                "centres": {"type": "string", "explain": "a digest in quotes, as the page writes it"},
            },
        },
        "names": {
            "type": "object",
            "explain": "lines such as 0: waving",
            "additionalProperties": {"type": "string", "pattern": r"\S", "explain": "a name, in quotes if need be"},
        },
        "merges": {
            "type": "array",
            "items": {"type": "array", "minItems": 2, "uniqueItems": True, "items": _CLUSTER, "explain": "[0, 3]"},
            "explain": "a list of groups of clusters, such as [[0, 3]]",
        },
        "moves": {"type": "object", "additionalProperties": _CLUSTER, "explain": "lines such as 'clip 3': 0"},
        "ignored": {"type": "array", "uniqueItems": True, "items": _VIDEO, "explain": "a list of ids of videos"},
        "moments": {"type": "array", "items": _MOMENT, "explain": "a list of moments"},
    },
}


@dataclass(frozen=True)
class Mark:
    """A moment that a person judged: ``mark`` is right, wrong or "" (only its borders changed)."""

    video_id: str
    cluster: int
    t_start: float
    t_end: float
    mark: str = ""
    borders: tuple[float, float] | None = None

    @property
    def segment(self) -> tuple[float, float]:
        """Where the moment is after the correction."""
        return self.borders or (self.t_start, self.t_end)


@dataclass(frozen=True)
class Corrections:
    """Everything in one file; ``centres`` is the digest of the centres that the numbers of clusters belong to."""

    variant: str
    seed: int
    iteration: int
    centres: str
    names: dict[int, str] = field(default_factory=dict)
    merges: list[list[int]] = field(default_factory=list)
    moves: dict[str, int] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    moments: list[Mark] = field(default_factory=list)

    def shown_as(self, clusters: int) -> list[int]:
        """Under which number each of K clusters is shown: the first of those that it is merged with."""
        shown = list(range(clusters))
        for group in self.merges:
            for cluster in group:
                shown[cluster] = group[0]
        return shown

    def holds_from(self, variant: str, seed: int, iteration: int) -> bool:
        """Whether the constraints are for this iteration: a later one of the same variant and seed."""
        return (variant, seed) == (self.variant, self.seed) and iteration > self.iteration

    @property
    def content(self) -> dict[str, Any]:
        """What the file holds, for the page to go on from."""
        of = {key: getattr(self, key) for key in ("variant", "seed", "iteration", "centres")}
        marks = (vars(mark).items() for mark in self.moments)
        moments = [{key: value for key, value in mark if value not in (None, "")} for mark in marks]
        rest = {key: getattr(self, key) for key in ("names", "merges", "moves", "ignored")}
        return {"of": of, **rest, "moments": moments}


def read_corrections(path: str | Path) -> Corrections:
    """Read and check a file of corrections.

    Raises
    ------
    InputError
        The file is missing, not YAML, of another form, or contradicts itself.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    try:
        content = yaml.load(read_text(path), _Loader)  # noqa: S506 (a safe loader)
    except _Twice as error:
        raise InputError(f"{path}: {error}; keep one of the two") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({explain_yaml(error)}); save it from the page again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: a {type(content).__name__}; expected what the page saves, with the key 'of'")
    content = {key: value for key, value in content.items() if value is not None}
    if violation := best_match(Draft202012Validator(SCHEMA).iter_errors(content)):
        raise InputError(f"{path}: {explain(violation)}")
    moments = [
        Mark(**{**moment, "borders": tuple(moment["borders"]) if "borders" in moment else None})
        for moment in content.get("moments", [])
    ]
    of = content.pop("of")
    names = {key: join_halves(name, f"{path}: key 'names.{key}'") for key, name in content.get("names", {}).items()}
    content["names"] = {key: " ".join(name.split()) for key, name in names.items()}
    found = Corrections(**of, **{**content, "moments": moments})
    if conflict := _find_conflict(found):
        raise InputError(f"{path}: {conflict}")
    return found


def list_constraints(corrections: Corrections) -> list[Constraint]:
    """What the iterations after the corrected one must obey, sorted by video.

    A moved video is in its cluster. So is a video with a right moment; of several clusters, that with the most time. A
    video whose moments of a cluster are wrong is not in that cluster, unless another moment of it is right.
    """
    length: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    wrong = set[tuple[str, int]]()
    for moment in corrections.moments:
        if moment.mark == "wrong":
            wrong.add((moment.video_id, moment.cluster))
        else:
            start, end = moment.segment
            length[moment.video_id][moment.cluster] += end - start
    fixed = {video: max(sorted(times), key=times.__getitem__) for video, times in length.items()} | corrections.moves
    rows: list[Constraint] = [(video, IS, cluster) for video, cluster in fixed.items()]
    rows += [(video, NOT, c) for video, c in wrong if c not in length.get(video, ()) and video not in fixed]
    rows = [row for row in rows if row[0] not in corrections.ignored]
    return sorted([*rows, *((video, IGNORED, None) for video in corrections.ignored)], key=str)


def digest_constraints(corrections: Corrections) -> str:
    """Digest of the corrections that are trained on; names and merges are not."""
    of = corrections.variant, corrections.seed, corrections.iteration, corrections.centres
    return hashlib.sha256(json.dumps([of, list_constraints(corrections)]).encode()).hexdigest()[:16]


def match_corrections(
    corrections: Corrections, find: Callable[[str], str | None], video_ids: list[str], path: object
) -> Corrections:
    """The corrections with the ids of the data set.

    Raises
    ------
    InputError
        A video is not in the data set, or what is said of one video under several names contradicts itself.
    """

    def known(name: str) -> str:
        if (video_id := find(name)) is None:
            raise InputError(f"{path}: there is no video '{name}' in the data set; {hint(name, video_ids)}")
        return video_id

    for section in (corrections.moves, corrections.ignored):
        called: dict[str, str] = {}
        for name in section:
            if (other := called.setdefault(known(name), name)) != name:
                raise InputError(f"{path}: '{other}' and '{name}' are the same video, '{known(name)}'; keep one")
    moves = {known(video): cluster for video, cluster in corrections.moves.items()}
    moments = [Mark(**{**vars(moment), "video_id": known(moment.video_id)}) for moment in corrections.moments]
    ignored = [known(video) for video in corrections.ignored]
    found = Corrections(**{**vars(corrections), "moves": moves, "moments": moments, "ignored": ignored})
    if conflict := _find_conflict(found):
        raise InputError(f"{path}: {conflict}")
    return found


def match_videos(corrections: Corrections, videos: Columns, path: object) -> Corrections:
    """The corrections with the ids of a videos table, whose moments end where their videos do.

    Raises
    ------
    InputError
        As :func:`match_corrections`, or a moment ends after its video.
    """
    from feel_steps.dataset.annotations import match_ids  # loads numpy

    ids = videos["video_id"].tolist()
    found = match_corrections(corrections, match_ids(ids), ids, path)
    durations = dict(zip(ids, videos["duration"].tolist(), strict=True))
    for mark in found.moments:
        end, duration = mark.segment[1], durations[mark.video_id]
        if end > duration + BEYOND:
            raise InputError(
                f"{path}: a moment of '{mark.video_id}' ends at {end:g} s, but the video at {duration:.4g} s; correct "
                "its times"
            )
    return found


def check_clusters(corrections: Corrections, clusters: int, path: object) -> None:
    """Refuse numbers of clusters that do not exist.

    Raises
    ------
    InputError
    """
    used = [*corrections.names, *corrections.moves.values(), *(moment.cluster for moment in corrections.moments)]
    used += [cluster for group in corrections.merges for cluster in group]
    if wrong := [cluster for cluster in used if not 0 <= cluster < clusters]:
        raise InputError(f"{path}: there is no cluster {wrong[0]}; expected numbers from 0 to {clusters - 1}")


def _find_conflict(found: Corrections) -> str:
    """The first contradiction in words; empty where there is none."""
    if wrong := [key for key in found.names if type(key) is not int]:
        return f"names: there is no cluster {wrong[0]!r}; expected a number"
    if unquoted := [key for key in found.moves if not isinstance(key, str)]:
        return f"moves: {unquoted[0]!r} is no id of a video; write it in quotes"
    group_of: dict[int, int] = {}
    for group in found.merges:
        for cluster in group:
            if cluster in group_of:
                return f"merges: cluster {cluster} is in two groups; make them one"
            group_of[cluster] = group[0]
    for cluster, first in group_of.items():
        names = found.names.get(cluster), found.names.get(first)
        if None not in names and names[0] != names[1]:
            return f"clusters {first} and {cluster} are merged but named '{names[1]}' and '{names[0]}'; keep one name"
    if both := sorted(found.moves.keys() & set(found.ignored)):
        return f"video '{both[0]}' is both moved and ignored; keep one"
    marks: dict[tuple[str, int, float, float], str] = {}
    right: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for moment in found.moments:
        start, end = moment.segment
        where = f"moment of cluster {moment.cluster} in '{moment.video_id}' at {moment.t_start:g} s"
        if not (moment.t_start < moment.t_end and start < end):
            return f"{where}: it ends before it starts"
        if moment.mark == "wrong" and moment.borders:
            return f"{where}: it is wrong, but has borders; keep one"
        key = moment.video_id, moment.cluster, moment.t_start, moment.t_end
        if key in marks:
            return f"{where}: it is listed twice" + (", as right and as wrong" if marks[key] != moment.mark else "")
        marks[key] = moment.mark
        if moment.mark != "wrong":
            if moment.video_id in found.ignored:
                return f"{where}: its video is ignored; keep one"
            others = right[moment.video_id, moment.cluster]
            if any(a < end and start < b for a, b in others):
                return f"{where}: it overlaps another moment of the cluster that you keep; join the two"
            others.append((start, end))
    return ""


class _Twice(Exception):
    """A key that a mapping has twice."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML's reader would take the last and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise _Twice(f"'{key}' stands twice, the second time in line {node.value[i][0].start_mark.line + 1}")
        return super().construct_mapping(node, deep)
