"""What breaks if this fails: an mAP that is not the ActivityNet kit's."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feel_steps.errors import InputError
from feel_steps.evaluation import detection_map
from feel_steps.evaluation.activitynet import map_files
from feel_steps.evaluation.detection_map import mean_average_precision
from tests.paths import SHARED


def table(rows, scored=True):
    """Rows (video, label, start, end[, score]) as columns."""
    names = ["video_id", "label", "t_start", "t_end", "score"][: 5 if scored else 4]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    kinds = [object, object, float, float, float]
    return {name: np.array(column, kind) for name, column, kind in zip(names, columns, kinds, strict=False)}


def slow_map(predictions, truth, tiou):
    """Read the kit's definition one prediction at a time; [C, H]."""
    labels = sorted(set(truth["label"]))
    ap = np.zeros((len(labels), len(tiou)))
    for c, label in enumerate(labels):
        rows = [i for i in range(len(predictions["label"])) if predictions["label"][i] == label]
        rows.sort(key=lambda i: -predictions["score"][i])
        segments = [g for g in range(len(truth["label"])) if truth["label"][g] == label]
        for h, threshold in enumerate(tiou):
            locked, hits = set(), []
            for i in rows:
                overlaps = []
                for g in segments:
                    if truth["video_id"][g] != predictions["video_id"][i]:
                        continue
                    s, e = predictions["t_start"][i], predictions["t_end"][i]
                    a, b = truth["t_start"][g], truth["t_end"][g]
                    inner = max(0.0, min(e, b) - max(s, a))
                    union = (e - s) + (b - a) - inner
                    overlaps.append((-(inner / union if union > 0 else 0.0), g))
                free = [g for overlap, g in sorted(overlaps) if -overlap >= threshold and g not in locked]
                locked.update(free[:1])
                hits.append(bool(free))
            precision = [0.0, *(sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))), 0.0]
            recall = [0.0, *(sum(hits[: i + 1]) / len(segments) for i in range(len(hits))), 1.0]
            for i in reversed(range(len(precision) - 1)):
                precision[i] = max(precision[i], precision[i + 1])
            ap[c, h] = sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))
    return ap


@pytest.mark.parametrize("name", ["thumos", "train"])
def test_golden_map_agrees_with_the_kit(name):
    files = SHARED / "goldens" / f"dev_map_{name}_pred.json", SHARED / "data" / "thumos14" / "gt.json"
    if not all(path.exists() for path in files):
        pytest.skip("../shared is absent")
    golden = json.loads((SHARED / "goldens" / f"dev_map_{name}_map.json").read_text())
    result = map_files(*files, subset=golden["subset"], tiou=golden["tiou"])
    np.testing.assert_allclose(result["mAP"], golden["mAP"], atol=1e-9)
    assert result["average"] == pytest.approx(golden["average"], abs=1e-9)
    np.testing.assert_allclose(np.mean(list(result["per_class"].values()), axis=0), golden["mAP"], atol=1e-9)


SEGMENT = st.tuples(st.sampled_from("uvw"), st.sampled_from("ab"), st.integers(0, 12), st.integers(0, 6))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(SEGMENT, st.integers(0, 5)), max_size=25),
    st.lists(SEGMENT, min_size=1, max_size=10),
    st.sampled_from([1, 3, 1 << 21]),
)
def test_matching_agrees_with_a_loop_over_predictions(predictions, truth, pairs_at_once):
    """Ties of score and of overlap, duplicates, segments of no length, videos and classes without ground truth."""
    found = table([(v, c, s, s + n, score) for (v, c, s, n), score in predictions])
    real = table([(v, c, s, s + n) for v, c, s, n in truth], scored=False)
    tiou = [0.1, 0.5, 1.0]
    before = detection_map.PAIRS_AT_ONCE
    detection_map.PAIRS_AT_ONCE = pairs_at_once
    try:
        result = mean_average_precision(found, real, tiou)
    finally:
        detection_map.PAIRS_AT_ONCE = before
    np.testing.assert_allclose(result.ap, slow_map(found, real, tiou), atol=1e-12)
    taken = result.matched[0][result.matched[0] >= 0]
    assert len(set(taken)) == len(taken)  # no segment twice


def test_a_displaced_prediction_takes_its_next_choice():
    """The better prediction of a segment may come later in the file."""
    real = table([("v", "a", 0, 10), ("v", "a", 4, 16)], scored=False)
    found = table([("v", "a", 1, 11, 0.5), ("v", "a", 0, 10, 0.9)])
    result = mean_average_precision(found, real, [0.3])
    assert result.matched.tolist() == [[1, 0]]
    assert result.average == 1.0


def test_equal_scores_keep_the_order_of_the_rows():
    real = table([("v", "a", 0, 10)], scored=False)
    found = table([("v", "a", 50, 60, 0.5), ("v", "a", 0, 10, 0.5)])
    assert mean_average_precision(found, real, [0.5]).average == 0.5
    swapped = {name: column[::-1] for name, column in found.items()}
    assert mean_average_precision(swapped, real, [0.5]).average == 1.0


def test_duplicate_ground_truth_counts_as_two_instances():
    real = table([("v", "a", 0, 10), ("v", "a", 0, 10)], scored=False)
    one = table([("v", "a", 0, 10, 0.5)])
    assert mean_average_precision(one, real, [0.5]).average == 0.5
    two = table([("v", "a", 0, 10, 0.5)] * 2)
    assert mean_average_precision(two, real, [0.5]).average == 1.0


def test_no_predictions_give_zero():
    result = mean_average_precision(table([]), table([("v", "a", 0, 1)], scored=False))
    assert result.map.tolist() == [0.0] * 7 and result.average == 0.0 and result.labels == ["a"]


def test_classes_without_ground_truth_are_ignored_and_counted():
    real = table([("v", "a", 0, 10)], scored=False)
    found = table([("v", "a", 0, 10, 0.1), ("v", "b", 0, 10, 0.9)])
    result = mean_average_precision(found, real, [0.5])
    assert (result.average, result.ignored, result.labels) == (1.0, 1, ["a"])


def test_a_segment_annotated_twice_counts_twice():
    """As in the kit, each row is an instance: one prediction finds half of them, the second finds the other half."""
    real = table([("v", "a", 0, 10), ("v", "a", 0, 10)], scored=False)
    once, twice = ([("v", "a", 0, 10, 0.9 - 0.1 * i) for i in range(n)] for n in (1, 2))
    assert mean_average_precision(table(once), real, [0.5]).average == 0.5
    result = mean_average_precision(table(twice), real, [0.5])
    assert result.average == 1.0 and result.matched.tolist() == [[0, 1]]


def test_predictions_in_unknown_videos_are_false_positives():
    real = table([("v", "a", 0, 10)], scored=False)
    found = table([("nowhere", "a", 0, 10, 0.9), ("v", "a", 0, 10, 0.1)])
    assert mean_average_precision(found, real, [0.5]).average == 0.5


@pytest.mark.parametrize("tiou", [[], [0.0], [0.5, 1.1], [-0.1], [float("nan")]])
def test_thresholds_outside_0_1_are_refused(tiou):
    with pytest.raises(InputError, match="tiou"):
        mean_average_precision(table([]), table([("v", "a", 0, 1)], scored=False), tiou)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("v", "a", 0, 1, np.nan), "row 1: score is not a finite number"),
        (("v", "a", np.inf, 1, 0.5), "row 1: t_start is not a finite number"),
        (("v", "a", 3, 1, 0.5), "row 1: the segment ends before it starts"),
    ],
)
def test_bad_rows_are_named(row, message):
    with pytest.raises(InputError, match=message):
        mean_average_precision(table([("v", "a", 0, 1, 0.5), row]), table([("v", "a", 0, 1)], scored=False))


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="column 'score' is missing"):
        mean_average_precision(table([("v", "a", 0, 1)], scored=False), table([("v", "a", 0, 1)], scored=False))
