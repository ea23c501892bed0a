"""What breaks if this fails: a paper claims a gain that is not there, or misses one that is."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feel_steps.errors import InputError
from feel_steps.evaluation.compare import compare, difference, last_iterations, sentences, weighted_map
from feel_steps.evaluation.detection_map import mean_average_precision
from feel_steps.tables import tables
from tests.synthetic_run import Shape, build

TIOU = [0.3, 0.7]


def made_up(rng, videos=12, noise=3.0, wrong=0.2):
    """Segments of two classes in each video, and predictions around them."""
    names = np.array([f"v{i}" for i in range(videos)], object)
    truth = {
        "video_id": np.repeat(names, 3),
        "label": rng.choice(np.array(["run", "jump", "swim"], object), 3 * videos),
        "t_start": np.tile([0.0, 40.0, 80.0], videos),
    }
    truth["t_end"] = truth["t_start"] + 10
    return truth, predicted(rng, truth, noise, wrong)


def predicted(rng, truth, noise, wrong):
    found = {name: np.repeat(column, 3) for name, column in truth.items()}
    shift = noise * rng.standard_normal(len(found["t_start"]))
    found["t_start"] = found["t_start"] + shift
    found["t_end"] = found["t_end"] + shift
    lost = rng.random(len(shift)) < wrong
    found["label"] = np.where(lost, "run", found["label"])
    found["score"] = (rng.random(len(shift)) - 0.1 * np.abs(shift)).round(1)  # with ties
    return found


def replicated(table, weights):
    """The table of a data set that holds each video as often as its weight says; copies stand together."""
    index = {f"v{i}": i for i in range(len(weights))}
    times = weights[[index[v] for v in table["video_id"]]]
    copies = {name: np.repeat(column, times) for name, column in table.items()}
    number = np.concatenate([np.arange(n) for n in times]) if len(times) else times
    copies["video_id"] = np.array([f"{v}#{n}" for v, n in zip(copies["video_id"], number, strict=True)], object)
    return copies


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_weighting_videos_equals_matching_a_data_set_that_repeats_them(seed, drawn):
    """Else the interval is that of something other than mAP: classes may vanish, scores tie."""
    weights = np.array(drawn)
    if not weights.any():
        weights[0] = 1
    truth, found = made_up(np.random.default_rng(seed), videos=6)
    videos = np.unique(truth["video_id"])
    place = [pd.Index(videos).get_indexer(pd.Index(t["video_id"])) for t in (found, truth)]
    result = mean_average_precision(found, truth, TIOU)
    fast = weighted_map(result, *place, truth, np.stack([weights, np.ones_like(weights)]))
    slow = mean_average_precision(replicated(found, weights), replicated(truth, weights), TIOU)
    np.testing.assert_allclose(fast, [slow.map, result.map], atol=1e-12)


def test_a_variant_against_itself_differs_by_nothing():
    truth, found = made_up(np.random.default_rng(0))
    table = difference([found], [found], truth, tiou=TIOU, samples=50)
    assert (table[["difference", "sd", "low", "high"]] == 0).all(axis=None)
    assert table["metric"].tolist() == ["mAP", "mAP@0.3", "mAP@0.7"]
    assert table["a"][0] == pytest.approx(mean_average_precision(found, truth, TIOU).average)
    assert table["a_sd"].isna().all()


def test_means_and_deviations_are_over_seeds():
    rng = np.random.default_rng(1)
    truth, first = made_up(rng)
    tables = [first, predicted(rng, truth, 3.0, 0.2), predicted(rng, truth, 3.0, 0.2)]
    averages = [mean_average_precision(found, truth, TIOU).average for found in tables]
    table = difference(tables, tables[:2], truth, tiou=TIOU, samples=20)
    assert table["a"][0] == pytest.approx(np.mean(averages))
    assert table["a_sd"][0] == pytest.approx(np.std(averages, ddof=1))
    assert table["difference"][0] == pytest.approx(np.mean(averages) - np.mean(averages[:2]))


def test_a_clear_gain_has_an_interval_above_zero_and_a_seed_gives_the_same_interval():
    rng = np.random.default_rng(2)
    truth, good = made_up(rng, videos=40, noise=0.5, wrong=0.0)
    bad = predicted(rng, truth, 6.0, 0.5)
    table = difference([good], [bad], truth, tiou=TIOU, samples=200, seed=5)
    assert (table["low"] > 0).all() and (table["low"] < table["difference"]).all()
    assert (table["difference"] < table["high"]).all()
    pd.testing.assert_frame_equal(table, difference([good], [bad], truth, tiou=TIOU, samples=200, seed=5))
    assert not table.equals(difference([good], [bad], truth, tiou=TIOU, samples=200, seed=6))


def test_pairing_narrows_the_interval():
    """Drawing the same videos for both variants takes the difference between videos out of the difference."""
    rng = np.random.default_rng(3)
    truth, found = made_up(rng, videos=40)
    hard = np.isin(found["video_id"], [f"v{i}" for i in range(20)])
    found["t_start"] = found["t_start"] + 30.0 * hard  # half of the videos are lost on both variants
    found["t_end"] = found["t_end"] + 30.0 * hard
    other = {**found, "score": found["score"] + 0.05 * rng.standard_normal(len(hard))}
    paired = difference([found], [other], truth, tiou=TIOU, samples=200)
    alone = difference([found], [{name: c[:0] for name, c in found.items()}], truth, tiou=TIOU, samples=200)
    assert paired["sd"][0] < 0.5 * alone["sd"][0]


def test_one_video_and_no_predictions_are_measured():
    truth, found = made_up(np.random.default_rng(4), videos=1)
    nothing = {name: column[:0] for name, column in found.items()}
    table = difference([found], [nothing], truth, tiou=TIOU, samples=5)
    assert table["b"][0] == 0 and table["sd"][0] == 0 and np.isfinite(table["difference"]).all()


def test_predictions_in_videos_without_ground_truth_are_refused():
    truth, found = made_up(np.random.default_rng(5))
    found["video_id"] = np.where(np.arange(len(found["score"])) == 4, "nowhere", found["video_id"])
    with pytest.raises(InputError, match="row 4: its video has no ground truth"):
        difference([found], [found], truth, samples=2)


def detect(run, place, share):
    """Let an iteration find the first part of each true segment, and nothing else, under both protocols."""
    annotations = tables.read(run / "annotations.parquet", "annotations")
    labels, cluster = np.unique(annotations["label"].astype(str), return_inverse=True)
    found = {name: annotations[name] for name in ("video_id", "t_start")} | {"cluster": cluster}
    found["t_end"] = annotations["t_start"] + share * (annotations["t_end"] - annotations["t_start"])
    tables.write(run / place / "detections.parquet", "detections", found | {"score": np.ones(len(cluster))})
    mapping = {"cluster": np.tile(np.arange(len(labels)), 2), "label": np.tile(labels, 2)}
    mapping |= {"protocol": np.repeat(["published", "hungarian"], len(labels)), "weight": np.ones(2 * len(labels))}
    tables.write(run / place / "mapping.parquet", "mapping", mapping)


def test_a_run_folder_is_compared_under_both_protocols(tmp_path):
    """By hand: who finds all has mAP 1; who finds half of each segment (an IoU of 0.5) has 1 at 0.3 and 0 at 0.7."""
    shape = Shape(train=10, test=5, clusters=3, iterations=2, media=0, variants=("feel", "no-cci"), seeds=(0, 1))
    run = build(tmp_path, shape)
    for place, share in [("feel/seed-0", 1), ("feel/seed-1", 1), ("no-cci/seed-0", 1), ("no-cci/seed-1", 0.5)]:
        detect(run, f"{place}/iter-2", share)
    table = compare(run, "feel", "no-cci", tiou=TIOU, samples=30)
    assert table["metric"].tolist() == [
        "mAP", "mAP@0.3", "mAP@0.7", "mAP_hungarian", "mAP_hungarian@0.3", "mAP_hungarian@0.7"
    ]  # fmt: skip
    for name, values in {
        "a": [1, 1, 1], "a_sd": [0, 0, 0], "b": [0.75, 1, 0.5], "b_sd": [0.125**0.5, 0, 0.5**0.5],
        "difference": [0.25, 0, 0.5], "sd": [0, 0, 0], "low": [0.25, 0, 0.5], "high": [0.25, 0, 0.5],
    }.items():  # fmt: skip
        np.testing.assert_allclose(table[name], values * 2, atol=1e-12, err_msg=name)
    text = sentences(table, "feel", "no-cci")
    assert len(text.splitlines()) == 6 and "feel adds" in text and "95 % interval" in text
    with pytest.raises(InputError, match="no evaluated iteration of variant 'no-iis'; there are: feel, no-cci"):
        compare(run, "feel", "no-iis")
    with pytest.raises(InputError, match="samples: 1 draws"):
        compare(run, "feel", "no-cci", samples=1)


def test_the_thresholds_are_those_of_the_run(tmp_path):
    """Else "mAP" of a comparison is another number than mAP in the report."""
    run = build(tmp_path, Shape(train=10, test=5, clusters=3, iterations=1, media=0, variants=("a", "b")))
    found = compare(run, "a", "b", samples=5)["metric"].tolist()
    assert found[:5] == ["mAP", "mAP@0.1", "mAP@0.3", "mAP@0.5", "mAP@0.7"]


def test_what_is_compared_is_what_the_run_ended_with(tmp_path):
    """Iterations that a lowered config left behind, or that only some seeds have, are no result."""
    shape = Shape(train=10, test=5, clusters=3, iterations=2, media=0, variants=("a", "b"), seeds=(0, 1))
    run = build(tmp_path, shape)
    metrics = tables.read(run / "metrics.parquet", "metrics")

    def keep(rows):
        tables.write(run / "metrics.parquet", "metrics", {name: values[rows] for name, values in metrics.items()})

    keep(metrics["iteration"] == 1)
    assert last_iterations(run, ["a"]) == {"a": {0: 1, 1: 1}}
    keep(metrics["variant"] == "b")  # a is of a study then: its files tell
    assert last_iterations(run, ["a"]) == {"a": {0: 2, 1: 2}}
    (run / "a" / "seed-1" / "iter-2" / "mapping.parquet").unlink()
    (run / "metrics.parquet").rename(run / "b/seed-0/iter-2/metrics.parquet")  # no run but that of the studies
    assert last_iterations(run, ["b"]) == {"b": {0: 2, 1: 2}}
    with pytest.raises(InputError, match=r"variant 'a' end at different iterations \(seed 0 at 2, seed 1 at 1\)"):
        compare(run, "a", "b", samples=5)


def test_a_run_without_annotations_cannot_be_compared(tmp_path):
    run = build(tmp_path, Shape(train=6, test=3, iterations=1, media=0, annotations=False, variants=("a", "b")))
    with pytest.raises(InputError, match=r"annotations.parquet: no annotated video|no evaluated iteration"):
        compare(run, "a", "b", samples=5)
