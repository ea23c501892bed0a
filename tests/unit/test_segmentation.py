"""Measures of a segmentation against a slow oracle on a fine grid, and a segmentation of planted actions."""

from itertools import permutations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d

from feel_steps.errors import InputError
from feel_steps.evaluation.segmentation import measure_segments
from feel_steps.explore.segment import _dependence, _when, segment, viterbi
from feel_steps.tables import tables
from feel_steps.tables.snippets import Snippets
from tests.small_run import call
from tests.tiny import make_videos
from tests.unit.test_parts import make_mixed


def table(rows, key):
    ids, values, start, end = zip(*rows, strict=True)
    kind = object if key == "label" else np.int32
    return {
        "video_id": np.array(ids, object),
        key: np.array(values, kind),
        "t_start": np.array(start, float),
        "t_end": np.array(end, float),
    }


def draw(seed):
    """Whole seconds, so that a grid of one second is exact; gaps and overlaps in the annotations."""
    rng = np.random.default_rng(seed)
    segments, annotations = [], []
    for v in range(3):
        edges = np.sort(rng.choice(np.arange(1, 40), 6, replace=False))
        for a, b in zip([0, *edges], [*edges, 40], strict=True):
            segments.append((f"v{v}", int(rng.integers(4)), a, b))
        edges = np.sort(rng.choice(np.arange(0, 44), 8, replace=False))
        for a, b in zip(edges[:-1], edges[1:], strict=True):
            if rng.random() < 0.8:
                annotations.append((f"v{v}", "abc"[rng.integers(3)], a, min(b + rng.integers(0, 2), 43)))
    return table(segments, "cluster"), table(annotations, "label")


def runs(values):
    edges = [0, *[i for i in range(1, len(values)) if values[i] != values[i - 1]], len(values)]
    return [(values[a], a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def levenshtein(a, b):
    if not a or not b:
        return len(a) + len(b)
    return min(levenshtein(a[1:], b) + 1, levenshtein(a, b[1:]) + 1, levenshtein(a[1:], b[1:]) + (a[0] != b[0]))


def best_names(pairs):
    """The naming of clusters 0 to 3 by classes a, b, c and none that is right most often; none never is."""
    return max(permutations("abc-"), key=lambda names: sum(names[k] == c for k, c in pairs))


def oracle(segments, annotations, within):
    videos = []
    for v in sorted(set(annotations["video_id"])):
        own = [i for i in range(len(annotations["label"])) if annotations["video_id"][i] == v]
        own.sort(key=lambda i: annotations["t_start"][i])
        pairs = []
        for second in range(40):
            labels = [
                annotations["label"][i] for i in own if annotations["t_start"][i] <= second < annotations["t_end"][i]
            ]
            cluster = next(
                k
                for s, k, a, b in zip(*(segments[n] for n in ("video_id", "cluster", "t_start", "t_end")), strict=True)
                if s == v and a <= second < b
            )
            if labels:
                pairs.append((int(cluster), labels[-1]))
        videos.append(pairs)
    names = [best_names(pairs if within else sum(videos, [])) for pairs in videos]
    named = [[(n[k], c) for k, c in pairs] for n, pairs in zip(names, videos, strict=True)]
    scores = {"mof": np.mean([k == c for pairs in named for k, c in pairs]), "edit": []}
    counts = {overlap: [0, 0] for overlap in (10, 25, 50)}
    for pairs in named:
        found, truth = runs([k for k, _ in pairs]), runs([c for _, c in pairs])
        longer = max(len(found), len(truth))
        scores["edit"].append(1 - levenshtein([r[0] for r in found], [r[0] for r in truth]) / longer)
        for overlap, count in counts.items():
            taken = set()
            for k, a, b in found:
                tiou = [(min(b, d) - max(a, c)) / (max(b, d) - min(a, c)) if k == n else -1 for n, c, d in truth]
                best = int(np.argmax(tiou))
                if tiou[best] >= overlap / 100 and best not in taken:
                    taken.add(best)
            count[0] += 2 * len(taken)
            count[1] += len(found) + len(truth)
    scores["edit"] = np.mean(scores["edit"])
    return scores | {f"f1@{overlap}": hit / of for overlap, (hit, of) in counts.items()}


@pytest.mark.parametrize("seed", range(4))  # of which no two namings are equally good
def test_measures_are_the_slow_oracles(seed):
    segments, annotations = draw(seed)
    measured = measure_segments(segments, annotations)
    for stage, within in (("segment", False), ("segment_video", True)):
        found = {metric: value for s, metric, value in measured if s == stage}
        expected = oracle(segments, annotations, within)
        assert found == pytest.approx(expected)


def test_a_perfect_segmentation_and_one_without_annotations():
    segments = table([("v", 3, 0, 4), ("v", 1, 4, 9), ("w", 1, 0, 5)], "cluster")
    truth = table([("v", "run", 0, 4), ("v", "sit", 4, 9), ("w", "sit", 1, 3)], "label")
    assert {value for _, _, value in measure_segments(segments, truth)} == {1.0}
    empty = {name: column[:0] for name, column in truth.items()}
    assert measure_segments(segments, empty) == []


@pytest.mark.parametrize("seed", range(3))
def test_no_path_is_cheaper(seed):
    rng = np.random.default_rng(seed)
    cost, leave = rng.random((6, 3)), rng.random(3)

    def price(path):
        moves = sum(leave[a] for a, b in zip(path[:-1], path[1:], strict=True) if a != b)
        return cost[np.arange(6), path].sum() + moves

    paths = np.stack(np.meshgrid(*[range(3)] * 6, indexing="ij"), -1).reshape(-1, 6)
    assert price(viterbi(cost, leave)) == pytest.approx(min(map(price, paths)))


def test_planted_actions_are_found_and_tile_the_videos(tmp_path):
    snippets, _ = make_mixed(length=20)
    videos = make_videos(snippets)
    found = segment(snippets, videos, 3, 0, window=1.0)
    for v, length in zip(snippets.video_ids, snippets.lengths, strict=True):
        own = found["video_id"] == v
        start, end = found["t_start"][own], found["t_end"][own]
        assert start[0] == 0
        assert end[-1] == pytest.approx(((length - 1) * 8 + 16) / 25)
        assert start[1:].tolist() == pytest.approx(end[:-1].tolist())
    assert len(found["cluster"]) == 18  # 6 videos of two actions, 2 of three
    again = segment(snippets, videos, 3, 0, window=1.0)
    assert all(np.array_equal(found[name], again[name]) for name in found)
    tables.write(tmp_path / "segments.parquet", "segments", found)
    tables.write(tmp_path / "videos.parquet", "videos", videos)
    given = ["--detections", tmp_path / "segments.parquet", "--videos", tmp_path / "videos.parquet"]
    call("export", *given, "--form", "csv", "--out", tmp_path / "segments.csv")
    assert len((tmp_path / "segments.csv").read_text().splitlines()) == 19


def test_snippets_that_nothing_can_be_learnt_from_are_refused():
    """They ended in a traceback of NumPy's, or in borders made of NaN."""
    snippets, _ = make_mixed(length=20)
    still = Snippets(snippets.video_ids, np.ones_like(snippets.features), snippets.offsets)
    with pytest.raises(InputError, match="have the same features"):
        segment(still, make_videos(snippets), 3, 0, window=1.0)
    few = Snippets(["a"], snippets.features[:2], np.array([0, 2]))
    with pytest.raises(InputError, match="2 snippets of training videos for 3 clusters"):
        segment(few, make_videos(few), 3, 0, window=1.0)


def test_who_is_seen_does_not_matter():
    """A person's own posture is in all snippets of a video, and no action."""
    snippets, _ = make_mixed()
    videos = make_videos(snippets)
    own = np.random.default_rng(1).normal(scale=9, size=(len(snippets.video_ids), 6))
    moved = snippets.features + np.repeat(own, snippets.lengths, axis=0).astype(np.float32)
    other = Snippets(snippets.video_ids, moved, snippets.offsets)
    found, again = (segment(some, videos, 3, 0, window=1.0) for some in (snippets, other))
    assert again["t_start"].tolist() == found["t_start"].tolist()
    assert again["cluster"].tolist() == found["cluster"].tolist()


@pytest.mark.parametrize("window", [1, 8])
def test_snippets_that_share_a_window_count_as_one_observation(window):
    """Counted as independent, they would cut a video wherever it wavers."""
    noise = np.random.default_rng(0).normal(size=(20_000, 4))
    rest = uniform_filter1d(noise, window, axis=0)
    begins = np.arange(len(rest)) % 200 == 0
    assert _dependence(rest, begins) == pytest.approx(window, rel=0.15)


def test_other_videos_say_when_a_cluster_comes():
    """Three videos sit, then run; the fourth has it the other way round, and is told so by the others alone."""
    labels = np.repeat([0, 1, 0, 1, 0, 1, 1, 0], 40)
    offsets = np.arange(0, 321, 80)
    unusual = _when(labels, offsets, np.ones(4, bool), 2)
    assert (unusual[240:260, 1] > unusual[240:260, 0] + 0.5).all()
    without = _when(np.concatenate([labels[:240], 1 - labels[240:]]), offsets, np.ones(4, bool), 2)
    assert unusual[240:] == pytest.approx(without[240:])
    assert _when(labels[:80], offsets[:2], np.ones(1, bool), 2) == pytest.approx(0)
