"""Does confidence mean something? Bins the training videos of finished runs by confidence, and counts the right ones.

    python benchmarks/confidence.py results/RUN [results/RUN ...] [--bins 10]

Every variant, seed and last iteration counts. A video is right if its class is the most frequent one among the OTHER
videos of its cluster: counted with itself, a video alone in its cluster would always be right. The class of a video is
the one annotated for the longest time; videos without annotations do not count. The expected calibration error (ECE:
Naeini et al., AAAI 2015) is the mean gap between confidence and share of right videos, weighted by the bins' sizes.
Beside it stands the ECE of 1 - distance, where distances lie between 0 and 1.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from feel_steps.cli.loop import rate
from feel_steps.tables import tables
from feel_steps.tables.folders import iteration_folder
from feel_steps.tables.kinds import Columns
from feel_steps.tables.run import find_run


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> tuple[pd.DataFrame, float]:
    """Bin videos by confidence.

    Parameters
    ----------
    confidence : float [N]
        In [0, 1].
    right : bool [N]
    bins : int
        Of equal width; a confidence of 1 is in the last one.

    Returns
    -------
    (DataFrame, float)
        One row per bin that has videos: ``low``, ``high``, ``videos``, mean ``confidence`` and share of ``right``; and
        the expected calibration error, NaN without videos.
    """
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    table = pd.DataFrame({"bin": index, "confidence": confidence, "right": right.astype(float)})
    rows = table.groupby("bin").agg(
        videos=("right", "size"), confidence=("confidence", "mean"), right=("right", "mean")
    )
    rows = rows.reset_index()
    rows.insert(0, "low", rows["bin"] / bins)
    rows.insert(1, "high", (rows.pop("bin") + 1) / bins)
    gaps = (rows["confidence"] - rows["right"]).abs()
    return rows, float((gaps * rows["videos"]).sum() / len(table)) if len(table) else float("nan")


def classes(annotations: Columns) -> dict[str, str]:
    """Class of each annotated video: the one annotated for the longest time, among equals the first by name."""
    table = pd.DataFrame({name: annotations[name] for name in ("video_id", "label", "t_start", "t_end")})
    table["length"] = table["t_end"] - table["t_start"]
    lengths = table.groupby(["video_id", "label"], as_index=False)["length"].sum()
    longest = lengths.sort_values(["length", "label"], ascending=[False, True]).drop_duplicates("video_id")
    return dict(zip(longest["video_id"], longest["label"], strict=True))


def judge(cluster: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Whether each video's class is the most frequent among the others of its cluster, bool [N]; ties are wrong."""
    names, code = np.unique(label.astype(str), return_inverse=True)
    counts = np.zeros((int(cluster.max(initial=0)) + 1, len(names)), int)
    np.add.at(counts, (cluster, code), 1)
    others = counts[cluster]  # [N, classes]
    rows = np.arange(len(code))
    others[rows, code] -= 1
    own = others[rows, code].copy()
    others[rows, code] = -1
    return (own > 0) & (own > others.max(1, initial=-1))


def rated(folder: Path, clusters: int) -> Columns:
    """Confidence of an iteration's videos: its table, or, of an older run, what the rate step gives."""
    path = folder / "confidence.parquet"
    if path.is_file():
        return tables.read(path, "confidence")
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / path.name
        rate(folder / "pooled.parquet", folder / "refined.parquet", clusters, out, seed=0, runs=20)
        return tables.read(out, "confidence")


def collect(run: Path) -> pd.DataFrame:
    """Confidence, 1 - distance and whether it is right, of every annotated training video of every variant and seed."""
    found = find_run(run)
    truth, metrics, parts = classes(found.annotations), found.metrics, []
    for variant, seeds in found.seeds.items():
        for seed in seeds:
            rows = metrics[(metrics["variant"] == variant) & (metrics["seed"] == seed)]
            folder = iteration_folder(run, variant, seed, int(rows["iteration"].max()))
            clusters = tables.read(folder / "embeddings.parquet", "embeddings")["score"].shape[1]
            table, refined = rated(folder, clusters), tables.read(folder / "refined.parquet", "refined")
            distance = dict(zip(refined["video_id"], refined["distance"], strict=True))
            known = np.isin(table["video_id"], list(truth))
            videos = table["video_id"][known]
            right = judge(table["cluster"][known], np.array([truth[video] for video in videos], object))
            before = 1 - np.array([distance[video] for video in videos], float)
            parts.append(pd.DataFrame({"confidence": table["confidence"][known], "before": before, "right": right}))
    return pd.concat(parts, ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--bins", type=int, default=10)
    arguments = parser.parse_args()
    for run in arguments.runs:
        table = collect(run)
        rows, error = reliability(table["confidence"].to_numpy(), table["right"].to_numpy(), arguments.bins)
        print(f"{run}: {len(table)} videos, {table['right'].mean():.0%} right, ECE {error:.3f}", end="")
        if table["before"].between(0, 1).all():
            _, before = reliability(table["before"].to_numpy(), table["right"].to_numpy(), arguments.bins)
            print(f"; of 1 - distance {before:.3f}", end="")
        print(f"\n{rows.to_string(index=False, float_format='{:.2f}'.format)}\n")


if __name__ == "__main__":
    main()
