"""Parts against brute force, and videos of two planted actions through the commands: each part finds its cluster."""

import tracemalloc
from itertools import combinations, product

import numpy as np
import pytest

from feel_steps import pool
from feel_steps.attend import attend_in_blocks, attend_parts
from feel_steps.description import Description
from feel_steps.errors import InputError
from feel_steps.evaluation.evaluate import NO_CLASS, label_parts
from feel_steps.explore.mixed import count_mixed
from feel_steps.localizers import weights
from feel_steps.parts import _chain, _cut, count, cut, smooth, split, to_table
from feel_steps.pool import scale
from feel_steps.tables import snippets as stored
from feel_steps.tables import tables
from feel_steps.tables.parts import gather_embeddings, join, name_parts, relabel
from feel_steps.tables.snippets import Snippets, load_snippets
from tests.small_run import call
from tests.tiny import make_videos

ORDER = [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2), (0, 1, 2), (2, 1, 0)]  # actions of each video, in turn


def make_mixed(order=ORDER, length=12, seed=0):
    """Videos of several actions; a snippet is 0.32 s, an action 3.84 s. Returns snippets and the class of each."""
    rng = np.random.default_rng(seed)
    labels = [np.repeat(actions, length) for actions in order]
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in labels])])
    features = rng.normal(scale=0.2, size=(offsets[-1], 6)).astype(np.float32)
    features[np.arange(offsets[-1]), np.concatenate(labels)] += 3
    return Snippets([f"v{i}" for i in range(len(order))], features, offsets), np.concatenate(labels)


def learn_and_cut(snippets, seconds, family="network", **lengths):
    """Cut videos by what is learnt from themselves."""
    description = Description.fit(snippets, count(lengths["shortest"], seconds), family)
    return cut(snippets, seconds, description, **lengths)


def cost(z, ends, beta):
    return sum(((z[a:b] - z[a:b].mean(0)) ** 2).sum() + beta for a, b in zip([0, *ends[:-1]], ends, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_no_other_borders_cost_less(seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(11, 2)) + np.repeat(rng.normal(scale=2, size=(3, 2)), [4, 2, 5], axis=0)
    least, most, beta = 2, 5, 1.0
    allowed = [
        [*some, 11]
        for n in range(5)
        for some in combinations(range(1, 11), n)
        if all(least <= b - a <= most for a, b in zip([0, *some], [*some, 11], strict=True))
    ]
    best = min(allowed, key=lambda ends: cost(z, ends, beta))
    assert _cut(z, least, most, beta).tolist() == best


def test_borders_are_where_the_action_changes():
    snippets, labels = make_mixed()
    borders = learn_and_cut(snippets, np.full(8, 0.32), shortest=1, longest=8)
    changes = np.flatnonzero(np.diff(np.repeat(np.arange(8), snippets.lengths) * 10 + labels)) + 1
    assert borders.tolist() == [0, *changes, len(labels)]


def test_a_video_too_short_to_cut_stays_whole():
    snippets, _ = make_mixed([(0,), (1, 2)], length=3)
    assert learn_and_cut(snippets, np.full(2, 0.32), shortest=1, longest=2).tolist() == [0, 3, 6, 9]
    assert learn_and_cut(snippets, np.full(2, 0.32), shortest=60, longest=120).tolist() == [0, 3, 9]


def test_lengths_that_no_parts_add_up_to_are_refused():
    with pytest.raises(InputError, match="raise it"):
        learn_and_cut(make_mixed()[0], np.full(8, 0.32), shortest=2, longest=3)


def test_neighbours_speak_for_each_other_as_every_path_says():
    """In chains of different lengths, whose parts t are stepped through together."""
    lengths = (2, 4, 1, 3)
    first = np.cumsum((0, *lengths[:-1]))
    b = np.random.default_rng(0).random((sum(lengths), 3))
    stay, move = 0.7, 0.15
    after, same = _chain(b, first, stay)
    pairs = iter(same)
    for start, length in zip(first, lengths, strict=True):
        paths = np.array(list(product(range(3), repeat=length)))
        stays = (np.where(paths[:, 1:] == paths[:, :-1], stay, move)).prod(1)
        weights = b[np.arange(start, start + length), paths].prod(1) * stays
        weights /= weights.sum()
        for t, k in product(range(length), range(3)):
            assert after[start + t, k] == pytest.approx(weights[paths[:, t] == k].sum())
        for t in range(1, length):
            assert next(pairs) == pytest.approx(weights[paths[:, t] == paths[:, t - 1]].sum())
    assert next(pairs, None) is None


def test_a_doubtful_part_of_a_long_action_follows_its_neighbours():
    long = np.tile([0.9, 0.1], (20, 1))
    long[10] = [0.45, 0.55]
    assert smooth(long, np.zeros(20, int)).argmax(1).tolist() == [0] * 20
    turns = np.tile([[0.9, 0.1], [0.1, 0.9]], (10, 1))
    assert smooth(turns, np.zeros(20, int)).argmax(1).tolist() == [0, 1] * 10
    assert smooth(np.ones((2, 1)), np.zeros(2, int)).tolist() == [[1], [1]]


def make_parts():
    snippets, _ = make_mixed([(0, 1), (2,)])
    return snippets, to_table(snippets, np.array([0, 12, 24, 36]), make_videos(snippets))


def test_parts_stand_in_for_videos():
    snippets, parts = make_parts()
    rows, own = split(snippets, parts)
    assert rows.video_ids == ["v0#0", "v0#1", "v1#0"]
    assert rows.offsets.tolist() == [0, 12, 24, 36]
    assert own["t_start"].tolist() == pytest.approx([0, 3.84, 0])
    assert own["t_end"].tolist() == pytest.approx([3.84, 8.0, 4.16])  # the last window is twice as long as a stride
    alone = Snippets(["v1"], snippets.features[24:], np.array([0, 12]))
    assert split(alone, parts)[0].video_ids == ["v1#0"]
    parts["n_snippets"][0] -= 1
    with pytest.raises(InputError, match="do not add up"):
        split(snippets, parts)


def test_attention_of_a_video_is_that_of_its_parts():
    snippets, parts = make_parts()
    video_ids = np.repeat(np.array(["v1", "v0"], object), [12, 24])  # another order
    attention = {"video_id": video_ids, "snippet": np.r_[:12, :24], "actionness": np.arange(36.0)}
    own = relabel(attention, parts)
    assert own["video_id"].tolist() == ["v0#0"] * 12 + ["v0#1"] * 12 + ["v1#0"] * 12
    assert own["snippet"].tolist() == [*range(12)] * 3
    assert own["actionness"].tolist() == [*range(12, 36), *range(12)]


def test_a_video_shows_what_one_of_its_parts_shows():
    _, parts = make_parts()
    embeddings = {
        "video_id": name_parts(parts),
        "feature": np.array([[0.0], [2.0], [5.0]], np.float32),
        "score": np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], np.float32),
    }
    found = gather_embeddings(embeddings, parts)
    assert found["video_id"].tolist() == ["v0", "v1"]
    assert found["score"].ravel().tolist() == pytest.approx([0.9, 0.8, 0.5, 0.5])
    assert found["feature"].tolist() == [[1.0], [5.0]]


def test_a_video_has_the_set_of_its_selected_parts_clusters():
    _, parts = make_parts()
    refined = {
        "video_id": name_parts(parts),
        "cluster": np.array([0, 2, 2], np.int32),
        **{name: np.array([0.1, 0.2, 0.3]) for name in ("distance", "jaccard", "euclidean", "margin")},
        "second": np.array([1, 1, 1], np.int32),
    }
    selected = {name: refined[name][[0, 1, 2]] for name in ("video_id", "cluster", "distance")}
    joined, labels = join(refined, selected, parts)
    assert joined["video_id"].tolist() == ["v0", "v1"]
    assert joined["cluster"].tolist() == [2, 2]  # the second part of v0 is the longer one
    assert joined["second"].tolist() == [0, -1]
    pairs = list(zip(labels["video_id"], labels["cluster"], labels["rank"], strict=True))
    assert pairs == [("v0", 0, 0), ("v0", 2, 0), ("v1", 2, 1)]


def test_a_part_has_the_label_of_most_of_its_time():
    _, parts = make_parts()
    annotations = {
        "video_id": np.array(["v0", "v0", "v0"], object),
        "label": np.array(["run", "sit", "run"], object),
        "t_start": np.array([0.0, 3.0, 7.0]),
        "t_end": np.array([3.0, 4.0, 8.0]),
    }
    named = label_parts(annotations, parts)
    assert dict(zip(named["video_id"], named["label"], strict=True)) == {"v0#0": "run", "v0#1": NO_CLASS}


def test_time_that_was_annotated_twice_counts_once():
    """Published annotations overlap: two annotators, or two classes at a time."""
    _, parts = make_parts()
    annotations = {
        "video_id": np.array(["v0"] * 5, object),
        "label": np.array(["run", "run", "run", "sit", "sit"], object),
        "t_start": np.array([0.0, 0.5, 9.0, 0.0, 0.2]),
        "t_end": np.array([1.5, 1.0, 11.0, 1.5, 1.6]),
    }
    own = np.flatnonzero(parts["video_id"] == "v0")[0]
    assert parts["t_start"][own] == 0 and 3.2 < parts["t_end"][own] < 6  # less than half of it is annotated
    assert label_parts(annotations, parts)["label"][0] == NO_CLASS
    annotations["t_end"][3:] = 3.2
    assert label_parts(annotations, parts)["label"][0] == "sit"


def test_the_commands_find_two_actions_in_a_video(tmp_path):
    snippets, labels = make_mixed()
    names = np.repeat(np.array(snippets.video_ids, object), snippets.lengths)
    number = np.arange(len(names)) - np.repeat(snippets.offsets[:-1], snippets.lengths)
    features = {"video_id": names, "snippet": number, "feature": snippets.features}
    tables.write(tmp_path / "part-0000.parquet", "features", features, {"view_family": "network"})
    videos = make_videos(snippets)
    tables.write(tmp_path / "videos.parquet", "videos", videos)
    file = {name: tmp_path / f"{name}.parquet" for name in ("parts", "pooled", "clusters", "centres", "refined")}
    inputs = ["--videos", tmp_path / "videos.parquet", "--features", tmp_path]
    rows = ["--parts", file["parts"]]
    call("cut", *inputs, "--shortest", 1, "--longest", 8, "--out", file["parts"])
    call("pool", *inputs, *rows, "--views", "auto", "--out", file["pooled"])
    out = ["--out-clusters", file["clusters"], "--out-centres", file["centres"]]
    call("cluster", "--pooled", file["pooled"], "--clusters", 3, "--seed", 0, "--method", "consensus", *rows, *out)
    made = ["--pooled", file["pooled"], "--clusters", file["clusters"], "--centres", file["centres"]]
    call("refine", *made, "--method", "none", "--out", file["refined"])
    found = tables.read(file["refined"], "refined")
    parts = tables.read(file["parts"], "parts")
    _, own = split(snippets, parts)
    first = snippets.offsets[[int(v[1:]) for v in own["video_id"]]] + own["first"]
    pairs = set(zip(labels[first].tolist(), found["cluster"].tolist(), strict=True))
    assert len(pairs) == 3  # each class has a cluster of its own
    selected, last = tmp_path / "selected.parquet", tmp_path / "iter"
    call("select", "--refined", file["refined"], "--rate", 1, "--out", selected)
    call(
        "join", *rows, "--refined", file["refined"], "--selected", selected,
        "--out", last / "refined.parquet", "--out-selected", last / "selected.parquet",
    )  # fmt: skip
    sets = tables.read(last / "selected.parquet", "selected")
    assert len(sets["video_id"]) == sum(map(len, ORDER))
    model = tmp_path / "model.safetensors"
    call(
        "train", *inputs, *rows, "--selected", selected, "--clusters", 3, "--settings", '{"hidden": 16}', "--steps", 60,
        "--length", 12, "--learning-rate", 0.01, "--device", "cpu", "--threads", 1, "--out", model,
        "--out-training", tmp_path / "training.parquet",
    )  # fmt: skip
    call(
        "attend", *inputs, *rows, "--model", model, "--device", "cpu", "--threads", 1,
        "--out", last / "attention.parquet", "--out-embeddings", last / "embeddings.parquet",
        "--out-part-embeddings", last / "of_parts.parquet",
    )  # fmt: skip
    scores = tables.read(last / "embeddings.parquet", "embeddings")["score"]
    cluster_of = dict(pairs)
    expected = np.zeros((8, 3), bool)
    for video, actions in enumerate(ORDER):
        expected[video, [cluster_of[k] for k in actions]] = True
    assert ((scores > 0.5) == expected).all()
    again = tmp_path / "second.parquet"
    call("pool", *inputs, *rows, "--views", "actionness,embedding", "--attention", last / "attention.parquet",
         "--embeddings", last / "of_parts.parquet", "--out", again)  # fmt: skip
    assert len(tables.read(again, "pooled")["video_id"]) == len(own["part"])
    sure = tmp_path / "confidence.parquet"
    call("rate", "--pooled", again, "--refined", file["refined"], "--clusters", 3, *rows, "--out", sure)
    assert len(tables.read(sure, "confidence")["video_id"]) == sum(map(len, ORDER))


def make_moving(order, length=48, seed=0):
    """Videos of repeated movements, of the same posture: movement k turns in the plane of features 2 k and 2 k + 1."""
    rng = np.random.default_rng(seed)
    pieces = []
    for actions in order:
        for action in actions:
            turn = 2 * np.pi * np.arange(length) / 8 + rng.uniform(0, 6)
            piece = rng.normal(scale=0.1, size=(length, 6))
            piece[:, 2 * action], piece[:, 2 * action + 1] = np.cos(turn), np.sin(turn)
            pieces.append(piece)
    offsets = np.concatenate([[0], np.cumsum([length * len(actions) for actions in order])])
    return Snippets([f"v{i}" for i in range(len(order))], np.concatenate(pieces).astype(np.float32), offsets)


def test_a_repeated_movement_stays_in_one_part():
    """Its postures change all the time; what changes with the action is the movement."""
    snippets = make_moving([(0, 1), (1, 2), (2, 0), (1,), (2,), (0,)])
    seconds = np.full(6, 0.25)  # a turn takes 2 s
    borders = learn_and_cut(snippets, seconds, shortest=2, longest=60, family="motion")
    ends = np.sort(np.concatenate([snippets.offsets, snippets.offsets[:3] + 48]))
    assert len(borders) == len(ends)
    assert np.abs(borders - ends).max() <= 4
    assert len(learn_and_cut(snippets, seconds, shortest=2, longest=60, penalty=0.05)) > len(ends)


@pytest.mark.parametrize("family", ["motion", "network"])
def test_new_videos_are_cut_with_what_was_learnt(family):
    """A video of the run that comes again, alone, has the borders that it had among the others."""
    snippets, seconds = make_moving([(0, 1), (2,), (1, 2), (2, 0, 1)]), np.full(4, 0.25)
    description = Description.fit(snippets, count(2, seconds), family)
    borders = cut(snippets, seconds, description, shortest=2, longest=60)
    for i, (start, stop) in enumerate(zip(snippets.offsets[:-1], snippets.offsets[1:], strict=True)):
        alone = Snippets(["new"], snippets.video(i).copy(), np.array([0, stop - start]))
        again = cut(alone, seconds[:1], description, shortest=2, longest=60)
        assert again.tolist() == [border - start for border in borders if start <= border <= stop]


def test_a_description_has_the_moments_of_a_window():
    """Its columns are those of a slow loop over the snippets, standardized and projected."""
    snippets, size = make_moving([(0, 1), (2,)]), 7
    description = Description.fit(snippets, np.full(2, size), "motion", within=True)
    postures, movements = [], []
    for i in range(2):
        z = (snippets.video(i) - snippets.video(i).mean(0)) @ description.axes - description.origin
        z = np.concatenate([np.repeat(z[:1], size, 0), z, np.repeat(z[-1:], size, 0)])
        for t in range(size, len(z) - size):
            window = z[t - size // 2 : t + size // 2 + 1]
            postures.append(window.mean(0))
            values, vectors = np.linalg.eigh(np.cov(window.T, bias=True))
            root = vectors @ np.diag(np.sqrt(values.clip(0))) @ vectors.T
            movements.append(root[np.triu_indices(6)])
    views = [np.array(view) for view in (postures, movements)]
    x = np.concatenate([scale((view - view.mean(0)) / view.std(0)) for view in views], 1)
    found = np.concatenate([description.apply(features, size) for features in snippets.each_video()])
    assert np.allclose(found @ found.T, (x - x.mean(0)) @ (x - x.mean(0)).T, atol=1e-3)
    assert description.variance == pytest.approx(x.var(0).sum(), rel=1e-4)


def test_memory_does_not_grow_with_the_videos(tmp_path, monkeypatch):
    """Described all at once, a data set of 10,000 videos would take 4 GB."""
    monkeypatch.setattr(pool, "FITTED", 100)
    monkeypatch.setattr(stored, "BLOCK", 1)
    peaks = []
    for n in (10, 40):
        snippets, folder = make_moving([(0, 1)] * n), tmp_path / str(n)
        monkeypatch.setattr(stored, "HELD", snippets.video(0).nbytes)
        with tables.write_features(folder / "part-0000.parquet") as writer:
            for i, video_id in enumerate(snippets.video_ids):
                writer.add(video_id, snippets.video(i))
        opened = load_snippets(make_videos(snippets), folder)
        assert not isinstance(opened.features, np.ndarray)
        tracemalloc.start()
        borders = learn_and_cut(opened, np.full(n, 0.25), "motion", shortest=2, longest=60)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert np.array_equal(borders, learn_and_cut(snippets, np.full(n, 0.25), "motion", shortest=2, longest=60))
    assert peaks[1] < 1.3 * peaks[0]


def test_videos_are_looked_at_part_by_part_without_the_maps_of_all(tmp_path, monkeypatch):
    """Memory must not grow with the number of videos where parts are cut, either."""
    snippets, parts = make_parts()
    videos, model = make_videos(snippets), weights.build("cola", 6, 3, hidden=8)
    expected = attend_parts(model, snippets, videos, parts, device="cpu", threads=1)
    with tables.write_features(tmp_path / "part-0000.parquet") as writer:
        for i, video_id in enumerate(snippets.video_ids):
            writer.add(video_id, snippets.video(i))
    monkeypatch.setattr(stored, "HELD", snippets.video(0).nbytes)
    monkeypatch.setattr(stored, "BLOCK", 1)
    opened = load_snippets(videos, tmp_path)
    pieces = list(attend_in_blocks(model, opened, videos, parts, device="cpu", threads=1))
    assert [[len(table["video_id"]) for table in piece] for piece in pieces] == [[24, 1, 2], [12, 1, 1]]
    for table, found in zip(expected, zip(*pieces, strict=True), strict=True):
        for name, column in tables.join(found).items():
            if column.dtype == object:
                assert column.tolist() == table[name].tolist()
            else:
                assert np.allclose(column, table[name], atol=1e-6)


def test_videos_of_several_actions_are_counted():
    """Half of the videos show two movements; the clusters know one each."""
    order = [(0, 1), (1, 2), (2, 0), (1, 0), (0, 0), (1, 1), (2, 2), (2, 2)]
    snippets, seconds = make_moving(order), np.full(8, 0.25)
    borders = learn_and_cut(snippets, seconds, shortest=2, longest=60, family="motion")
    assert count_mixed(snippets, borders, np.array([0, 1, 2, 1, 0, 1, 2, 2])) == 0.5
