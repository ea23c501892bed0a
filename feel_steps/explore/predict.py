"""Localizes actions in new videos with the localizer of a finished run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from feel_steps.attend import attend, attend_parts
from feel_steps.description import Description
from feel_steps.errors import InputError
from feel_steps.explore.export import export
from feel_steps.explore.moments import Rule, as_detections, find_moments
from feel_steps.explore.new_videos import extract_features, find_files, read_features, run_contract
from feel_steps.features.scaling import scale
from feel_steps.localize import PUBLISHED, Settings, localize
from feel_steps.localizers import weights
from feel_steps.parts import cut, to_table
from feel_steps.pool import pool
from feel_steps.report.page import predicted_page
from feel_steps.tables import tables
from feel_steps.tables.kinds import Columns
from feel_steps.tables.run import find_parts
from feel_steps.tables.snippets import Snippets, load_snippets
from feel_steps.tables.tables import runs
from feel_steps.tables.tensors import read_arrays

MOMENTS = 10  # moments per video in the terminal


@dataclass(frozen=True)
class Prediction:
    """Tables of M new videos like those of a run, and which of the videos differ from the training videos.

    ``failed`` has one line for each further video that could not be used, ``parts`` the parts of the videos and their
    strongest classes, where the run clusters parts.
    """

    videos: Columns
    attention: Columns
    embeddings: Columns
    detections: Columns
    moments: Columns
    unlike: np.ndarray
    failed: tuple[str, ...] = ()
    parts: Columns | None = None

    @cached_property
    def snippets(self) -> dict[str, slice]:
        """Rows of each video's snippets in the attention table."""
        return {video_id: slice(start, stop) for video_id, start, stop in runs(self.attention["video_id"])}

    @property
    def assigned(self) -> np.ndarray:
        """Strongest class of each video, int [M]."""
        return self.embeddings["score"].argmax(1)

    # tables that new videos do not have
    @property
    def confidence(self) -> Columns:
        return _empty("confidence")

    @property
    def selected(self) -> Columns:
        return _empty("selected")

    @property
    def annotations(self) -> Columns:
        return _empty("annotations")


def predict(
    run: Path,
    files: Sequence[Path],
    iteration: Path,
    *,
    features: Sequence[Path] = (),
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    threads: int = 2,
) -> Prediction:
    """Extract or read features, attend and localize new videos with the settings of the run.

    Parameters
    ----------
    run : path
        Folder of the finished run.
    files : paths
        Video files, or folders of them. The id of a video is the name of its file without the suffix, in a folder as a
        run of it has them. With ``features``, they are optional and give players and durations for the arrays with the
        same names.
    iteration : path
        Folder of the iteration whose localizer is used, see :meth:`feel_steps.tables.run.Run.choose`.
    features : paths
        Arrays [T, D] of the new videos, or folders of them, for a run that read its features from arrays.
    settings : mapping, optional
        Settings of the extractor that the run does not record: paths of weights.
    device, threads
        As in :func:`feel_steps.train.train`.

    Returns
    -------
    Prediction

    Raises
    ------
    InputError
        None of the files can be used, two have the same name, or the extractor is not that of the run.
    """
    contract = run_contract(run)
    cuts = _read_cuts(iteration)
    found = find_files(files)
    fps, window, stride = contract.timing
    if contract.exists:
        videos, vectors, failed = read_features(run, contract, features, found)
    else:
        videos, vectors, failed = extract_features(run, contract, features, found, settings or {}, device, threads)
    if contract.scaled:
        scaling = tables.read(run / "scaling.parquet", "scaling")
        vectors = [scale(vector, scaling) for vector in vectors]
    lengths = np.array([len(vector) for vector in vectors])
    names = videos["video_id"].tolist()
    snippets = Snippets(names, np.concatenate(vectors), np.concatenate([[0], np.cumsum(lengths)]))
    M = len(names)
    table = {
        **videos,
        "fps": np.full(M, fps),
        "n_snippets": lengths,
        "snippet_stride": np.full(M, stride),
        "snippet_window": np.full(M, window),
    }
    trained = weights.read_tensors(iteration / "model.safetensors")[1]["training"]
    model = weights.load(iteration / "model.safetensors")
    how = {"length": trained["length"], "precision": trained["precision"], "device": device, "threads": threads}
    seen = tables.read_metadata(iteration / "attention.parquet").get("settings", '{"sampling": "length"}')
    how |= json.loads(seen)  # an older version wrote nothing, and sampled so
    if cuts is None:
        parts = None
        attention, embeddings = attend(model, snippets, table, **how)
    else:
        description, limits = cuts
        borders = cut(snippets, np.full(M, stride / fps), description, **limits)
        parts = to_table(snippets, borders, table)
        attention, embeddings, of_parts = attend_parts(model, snippets, table, parts, **how)
        parts |= {"cluster": of_parts["score"].argmax(1), "selected": np.zeros(len(parts["part"]), bool)}
    written = _written(iteration / "detections.parquet")
    # an older version wrote fewer settings, and null for plain NMS
    used = PUBLISHED | {name: value for name, value in written.items() if value is not None}
    detections = localize(attention, embeddings, table, Settings(**used))
    training = load_snippets(tables.read(run / "videos.parquet", "videos"), run / "features", "train")
    strange = unlike(pool(snippets)["mean"], pool(training)["mean"])
    # an older run has no moments and no confidence
    path = iteration / "moments.parquet"
    rule = Rule(**_written(path)) if path.is_file() else Rule()
    moments = find_moments(detections, rule, _stability(iteration))
    return Prediction(table, attention, embeddings, detections, moments, strange, tuple(failed), parts)


def _read_cuts(iteration: Path) -> tuple[Description, dict[str, Any]] | None:
    """How the run described and cut its own videos; None where it has no parts."""
    parts = find_parts(iteration)
    if parts is None:
        return None
    learnt = parts.with_name("description.safetensors")
    if not learnt.is_file():
        raise InputError(f"{learnt}: no such file; an older version cut the run's videos, run snakemake again")
    arrays, about = read_arrays(learnt)
    return Description(about["family"], about["within"], **arrays), _written(parts)


def write(prediction: Prediction, out: Path, *, run: str, names: Mapping[int, str]) -> None:
    """Write the moments: moments.json, moments.csv, subtitles {video_id}.vtt, and the page predicted.html.

    ``detections.json`` and ``detections.csv`` have all detections, from which the moments were chosen.

    Parameters
    ----------
    prediction : Prediction
    out : path
        A folder.
    run : str
        Name of the run, for the page.
    names : mapping of int to str
        Names of clusters. A cluster without a name is shown by its number.
    """
    videos, moments = prediction.videos, as_detections(prediction.moments)
    for name, segments in (("moments", moments), ("detections", prediction.detections)):
        export(segments, videos, out / f"{name}.json", form="activitynet", names=names)
        export(segments, videos, out / f"{name}.csv", form="csv", names=names)
    export(moments, videos, out, form="vtt", names=names)
    predicted_page(prediction, out / "predicted.html", run=run, names=names)


def table(prediction: Prediction, names: Mapping[int, str]) -> str:
    """Format the most confident moments of each video for the terminal, sorted by time."""
    moments, lines = prediction.moments, []
    for video_id in prediction.videos["video_id"]:
        rows = np.flatnonzero(moments["video_id"] == video_id)
        best = rows[np.argsort(-moments["confidence"][rows], kind="stable")][:MOMENTS]
        more = f", the {MOMENTS} with the highest confidence:" if len(rows) > MOMENTS else ""
        lines.append(f"{video_id}: {len(rows)} moments{more}")
        for i in np.sort(best):  # rows are sorted by time
            cluster, confidence, start, end = (moments[key][i] for key in ("cluster", "confidence", "t_start", "t_end"))
            name = names.get(cluster, f"cluster-{cluster}")
            lines.append(f"  {start:7.1f} – {end:.1f} s  {name}  {confidence:.2f}")
    return "\n".join(lines)


def unlike(features: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Whether a video is farther from all training videos than any training video is from its nearest neighbour.

    Parameters
    ----------
    features, training : float32 [M, D], [N, D]
        Pooled features.

    Returns
    -------
    bool [M]
        All False where N is 1: one video does not tell how far videos may be.
    """
    if len(training) < 2:
        return np.zeros(len(features), bool)
    neighbours = NearestNeighbors(n_neighbors=1).fit(training)
    among_themselves = neighbours.kneighbors()[0]  # without the video itself
    return neighbours.kneighbors(features)[0][:, 0] > among_themselves.max()


def _stability(iteration: Path) -> Columns | None:
    """Confidence of a run's clusters, without its videos: a new video may have the id of one of them."""
    path = iteration / "confidence.parquet"
    if not path.is_file():
        return None
    found = tables.read(path, "confidence")
    return found | {"video_id": np.full(len(found["video_id"]), None, object)}


def _empty(kind: str) -> Columns:
    """Columns of an empty table."""
    kinds = tables.KINDS[kind].columns.items()
    return {name: np.empty(0, object if type_ == "string" else type_) for name, type_ in kinds}


def _written(table: Path) -> dict[str, Any]:
    """Settings that a step recorded in its table."""
    about = tables.read_metadata(table)
    if "settings" not in about:
        raise InputError(f"{table}: its settings are not recorded in it; run the step that writes it again")
    return json.loads(about["settings"])
