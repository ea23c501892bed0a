"""Features of a few tiny videos, in which it is known when actions happen."""

import numpy as np

from feel_steps.tables.snippets import Snippets


def make_snippets(lengths=(30, 12, 7, 45, 20, 16), dimension=6, seed=0):
    """Videos of two classes in turn; the middle third of each is action, along an axis of its class."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    features = rng.normal(scale=0.3, size=(offsets[-1], dimension)).astype(np.float32)
    for i, (start, length) in enumerate(zip(offsets, lengths, strict=False)):
        features[start + length // 3 : start + 2 * length // 3, i % 2] += 2
    return Snippets([f"v{i}" for i in range(len(lengths))], features, offsets)


def make_videos(snippets):
    """Their videos table: 25 frames a second, a snippet every 8 frames, all in one feature file."""
    n = len(snippets.video_ids)
    return {
        "video_id": np.array(snippets.video_ids, object),
        "split": np.array(["train"] * n, object),
        "path": [None] * n,
        "fps": np.full(n, 25.0),
        "n_frames": np.full(n, -1),
        "duration": snippets.lengths * 0.32,
        "n_snippets": snippets.lengths,
        "snippet_stride": np.full(n, 8),
        "snippet_window": np.full(n, 16),
        "part": np.array(["part-0000.parquet"] * n, object),
    }
