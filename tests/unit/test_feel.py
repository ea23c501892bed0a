"""The paper's method stays what it was: numbers of the program before there was another method."""

from __future__ import annotations

import hashlib

import numpy as np
import yaml

from feel_steps.cluster import cluster
from feel_steps.config import merge, resolve
from feel_steps.jaccard import refine
from feel_steps.localize import Settings, localize
from feel_steps.pool import pool
from feel_steps.selection import schedule, select
from feel_steps.tables.snippets import Snippets
from tests.paths import ROOT

N, K = 30, 3
KEPT = {
    1: ([10, 13, 19, 6, 3, 21, 29, 8, 5], "b41177cdf29fd490", "102", 6.951096),
    2: ([16, 7, 28, 25, 1, 20, 14, 11, 26, 8, 9, 21, 3, 24, 0], "b6d6620de83eec80", "201", 8.183597),
}


def digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def test_the_papers_method_gives_what_it_gave():
    """Pooling, clusters, refinement, selection and detections, with the settings that ``method: feel`` stands for."""
    config = merge(yaml.safe_load((ROOT / "config.yaml").read_text()), {"method": "feel", "refine": {"k1": 6, "k2": 3}})
    settings = resolve(config, None)
    rng = np.random.default_rng(5)
    lengths = rng.integers(6, 20, N)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    features = rng.normal(scale=0.5, size=(offsets[-1], 8)).astype(np.float32)
    for i in range(N):
        features[offsets[i] + lengths[i] // 3 : offsets[i] + 2 * lengths[i] // 3, i % K] += 2
    ids = np.array([f"v{i}" for i in range(N)], object)
    snippets = Snippets(ids.tolist(), features, offsets)
    embedding = rng.random((N, 5)).astype(np.float32) + np.eye(K, 5, dtype=np.float32)[np.arange(N) % K]
    embeddings = {"video_id": ids, "feature": embedding, "score": rng.dirichlet(np.ones(K), N).astype(np.float32)}
    activation = rng.random((offsets[-1], K)).astype(np.float32) * 2
    attention = {
        "video_id": np.repeat(ids, lengths),
        "snippet": np.concatenate([np.arange(n) for n in lengths]).astype(np.int32),
        "actionness": activation.sum(1),
        "activation": activation,
    }
    videos = {"video_id": ids, "n_snippets": lengths.astype(np.int32), "fps": np.full(N, 25.0)}
    videos |= {"snippet_stride": np.full(N, 8, np.int32), "snippet_window": np.full(N, 16, np.int32)}

    assert settings["cluster"]["method"] == "kmeans" and settings["refine"].pop("method") == "cci"
    assert settings["refine"].pop("ranking") == "exact"
    settings["refine"]["lambda_value"] = settings["refine"].pop("lambda")
    for iteration, (selected, bytes_, order, total) in KEPT.items():
        known = {"embeddings": embeddings, "attention": attention} if iteration > 1 else {}
        (vectors,) = pool(snippets, **settings["pool"], **known).values()
        labels, _, centres = cluster(vectors, K, 0, n_init=settings["cluster"]["n_init"])
        refined = refine(vectors, centres, **settings["refine"])
        rows, _ = select(refined["cluster"], refined["distance"], schedule(iteration, **settings["select"]))
        assert digest(vectors) == bytes_ and rows.tolist() == selected
        assert "".join(map(str, labels)) == "".join(map(str, refined["cluster"])) == order * (N // K)
        assert abs(refined["distance"].sum() - total) < 1e-5

    (weighted,) = pool(snippets, views=["actionness"], attention=attention).values()
    assert digest(weighted) == "1cea6e4a65755840"
    del settings["localize"]["moments"]  # of what is shown, not of what is detected
    detections = localize(attention, embeddings, videos, Settings(**settings["localize"]))
    assert digest(detections["cluster"]) == "79fc343d0a4bc556"
    sums = [float(detections[name].sum()) for name in ("score", "t_start", "t_end")]
    assert np.allclose(sums, [156.303093, 618.613333, 941.266667], atol=1e-4)
