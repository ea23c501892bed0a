"""What breaks if this fails: reported numbers are not what their names say, or an odd run fails at its last step."""

import csv

import numpy as np
import pytest

from feel_steps.dataset.annotations import read_annotations
from feel_steps.evaluation import evaluate as evaluation
from feel_steps.evaluation.evaluate import agreement, clustering_scores, evaluate, map_clusters, relabelled
from tests.paths import SHARED


def columns(**values):
    kinds = {"cluster": np.int32, "video_id": object, "label": object, "split": object}
    return {name: np.array(value, kinds.get(name, float)) for name, value in values.items()}


def annotated(*rows):
    names = ("video_id", "label", "t_start", "t_end")
    return columns(**{name: [row[i] for row in rows] for i, name in enumerate(names)})


def detected(*rows):
    names = ("video_id", "cluster", "score", "t_start", "t_end")
    return columns(**{name: [row[i] for row in rows] for i, name in enumerate(names)})


TRAIN = ["p", "q", "r", "s"]
VIDEOS = columns(video_id=[*TRAIN, "x", "y"], split=["train"] * 4 + ["test"] * 2)
LABELS = columns(video_id=TRAIN, cluster=[0, 0, 1, 1])
TRUTH = annotated(
    ("p", "run", 0, 5),
    ("q", "run", 0, 5),
    ("r", "jump", 0, 5),
    ("s", "jump", 0, 5),
    ("x", "run", 0, 10),
    ("y", "jump", 5, 9),
)
FOUND = detected(("x", 0, 0.9, 0, 10), ("y", 1, 0.8, 5, 9), ("p", 1, 0.99, 0, 5))


def values(metrics):
    return {(s, m): v for s, m, v in zip(metrics["stage"], metrics["metric"], metrics["value"], strict=True)}


def test_of_many_videos_the_silhouette_is_that_of_a_sample(monkeypatch):
    """All distances between 10⁵ videos would take longer than everything else in an iteration."""
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, 3, 400)
    feature = np.eye(3, 8)[cluster] * 4 + rng.standard_normal((400, 8))
    ids = np.array([f"v{i}" for i in range(400)], object)
    tables = {"video_id": ids, "cluster": cluster}, {"video_id": ids[::-1], "feature": feature[::-1]}
    [(_, whole)] = evaluation._silhouette(*tables)
    monkeypatch.setattr(evaluation, "SAMPLE", 150)
    [(_, sample)] = evaluation._silhouette(*tables)
    assert sample != whole and abs(sample - whole) < 0.03
    assert [(_, sample)] == evaluation._silhouette(*tables)


def test_thumos_pseudo_labels_give_the_published_nmi():
    folder = SHARED / "data" / "thumos14"
    if not folder.exists():
        pytest.skip("../shared/data/thumos14 is absent")
    by_iteration = {}
    with open(folder / "published_pseudo_labels.csv") as file:
        for row in csv.DictReader(file):
            by_iteration.setdefault(int(row["iteration"]), []).append((row["video_id"], int(row["cluster"])))
    scores = []
    for iteration in range(5):
        video_ids, clusters = zip(*by_iteration[iteration], strict=True)
        manifest = {"video_id": np.array(video_ids, object), "duration": np.full(len(video_ids), np.inf)}
        truth, _ = read_annotations(folder / "gt.json", manifest)
        scores.append(dict(agreement(np.array(video_ids, object), np.array(clusters), truth)))
    first = [0.5700, 0.6155, 0.6358, 0.6383, 0.6455]  # known as .570 .616 .636 .638 .646
    np.testing.assert_allclose([s["nmi_first"] for s in scores], first, atol=5e-5)
    np.testing.assert_allclose([s["nmi"] for s in scores], [0.5897, 0.6357, 0.6626, 0.6639, 0.6713], atol=5e-5)
    np.testing.assert_allclose([s["nmi_single"] for s in scores], [0.5687, 0.6224, 0.6362, 0.6508, 0.6599], atol=5e-5)


def test_clustering_scores_by_hand():
    scores = dict(clustering_scores(np.array([0, 0, 0, 1, 1, 1]), np.array([5, 5, 7, 7, 7, 9])))
    assert scores["purity"] == pytest.approx(5 / 6)
    assert scores["accuracy"] == pytest.approx(4 / 6)  # one-to-one: cluster 9 has no class left
    perfect = dict(clustering_scores(np.array([0, 1, 2]), np.array([2, 0, 1])))
    assert perfect == pytest.approx({"nmi": 1, "ari": 1, "purity": 1, "accuracy": 1})


def test_videos_of_several_classes_are_read_in_three_ways():
    two = ("p", "run", 0, 1), ("p", "jump", 2, 3), ("p", "run", 4, 5)
    truth = annotated(*two, ("q", "run", 0, 1), ("r", "jump", 0, 1))
    found = dict(agreement(np.array(["p", "q", "r", "unlabelled"], object), np.array([0, 0, 1, 1]), truth))
    assert found["accuracy"] == pytest.approx(2 / 3)  # {jump, run} is a class of its own
    assert found["accuracy_first"] == 1.0
    assert found["accuracy_single"] == 1.0


def test_published_mapping_weights():
    clusters = columns(video_id=list("abcdefgh"), cluster=[0] * 7 + [3])
    labels = ["run"] * 4 + ["jump"] * 2 + ["swim"] + ["jump"]
    truth = annotated(*((v, label, 0, 1) for v, label in zip("abcdefgh", labels, strict=True)))
    mapping = map_clusters(clusters, truth)
    rows = list(zip(*(mapping[name].tolist() for name in ("protocol", "cluster", "label", "weight")), strict=True))
    assert rows == [
        ("published", 0, "jump", 0.5),
        ("published", 0, "run", 1.0),
        ("published", 3, "jump", 1.0),
        ("hungarian", 0, "run", 1.0),
        ("hungarian", 3, "jump", 1.0),
    ]


def test_detections_are_copied_to_each_class_with_weighted_scores():
    mapping = {
        "protocol": np.array(["published"] * 2, object), "cluster": np.array([0, 0], np.int32),
        "label": np.array(["jump", "run"], object), "weight": np.array([0.5, 1.0]),
    }  # fmt: skip
    found = relabelled(detected(("x", 0, 0.8, 1, 2), ("x", 5, 0.9, 1, 2)), mapping, "published")
    assert found["label"].tolist() == ["jump", "run"] and found["score"].tolist() == [0.4, 0.8]


def test_test_videos_are_judged_by_both_protocols():
    metrics, mapping = evaluate(TRUTH, VIDEOS, LABELS, LABELS, LABELS, FOUND, tiou=[0.3, 0.5])
    found = values(metrics)
    for name in ("mAP", "mAP@0.3", "mAP@0.5", "mAP_hungarian", "mAP_hungarian@0.5"):
        assert found["localize", name] == 1.0, name
    assert found["localize", "videos"] == 2
    assert found["refine", "nmi"] == 1.0 and found["select", "share"] == 1.0
    assert set(mapping["label"]) == {"run", "jump"}


def test_row_groups_are_judged_as_the_whole_table_is():
    """Detections of many videos are read piece by piece; ties of score keep their order over the pieces."""
    found = detected(*(("xyp"[i % 3], i % 2, 0.5 + (i % 4) / 8, i % 5, 5 + i % 7) for i in range(40)))
    pieces = [{name: column[i : i + 6] for name, column in found.items()} for i in range(0, 40, 6)]
    (whole, _), (read, _) = (evaluate(TRUTH, VIDEOS, LABELS, LABELS, LABELS, one) for one in (found, iter(pieces)))
    assert values(whole) == values(read) and values(read)["localize", "detections"] == 40


def test_each_class_and_the_kinds_of_error_are_told():
    """People ask why a score is low: which class, and what its false positives are."""
    found = detected(("x", 0, 0.9, 0, 10), ("y", 0, 0.8, 5, 9))  # the jump of y is called a run
    metrics = values(evaluate(TRUTH, VIDEOS, LABELS, LABELS, LABELS, found, tiou=[0.5])[0])
    assert metrics["class", "run"] == 1.0 and metrics["class", "jump"] == 0.0
    assert metrics["localize", "mAP"] == 0.5
    assert metrics["anatomy", "true"] == 1.0  # of the one best detection, for one run; none was called a jump
    assert metrics["anatomy", "recall@1"] == 1.0  # both segments were found, whatever their class


def test_a_class_that_training_lacks_counts_as_zero_and_one_that_the_test_lacks_is_left_out():
    truth = annotated(*zip(*TRUTH.values(), strict=True), ("y", "swim", 20, 25))
    found = values(evaluate(truth, VIDEOS, LABELS, LABELS, LABELS, FOUND, tiou=[0.5])[0])
    assert found["class", "swim"] == 0.0 and found["localize", "mAP"] == pytest.approx(2 / 3)
    runs_only = {name: column[np.array(TRUTH["video_id"] != "y")] for name, column in TRUTH.items()}
    found = values(evaluate(runs_only, VIDEOS, LABELS, LABELS, LABELS, FOUND, tiou=[0.5])[0])
    assert ("class", "jump") not in found and found["localize", "mAP"] == 1.0


def test_training_videos_are_judged_where_there_is_no_test_video():
    videos = {name: column[:4] for name, column in VIDEOS.items()}
    found = values(evaluate(TRUTH, videos, LABELS, LABELS, LABELS, FOUND, tiou=[0.5])[0])
    assert found["localize", "videos"] == 4


def test_without_annotations_only_label_free_numbers():
    pooled = {"video_id": np.array(TRAIN, object), "feature": np.array([[0, 0], [0, 1], [9, 9], [9, 8]], np.float32)}
    metrics, mapping = evaluate(annotated(), VIDEOS, LABELS, LABELS, LABELS, FOUND, LABELS, pooled=pooled)
    found = values(metrics)
    assert set(found) == {
        ("cluster", "clusters"), ("cluster", "silhouette"), ("refine", "clusters"), ("refine", "silhouette"),
        ("select", "clusters"), ("refine", "stability"), ("select", "share"), ("localize", "detections"),
    }  # fmt: skip
    assert found["refine", "stability"] == 1.0 and found["cluster", "silhouette"] > 0.5
    assert {name: (len(c), c.dtype.kind) for name, c in mapping.items()} == {
        "protocol": (0, "O"), "cluster": (0, "i"), "label": (0, "O"), "weight": (0, "f")
    }  # fmt: skip


def test_unannotated_test_videos_are_not_judged():
    """A detection where nobody looked is no false positive."""
    some = {name: column[np.array(TRUTH["video_id"] != "y")] for name, column in TRUTH.items()}
    found = values(evaluate(some, VIDEOS, LABELS, LABELS, LABELS, FOUND, tiou=[0.5])[0])
    assert found["localize", "videos"] == 1 and found["localize", "mAP"] == 1.0


def test_only_test_videos_annotated_gives_no_mapping_and_no_map():
    some = {name: column[4:] for name, column in TRUTH.items()}
    metrics, mapping = evaluate(some, VIDEOS, LABELS, LABELS, LABELS, FOUND)
    assert len(mapping["cluster"]) == 0
    assert ("localize", "mAP") not in values(metrics)


@pytest.mark.parametrize("cluster", [[0, 0, 0, 0], [0, 1, 2, 3]])
def test_one_cluster_or_one_video_a_cluster(cluster):
    """Degenerate clusterings are measured, not refused; the silhouette is left out where it is undefined."""
    labels = columns(video_id=TRAIN, cluster=cluster)
    pooled = {"video_id": np.array(TRAIN, object), "feature": np.eye(4, dtype=np.float32)}
    metrics, _ = evaluate(TRUTH, VIDEOS, labels, labels, labels, FOUND, labels, pooled=pooled, tiou=[0.5])
    assert np.isfinite(metrics["value"]).all()
    assert ("cluster", "silhouette") not in values(metrics)


def test_no_detections_give_zero():
    found = values(evaluate(TRUTH, VIDEOS, LABELS, LABELS, LABELS, detected(), tiou=[0.5])[0])
    assert found["localize", "mAP"] == 0.0 and found["localize", "detections"] == 0


def test_rows_in_another_order_give_the_same_stability():
    moved = {name: column[::-1] for name, column in LABELS.items()}
    found = values(evaluate(annotated(), VIDEOS, LABELS, LABELS, LABELS, FOUND, moved)[0])
    assert found["refine", "stability"] == 1.0
