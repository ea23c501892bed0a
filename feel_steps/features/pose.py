"""What a person does, by MediaPipe's person detector and landmarks (BlazePose, Apache-2.0): no picture, joints alone.

Bazarevsky et al., "BlazePose: on-device real-time body pose tracking", 2020. In some frames of each window the detector
looks for the clearest person, and the landmark model for 33 points of that person's body. A snippet's feature is, of 15
joints: mean positions, their deviation, speed, the way they went, and visibility. Positions are relative to the middle
of the hips, in lengths of the trunk. Where nobody was seen all is zero, and a flag says so.

The two model files are MediaPipe's own; nothing is fetched. They run in LiteRT (pip install 'feel-steps[pose]').
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np

from feel_steps.dataset.video_file import Resize
from feel_steps.dataset.videos import Video
from feel_steps.errors import InputError
from feel_steps.features.windows import look_at, spread

LONG_SIDE = 512  # pixels of the pictures that persons are cut out of
DETECTOR, LANDMARKS = 224, 256  # pixels of the squares that the models see
PERSON, LANDMARK = 0.5, 0.5  # least scores of a person, and of the points found on it
GROW = 1.25  # the square that is cut out, over the circle that the detector draws about a person
STRIDES = (8, 16, 32, 32, 32)  # pixels between the detector's anchors, two for each of its layers
POINTS = 39  # that the landmark model gives, with x, y, z, visibility and presence of each
# nose, shoulders, elbows, wrists, hips, knees, ankles, tips of the feet
JOINTS = np.array([0, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28, 31, 32])
SHOULDERS, HIPS = [1, 2], [7, 8]  # of the joints
BATCH = 8  # pictures decoded ahead
WHERE_FROM = (
    "both are in the folder mediapipe/modules of the wheel mediapipe 0.10.21 (pip download --no-deps "
    "mediapipe==0.10.21, then unzip); see docs/howto/pose.md"
)


class Person(NamedTuple):
    """Joints float32 [15, 2], in pixels of the picture, and how well each is visible, float32 [15]."""

    joints: np.ndarray
    visible: np.ndarray


def _model(path: str | Path | None, key: str, sha256: str | None) -> tuple[Any, str]:
    """Load a model in LiteRT, and say which file it is."""
    if find_spec("ai_edge_litert") is None:
        raise InputError("extractor pose needs LiteRT: pip install 'feel-steps[pose]'")
    if path is None or not Path(path).is_file():
        missing = "is not set" if path is None else f"there is no file '{path}'"
        raise InputError(f"features.pose.{key}: {missing}; extractor pose needs two .tflite files, {WHERE_FROM}")
    content = Path(path).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and sha256.lower() != digest:
        raise InputError(
            f"{path}: its SHA-256 is {digest}, but features.pose.sha256_{key} says {sha256}; name that file, or mend "
            "the config"
        )
    from ai_edge_litert.interpreter import Interpreter

    try:
        model = Interpreter(model_content=content, num_threads=1)  # parts run beside each other
        model.allocate_tensors()
    except (ValueError, RuntimeError):
        raise InputError(f"{path}: not a model that LiteRT reads; {WHERE_FROM}") from None
    return model, digest


class Detector:
    """The person detector: where the clearest person of a picture is.

    Parameters
    ----------
    model : LiteRT interpreter
        Of pose_detection.tflite.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.anchors = model, anchors()
        self.box, self.score = _outputs(model, [(len(self.anchors), 12), (len(self.anchors), 1)], "detector")

    def find(self, picture: np.ndarray) -> np.ndarray | None:
        """The square about the clearest person.

        Parameters
        ----------
        picture : uint8 [H, W, 3]

        Returns
        -------
        float32 [3, 2], or None
            Its centre, the middle of its upper edge and that of its right edge, in pixels of the picture; turned so
            that the person stands upright in it. None: nobody is seen clearly.
        """
        height, width = picture.shape[:2]
        scale = DETECTOR / max(height, width)
        corner = np.array([DETECTOR - width * scale, DETECTOR - height * scale]) / 2  # black bars around the picture
        turn = np.array([[scale, 0, corner[0]], [0, scale, corner[1]]])
        square = cv2.warpAffine(picture, turn, (DETECTOR, DETECTOR), flags=cv2.INTER_AREA)
        score = _run(self.model, square.astype(np.float32) / 127.5 - 1, self.score)[:, 0]
        best = int(score.argmax())
        if 1 / (1 + np.exp(-np.clip(score[best], -100, 100))) < PERSON:
            return None
        numbers = self.model.get_tensor(self.box)[0, best]
        hip, top = (numbers[4:8].reshape(2, 2) + self.anchors[best] * DETECTOR - corner) / scale
        up = (top - hip) * GROW  # from the middle of the hips to the edge of the circle about the whole person
        if not np.hypot(*up) > 1:
            return None
        return np.stack([hip, hip + up, hip + [-up[1], up[0]]]).astype(np.float32)


def anchors() -> np.ndarray:
    """Centres of the detector's anchors, from 0 to 1 across the picture: float32 [2254, 2]."""
    centres = []
    for stride in dict.fromkeys(STRIDES):
        cells = DETECTOR // stride
        y, x = np.mgrid[:cells, :cells].reshape(2, -1)
        each = np.stack([x + 0.5, y + 0.5], 1) / cells
        centres.append(each.repeat(2 * STRIDES.count(stride), 0))
    return np.concatenate(centres).astype(np.float32)


class Landmarks:
    """The landmark model: a person's joints in the square about it.

    Parameters
    ----------
    model : LiteRT interpreter
        Of pose_landmark_full.tflite, or _lite, or _heavy.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.points, self.score = _outputs(model, [(POINTS * 5,), (1,)], "landmarks")

    def find(self, picture: np.ndarray, square: np.ndarray) -> Person | None:
        """Joints of the person in a square as :meth:`Detector.find` gives it; None if there is no person in it."""
        half = LANDMARKS / 2
        corners = np.array([[half, half], [half, 0], [LANDMARKS, half]], np.float32)
        cut = cv2.warpAffine(picture, cv2.getAffineTransform(square, corners), (LANDMARKS, LANDMARKS))
        if _run(self.model, cut.astype(np.float32) / 255, self.score)[0] < LANDMARK:
            return None
        points = self.model.get_tensor(self.points)[0].reshape(POINTS, 5)[JOINTS]
        back = cv2.getAffineTransform(corners, square)
        joints = points[:, :2] @ back[:, :2].T + back[:, 2]
        return Person(joints.astype(np.float32), 1 / (1 + np.exp(-points[:, 3])))


def _outputs(model: Any, shapes: list[tuple[int, ...]], key: str) -> list[int]:
    """Indices of a model's outputs of these shapes; another model has none."""
    found = {tuple(output["shape"][1:]): output["index"] for output in model.get_output_details()}
    if missing := [shape for shape in shapes if shape not in found]:
        raise InputError(f"features.pose.{key}: another model, without an output {list(missing[0])}; {WHERE_FROM}")
    return [found[shape] for shape in shapes]


def _run(model: Any, picture: np.ndarray, output: int) -> np.ndarray:
    """One output of a model for one picture."""
    model.set_tensor(model.get_input_details()[0]["index"], picture[None])
    model.invoke()
    return model.get_tensor(output)[0]


class Pose:
    """Features of the clearest person in each window, [T, 9 * 15 + 1].

    Parameters
    ----------
    fps : float
        Frames per second that videos are read at.
    window, stride : int
        Frames of a snippet, and from the start of one to the next.
    detector, landmarks : path
        MediaPipe's models, pose_detection.tflite and pose_landmark_full.tflite (or lite, or heavy).
    sha256_detector, sha256_landmarks : str, optional
        What the files' SHA-256 have to be.
    frames : int
        Frames of a window that are looked at, evenly spread over it, two or more.
    """

    view_family = "network"  # whitened means tell exercises apart better than their second moments (NMI .5, .2)
    streams = {"joints": (9 * len(JOINTS) + 1, 1.0)}

    def __init__(
        self,
        *,
        fps: float,
        window: int,
        stride: int,
        detector: str | Path | None = None,
        landmarks: str | Path | None = None,
        sha256_detector: str | None = None,
        sha256_landmarks: str | None = None,
        frames: int = 8,
    ) -> None:
        if not 2 <= frames <= window:
            raise InputError(f"features.pose.frames: {frames}; expected 2 to features.window, {window}")
        self.fps, self.window, self.stride, self.seen = fps, window, stride, spread(window, frames)
        finder, digest_detector = _model(detector, "detector", sha256_detector)
        pointer, digest_landmarks = _model(landmarks, "landmarks", sha256_landmarks)
        self.detector, self.landmarks = Detector(finder), Landmarks(pointer)
        cv2.setNumThreads(1)
        self.settings: dict[str, Any] = {
            "sha256_detector": digest_detector,
            "sha256_landmarks": digest_landmarks,
            "frames": frames,
        }

    def extract(self, video: Video, advance: Callable[[int], None]) -> np.ndarray:
        """Features of each window of a video.

        Parameters
        ----------
        video : Video
        advance : callable
            Told the number of frames that have been read.

        Returns
        -------
        float32 [T, 136]

        Raises
        ------
        VideoError
            The video does not decode.
        """
        batches, rows = look_at(
            video,
            self.look,
            advance,
            fps=self.fps,
            window=self.window,
            stride=self.stride,
            seen=self.seen,
            resize=self.resize,
            batch=BATCH,
        )
        persons = [person for batch in batches for person in batch]
        return describe(persons, rows)

    @staticmethod
    def resize(frame: av.VideoFrame) -> Resize:
        """Pictures of the frame's shape, no larger than they are."""
        scale = min(1.0, LONG_SIDE / max(frame.width, frame.height))
        return Resize(max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))

    def look(self, pictures: Iterable[np.ndarray]) -> list[Person | None]:
        """The clearest person in each picture uint8 [H, W, 3]."""
        squares = ((picture, self.detector.find(picture)) for picture in pictures)
        return [None if square is None else self.landmarks.find(picture, square) for picture, square in squares]


def describe(persons: list[Person | None], rows: np.ndarray) -> np.ndarray:
    """Features of windows, by the persons in their frames.

    Parameters
    ----------
    persons : list of Person or None, [B]
        Of each frame that was looked at.
    rows : int64 [T, frames]
        The frames of each window.

    Returns
    -------
    float32 [T, 136]
        Of 15 joints: mean position, its deviation, mean speed, and the way from the first to the last frame, each in x
        and y; then how visible they were; then the share of frames with a person. All but the last are over the frames
        with a person; motion is between neighbouring ones.
    """
    B, J = len(persons), len(JOINTS)
    there = np.array([person is not None for person in persons], bool)
    joints, visible = np.zeros((B, J, 2), np.float32), np.zeros((B, J), np.float32)
    for i in np.flatnonzero(there):
        joints[i], visible[i] = persons[i]  # type: ignore[misc]
    hip = joints[:, HIPS].mean(1, keepdims=True)  # [B, 1, 2]
    trunk = np.linalg.norm(joints[:, SHOULDERS].mean(1, keepdims=True) - hip, axis=-1, keepdims=True)
    there &= trunk[:, 0, 0] > 1  # a pixel; positions relative to a shorter trunk mean nothing
    joints = np.where(there[:, None, None], (joints - hip) / np.maximum(trunk, 1), 0)
    x, seen = joints[rows], there[rows][:, :, None, None].astype(np.float32)  # [T, frames, J, 2], [T, frames, 1, 1]
    n = np.maximum(seen.sum(1), 1)  # [T, 1, 1]
    mean = (x * seen).sum(1) / n  # [T, J, 2]
    deviation = np.sqrt((((x - mean[:, None]) ** 2) * seen).sum(1) / n)
    both = seen[:, 1:] * seen[:, :-1]
    steps = np.diff(x, axis=1) * both
    speed = np.abs(steps).sum(1) / np.maximum(both.sum(1), 1)
    parts = [mean, deviation, speed, steps.sum(1), (visible[rows] * seen[..., 0]).sum(1) / n[..., 0], seen.mean(1)]
    return np.concatenate([part.reshape(len(rows), -1) for part in parts], axis=1, dtype=np.float32)
