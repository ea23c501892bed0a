"""What a finished run finds in videos that were not in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from feel_steps.attend import attend
from feel_steps.errors import InputError
from feel_steps.explore.export import export
from feel_steps.explore.new_videos import extract_features, read_features, run_contract
from feel_steps.localize import PUBLISHED, Settings, localize
from feel_steps.localizers import weights
from feel_steps.pool import pool
from feel_steps.report.page import predicted_page
from feel_steps.report.videos import apart
from feel_steps.snippets import Snippets, load_snippets, runs
from feel_steps.tables import tables
from feel_steps.tables.folders import iteration_folder
from feel_steps.tables.kinds import Columns
from feel_steps.tables.run import find_run

MOMENTS = 10  # of a video in the terminal


@dataclass(frozen=True)
class Prediction:
    """New videos as a run sees them: tables as a run has them, and which of the M videos look unlike its own."""

    videos: Columns
    attention: Columns
    embeddings: Columns
    detections: Columns
    unlike: np.ndarray

    @cached_property
    def snippets(self) -> dict[str, slice]:
        """Where each video's snippets stand in the attention table."""
        return {video_id: slice(start, stop) for video_id, start, stop in runs(self.attention["video_id"])}

    @property
    def assigned(self) -> np.ndarray:
        """Strongest class of each video, int [M]."""
        return self.embeddings["score"].argmax(1)

    # what new videos do not have
    @property
    def refined(self) -> Columns:
        return _empty("refined")

    @property
    def selected(self) -> Columns:
        return _empty("selected")

    @property
    def annotations(self) -> Columns:
        return _empty("annotations")


def choose(
    run: Path, variant: str | None = None, seed: int | None = None, iteration: int | None = None
) -> tuple[Path, bool]:
    """Find the folder of an iteration: what the report shows (first variant, its first seed, last iteration), or other.

    Returns
    -------
    (path, bool)
        The folder, and whether it is what the report shows.

    Raises
    ------
    InputError
        The run is not finished, or has no such variant, seed or iteration.
    """
    found = find_run(run)
    variant = variant or found.variant
    if variant not in found.seeds:
        raise InputError(f"{run}: no variant '{variant}'; it has {', '.join(found.seeds)}")
    seed = found.seeds[variant][0] if seed is None else seed
    if seed not in found.seeds[variant]:
        raise InputError(f"{run}: no seed {seed} of '{variant}'; it has {', '.join(map(str, found.seeds[variant]))}")
    own = found.metrics[(found.metrics["variant"] == variant) & (found.metrics["seed"] == seed)]
    last = int(own["iteration"].max())
    iteration = last if iteration is None else iteration
    if not 1 <= iteration <= last:
        raise InputError(f"{run}: no iteration {iteration} of '{variant}', seed {seed}; it has 1 to {last}")
    place = iteration_folder(run, variant, seed, iteration)
    return place, place == found.iteration_folder(found.iterations)


def predict(
    run: Path,
    files: Sequence[Path],
    place: Path,
    *,
    features: Sequence[Path] = (),
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    threads: int = 2,
) -> Prediction:
    """Extract (or read), attend and localize new videos as the run did its own.

    Parameters
    ----------
    run : path
        Folder of the finished run.
    files : M paths
        Video files; a video's id is its file's name without the suffix. Optional where there are ``features``: then
        they give players and durations to the arrays of their names.
    place : path
        Folder of the iteration whose localizer looks at them, see :func:`choose`.
    features : paths
        Arrays [T, D] of the new videos, or folders of them, for a run whose features were made by others.
    settings : mapping, optional
        Settings of the extractor that the run's features cannot tell: where networks' weights are.
    device, threads
        As in :func:`feel_steps.train.train`.

    Returns
    -------
    Prediction

    Raises
    ------
    InputError
        A file cannot be used, two have one name, or the features are not of the run's kind.
    """
    contract = run_contract(run)
    fps, window, stride = contract.timing
    if contract.exists:
        videos, vectors = read_features(run, contract, features, files)
    else:
        videos, vectors = extract_features(run, contract, features, files, settings or {}, device, threads)
    lengths = np.array([len(own) for own in vectors])
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
    trained = weights.read_tensors(place / "model.safetensors")[1]["training"]
    attention, embeddings = attend(
        weights.load(place / "model.safetensors"),
        snippets,
        table,
        length=trained["length"],
        precision=trained["precision"],
        device=device,
        threads=threads,
    )
    written = _written(place / "detections.parquet")
    used = {**PUBLISHED, **{name: value for name, value in written.items() if value is not None}}  # an older run's
    detections = localize(attention, embeddings, table, Settings(**used))
    training = load_snippets(tables.read(run / "videos.parquet", "videos"), run / "features", "train")
    strange = unlike(pool(snippets)["mean"], pool(training)["mean"])
    return Prediction(table, attention, embeddings, detections, strange)


def write(prediction: Prediction, out: Path, *, run: str, names: Mapping[int, str]) -> None:
    """Write what was found: detections.json, detections.csv, subtitles {video_id}.vtt, and predicted.html to look at.

    Subtitles show each moment once, see :func:`feel_steps.report.videos.apart`; the tables hold every detection.

    Parameters
    ----------
    prediction : Prediction
    out : path
        A folder.
    run : str
        The run's name, for the page.
    names : mapping of int to str
        Names of clusters; one without a name is called by its number.
    """
    found, videos = prediction.detections, prediction.videos
    export(found, videos, out / "detections.json", form="activitynet", names=names)
    export(found, videos, out / "detections.csv", form="csv", names=names)
    export(moments(prediction), videos, out, form="vtt", names=names)
    predicted_page(prediction, out / "predicted.html", run=run, names=names)


def moments(prediction: Prediction) -> Columns:
    """Detections that no stronger one of the same cluster and video overlaps, columns of a detections table."""
    found = prediction.detections
    rows = [slice(start, stop) for _, start, stop in runs(found["video_id"])]
    videos = ({name: values[own] for name, values in found.items()} for own in rows)
    kept = np.concatenate([np.zeros(0, bool), *map(apart, videos)])
    return {name: values[kept] for name, values in found.items()}


def table(prediction: Prediction, names: Mapping[int, str]) -> str:
    """Say for the terminal what was found: the strongest moments of each video, in order of time."""
    found, lines = moments(prediction), []
    for video_id in prediction.videos["video_id"]:
        own = np.flatnonzero(found["video_id"] == video_id)
        best = own[np.argsort(-found["score"][own], kind="stable")][:MOMENTS]
        lines.append(f"{video_id}: {len(own)} moments" + (f", the strongest {MOMENTS}:" if len(own) > MOMENTS else ""))
        for i in best[np.argsort(found["t_start"][best], kind="stable")]:
            cluster, score, start, end = (found[key][i] for key in ("cluster", "score", "t_start", "t_end"))
            lines.append(f"  {start:7.1f} – {end:.1f} s  {names.get(cluster, f'cluster-{cluster}')}  {score:.2f}")
    return "\n".join(lines)


def unlike(features: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Tell which videos are farther from every training video than any training video is from all others.

    Parameters
    ----------
    features, training : float32 [M, D], [N, D]
        Pooled; N of 2 or more.

    Returns
    -------
    bool [M]
    """
    neighbours = NearestNeighbors(n_neighbors=1).fit(training)
    among_themselves = neighbours.kneighbors()[0]  # without each one itself
    return neighbours.kneighbors(features)[0][:, 0] > among_themselves.max()


def _empty(kind: str) -> Columns:
    """Columns of a table without a row."""
    kinds = tables.KINDS[kind].columns.items()
    return {name: np.empty(0, object if type_ == "string" else type_) for name, type_ in kinds}


def _written(table: Path) -> dict[str, Any]:
    """The settings that a step wrote with its table."""
    about = tables.read_metadata(table)
    if "settings" not in about:
        raise InputError(f"{table}: it does not say with what settings it was made; run the step that writes it again")
    return json.loads(about["settings"])
