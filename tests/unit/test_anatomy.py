"""What breaks if this fails: people mend the wrong thing, since they are told a wrong reason for a low score."""

import numpy as np
import pytest

from feel_steps.evaluation.anatomy import ERRORS, anatomy, error_shares, precision_at_recall, recall_at
from feel_steps.evaluation.detection_map import mean_average_precision


def table(*rows, scored=True):
    names = ["video_id", "label", "t_start", "t_end", "score"][: 5 if scored else 4]
    kinds = [object, object, float, float, float]
    return {name: np.array([row[i] for row in rows], kinds[i]) for i, name in enumerate(names)}


TRUTH = table(
    *(("v", "run", 100 * i, 100 * i + 10) for i in range(6)), ("v", "jump", 700, 710), ("w", "run", 0, 10), scored=False
)


def test_every_kind_of_error_is_told_apart():
    found = table(
        ("v", "run", 0, 10, 0.99),  # true
        ("v", "run", 1, 10, 0.98),  # double
        ("v", "run", 700, 710, 0.97),  # on a jump: wrong label
        ("v", "run", 106, 116, 0.96),  # tIoU 4/16 with a run: localisation
        ("v", "run", 706, 716, 0.95),  # tIoU 4/16 with a jump: confusion
        ("v", "run", 50, 60, 0.94),  # background
        ("nowhere", "run", 0, 10, 0.93),  # background: nothing is annotated there
        ("v", "run", 200, 210, 0.1),  # right, but beyond as many predictions as there are segments
    )
    result = mean_average_precision(found, TRUTH, [0.5])
    shares = dict(zip(ERRORS, error_shares(result, found, TRUTH) * 7, strict=True))
    # 7 runs are annotated, so the 7 best predictions of runs are looked at; nothing was predicted as a jump
    assert shares == pytest.approx(
        {"true": 1, "double": 1, "wrong_label": 1, "localisation": 1, "confusion": 1, "background": 2}
    )


def test_perfect_predictions_are_all_true_and_none_is_zero():
    perfect = {**TRUTH, "score": np.ones(8)}
    rows = dict(anatomy(perfect, perfect, TRUTH))
    assert rows["true"] == 1 and rows["precision@recall1"] == 1 and rows["recall@100"] == 1
    nothing = {name: column[:0] for name, column in perfect.items()}
    assert set(dict(anatomy(nothing, nothing, TRUTH)).values()) == {0.0}
    assert set(rows) == set(dict(anatomy(nothing, nothing, TRUTH)))


def test_precision_at_recall_by_hand():
    """Hits at ranks 1 and 4 of two segments: precision 1 up to recall 1/2, then 2/4."""
    real = table(("v", "run", 0, 10), ("v", "run", 20, 30), scored=False)
    starts = [0, 50, 60, 20]
    found = table(*(("v", "run", s, s + 10, 0.9 - 0.1 * i) for i, s in enumerate(starts)))
    result = mean_average_precision(found, real, [0.5, 1.0])
    np.testing.assert_allclose(precision_at_recall(result, [0, 0.5, 0.51, 1])[0], [[1, 1, 0.5, 0.5]] * 2)


def test_curves_and_average_precision_agree():
    """The area under each class's curve, read at every recall it can have, is its average precision."""
    rng = np.random.default_rng(0)
    real = table(*(("v", rng.choice(["run", "jump"]), s, s + 5) for s in rng.integers(0, 60, 14)), scored=False)
    found = table(*(("v", rng.choice(["run", "jump"]), s, s + 5, rng.random()) for s in rng.integers(0, 60, 50)))
    result = mean_average_precision(found, real, [0.2, 0.6])
    for c, count in enumerate(result.instances):
        area = precision_at_recall(result, np.arange(1, count + 1) / count)[c].mean(1)
        np.testing.assert_allclose(area, result.ap[c])


def test_recall_counts_the_best_detections_of_each_video_whatever_their_class():
    real = table(("v", "run", 0, 10), ("v", "jump", 20, 30), ("w", "run", 0, 10), scored=False)
    found = table(("v", "?", 0, 10, 0.2), ("v", "?", 20, 28, 0.9), ("v", "?", 50, 60, 0.5), ("x", "?", 0, 10, 1.0))
    recall = recall_at(found, real, [0.5, 0.9], [1, 2, 3])
    np.testing.assert_allclose(recall, [[1 / 3, 0], [1 / 3, 0], [2 / 3, 1 / 3]])
