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

from feel_steps.attend import attend
from feel_steps.errors import InputError
from feel_steps.explore.export import export
from feel_steps.explore.new_videos import extract_features, read_features, run_contract
from feel_steps.features.scaling import scale
from feel_steps.localize import PUBLISHED, Settings, localize
from feel_steps.localizers import weights
from feel_steps.pool import pool
from feel_steps.report.page import predicted_page
from feel_steps.report.videos import apart
from feel_steps.snippets import Snippets, load_snippets
from feel_steps.tables import tables
from feel_steps.tables.folders import iteration_folder
from feel_steps.tables.kinds import Columns
from feel_steps.tables.run import find_run
from feel_steps.tables.tables import runs

MOMENTS = 10  # moments per video in the terminal


@dataclass(frozen=True)
class Prediction:
    """Tables of M new videos like those of a run, and which of the videos differ from the training videos.

    ``failed`` has one line for each further video that could not be used.
    """

    videos: Columns
    attention: Columns
    embeddings: Columns
    detections: Columns
    unlike: np.ndarray
    failed: tuple[str, ...] = ()

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
    """Find the folder of an iteration; default: first variant, its first seed, last iteration, as in the report.

    Returns
    -------
    (path, bool)
        The folder, and whether the report shows this iteration.

    Raises
    ------
    InputError
        The run is not finished, or has no such variant, seed or iteration.
    """
    finished = find_run(run)
    variant = variant or finished.variant
    if variant not in finished.seeds:
        raise InputError(f"{run}: no variant '{variant}'; it has {', '.join(finished.seeds)}")
    seed = finished.seeds[variant][0] if seed is None else seed
    if seed not in finished.seeds[variant]:
        raise InputError(f"{run}: no seed {seed} of '{variant}'; it has {', '.join(map(str, finished.seeds[variant]))}")
    metrics = finished.metrics[(finished.metrics["variant"] == variant) & (finished.metrics["seed"] == seed)]
    last = int(metrics["iteration"].max())
    iteration = last if iteration is None else iteration
    if not 1 <= iteration <= last:
        raise InputError(f"{run}: no iteration {iteration} of '{variant}', seed {seed}; it has 1 to {last}")
    folder = iteration_folder(run, variant, seed, iteration)
    return folder, folder == finished.iteration_folder(finished.iterations)


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
    files : M paths
        Video files. The id of a video is the name of its file without the suffix. With ``features``, they are
        optional and give players and durations for the arrays with the same names.
    iteration : path
        Folder of the iteration whose localizer is used, see :func:`choose`.
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
    fps, window, stride = contract.timing
    if contract.exists:
        videos, vectors, failed = read_features(run, contract, features, files)
    else:
        videos, vectors, failed = extract_features(run, contract, features, files, settings or {}, device, threads)
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
    attention, embeddings = attend(
        weights.load(iteration / "model.safetensors"),
        snippets,
        table,
        length=trained["length"],
        precision=trained["precision"],
        device=device,
        threads=threads,
    )
    written = _written(iteration / "detections.parquet")
    # an older version wrote fewer settings, and null for plain NMS
    used = PUBLISHED | {name: value for name, value in written.items() if value is not None}
    detections = localize(attention, embeddings, table, Settings(**used))
    training = load_snippets(tables.read(run / "videos.parquet", "videos"), run / "features", "train")
    strange = unlike(pool(snippets)["mean"], pool(training)["mean"])
    return Prediction(table, attention, embeddings, detections, strange, tuple(failed))


def write(prediction: Prediction, out: Path, *, run: str, names: Mapping[int, str]) -> None:
    """Write the detections: detections.json, detections.csv, subtitles {video_id}.vtt, and the page predicted.html.

    Subtitles show each moment once, see :func:`feel_steps.report.videos.apart`. The tables have all detections.

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
    detections, videos = prediction.detections, prediction.videos
    export(detections, videos, out / "detections.json", form="activitynet", names=names)
    export(detections, videos, out / "detections.csv", form="csv", names=names)
    export(moments(prediction), videos, out, form="vtt", names=names)
    predicted_page(prediction, out / "predicted.html", run=run, names=names)


def moments(prediction: Prediction) -> Columns:
    """Detections that no stronger detection of the same cluster and video overlaps; columns of a detections table."""
    detections = prediction.detections
    rows = [slice(start, stop) for _, start, stop in runs(detections["video_id"])]
    videos = ({name: values[row] for name, values in detections.items()} for row in rows)
    kept = np.concatenate([np.zeros(0, bool), *map(apart, videos)])
    return {name: values[kept] for name, values in detections.items()}


def table(prediction: Prediction, names: Mapping[int, str]) -> str:
    """Format the strongest moments of each video for the terminal, sorted by time."""
    detections, lines = moments(prediction), []
    for video_id in prediction.videos["video_id"]:
        rows = np.flatnonzero(detections["video_id"] == video_id)
        best = rows[np.argsort(-detections["score"][rows], kind="stable")][:MOMENTS]
        lines.append(
            f"{video_id}: {len(rows)} moments" + (f", the strongest {MOMENTS}:" if len(rows) > MOMENTS else "")
        )
        for i in best[np.argsort(detections["t_start"][best], kind="stable")]:
            cluster, score, start, end = (detections[key][i] for key in ("cluster", "score", "t_start", "t_end"))
            lines.append(f"  {start:7.1f} – {end:.1f} s  {names.get(cluster, f'cluster-{cluster}')}  {score:.2f}")
    return "\n".join(lines)


def unlike(features: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Whether a video is farther from all training videos than any training video is from its nearest neighbour.

    Parameters
    ----------
    features, training : float32 [M, D], [N, D]
        Pooled features; N is at least 2.

    Returns
    -------
    bool [M]
    """
    neighbours = NearestNeighbors(n_neighbors=1).fit(training)
    among_themselves = neighbours.kneighbors()[0]  # without the video itself
    return neighbours.kneighbors(features)[0][:, 0] > among_themselves.max()


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
