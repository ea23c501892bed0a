"""Extractor pose: if these fail, joints land elsewhere than on the person, or an absent person looks like one."""

import numpy as np
import pytest

from feel_steps.errors import InputError
from feel_steps.features import pose
from feel_steps.features.pose import JOINTS, Detector, Landmarks, Person, Pose, anchors, describe


class Model:
    """Stands in for a LiteRT interpreter: gives fixed outputs, and keeps what it was shown."""

    def __init__(self, *outputs):
        self.outputs = outputs

    def get_output_details(self):
        return [{"shape": (1, *output.shape), "index": i} for i, output in enumerate(self.outputs)]

    def get_input_details(self):
        return [{"index": 0}]

    def set_tensor(self, index, picture):
        self.shown = picture

    def invoke(self):
        pass

    def get_tensor(self, index):
        return self.outputs[index][None]


def person(seed=0, scale=40.0, shift=(200.0, 150.0)):
    rng = np.random.default_rng(seed)
    joints = rng.normal(size=(len(JOINTS), 2))
    joints[[1, 2]] += [0, -2]  # shoulders over hips
    return Person((joints * scale + shift).astype(np.float32), rng.random(len(JOINTS)).astype(np.float32))


def test_anchors_are_the_published_ones():
    """Two for each layer at the centre of each cell: layers of 28, 14, and three of 7 cells a side."""
    points = anchors()
    assert points.shape == (2254, 2)
    assert np.allclose(points[:3], [[0.5 / 28, 0.5 / 28], [0.5 / 28, 0.5 / 28], [1.5 / 28, 0.5 / 28]])
    assert np.allclose(points[1568], 0.5 / 14) and np.allclose(points[1960:1966], 0.5 / 7)
    assert np.allclose(points[-1], 6.5 / 7)


def test_the_square_stands_on_the_person():
    """A wide picture is shown between black bars; the hips and the top of the head come back in its pixels."""
    boxes, scores = np.zeros((2254, 12), np.float32), np.full((2254, 1), -9, np.float32)
    best = 1000
    scores[best] = 3
    hip, top = np.array([300, 100.0]), np.array([300, 60.0])  # in a picture of 448 x 224
    square = np.array([hip, top]) / 2 + [0, 56]  # in the detector's square
    boxes[best, 4:8] = (square - anchors()[best] * 224).ravel()
    model = Model(boxes, scores)
    found = Detector(model).find(np.full((224, 448, 3), 255, np.uint8))
    assert np.allclose(found, [[300, 100], [300, 50], [350, 100]], atol=1e-3)
    assert model.shown.shape == (1, 224, 224, 3)
    assert np.allclose(model.shown[0, 20], -1) and np.allclose(model.shown[0, 112], 1)
    scores[best] = -1
    assert Detector(model).find(np.zeros((224, 448, 3), np.uint8)) is None


def test_joints_come_back_into_the_picture():
    """Of a person who lies on the side: right in the square is down in the picture."""
    points = np.zeros((39, 5), np.float32)
    points[:, :2] = 128
    points[JOINTS[0], :2] = [128, 0]  # the nose at the upper edge
    model = Model(points.reshape(-1), np.ones(1, np.float32))
    square = np.array([[100, 80], [150, 80], [100, 130]], np.float32)  # up is right
    found = Landmarks(model).find(np.zeros((160, 240, 3), np.uint8), square)
    assert np.allclose(found.joints[0], [150, 80], atol=1e-2) and np.allclose(found.joints[1], [100, 80], atol=1e-2)
    assert np.allclose(found.visible, 0.5)
    assert (
        Landmarks(Model(points.reshape(-1), np.zeros(1, np.float32))).find(np.zeros((9, 9, 3), np.uint8), square)
        is None
    )


def test_place_and_size_do_not_matter():
    rows = np.array([[0, 1, 2]])
    near = [person(i) for i in range(3)]
    far = [Person(joints / 2 + [500, 20], visible) for joints, visible in near]
    assert np.allclose(describe(near, rows), describe(far, rows), atol=1e-3)


def test_absent_persons_are_zero_and_flagged():
    """And the frames without one take no part in means, nor in motion."""
    persons = [None, None, person(1), person(1), None, person(2)]
    features = describe(persons, np.array([[0, 1], [2, 3], [1, 2], [4, 5]]))
    assert features.shape == (4, 9 * len(JOINTS) + 1) and features.dtype == np.float32
    assert not features[0].any()
    assert features[:, -1].tolist() == [0, 1, 0.5, 0.5]
    still = slice(2 * len(JOINTS), 8 * len(JOINTS))  # deviation, speed, way
    assert not features[1, still].any() and not features[2, still].any()
    assert np.array_equal(features[1, : 2 * len(JOINTS)], features[2, : 2 * len(JOINTS)])


def test_motion_is_speed_and_way():
    there, back = person(0), person(0)
    trunk = np.linalg.norm(there.joints[[1, 2]].mean(0) - there.joints[[7, 8]].mean(0))
    back.joints[4] += [0.5 * trunk, 0]
    features = describe([there, back, there], np.array([[0, 1, 2], [0, 1, 1]]))
    J = len(JOINTS)
    speed, way = features[:, 4 * J : 6 * J].reshape(2, J, 2), features[:, 6 * J : 8 * J].reshape(2, J, 2)
    assert np.allclose(speed[:, 4, 0], [0.5, 0.25], atol=1e-4) and np.allclose(way[:, 4, 0], [0, 0.5], atol=1e-4)
    assert np.abs(np.delete(speed, 4, 1)).max() < 1e-4


def test_missing_files_and_package_are_named(tmp_path, monkeypatch):
    rate = {"fps": 15, "window": 16, "stride": 8}
    with pytest.raises(InputError, match="features.pose.frames: 1; expected 2 to features.window, 16"):
        Pose(**rate, frames=1)
    monkeypatch.setattr(pose, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'feel-steps\[pose\]'"):
        Pose(**rate)
    monkeypatch.setattr(pose, "find_spec", lambda name: True)
    with pytest.raises(InputError, match=r"features.pose.detector: is not set.*mediapipe==0.10.21"):
        Pose(**rate)
    file = tmp_path / "a.tflite"
    file.write_bytes(b"x")
    with pytest.raises(InputError, match="features.pose.sha256_detector says 00"):
        Pose(**rate, detector=file, landmarks=file, sha256_detector="0" * 64)
    with pytest.raises(InputError, match=r"features.pose.detector: another model, without an output \[2254, 12\]"):
        Detector(Model(np.zeros(3)))
