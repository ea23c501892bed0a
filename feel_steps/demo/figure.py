"""A human figure for the demo: actions as formulas, a skeleton by inverse kinematics, painting with filled polygons.

Lengths are in body heights. Body frame: x to the figure's left, y up, z forward; the origin lies between the feet. A
motion of F frames is one array of poses [F, 6, 3]: the pelvis' displacement; (bend, tilt, twist) of the torso in
radians; left and right hand from their shoulder in arm lengths; left and right foot from the origin. The x of hands
and feet points outwards on both sides, so that left and right alike are equal rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

PELVIS, TORSO, LEFT_HAND, RIGHT_HAND, LEFT_FOOT, RIGHT_FOOT = range(6)
HANDS, FEET = slice(2, 4), slice(4, 6)

THIGH = SHIN = 0.245
ARM = 0.175  # upper arm, and forearm with the hand
SPINE, SHOULDER, HIP, HIP_HEIGHT, ANKLE_HEIGHT = 0.30, 0.115, 0.062, 0.515, 0.03
STRIDE = 0.72  # walked in one cycle of two steps
OUTWARDS = np.array([1.0, -1.0])[:, None] * [1.0, 0.0, 0.0] + [0.0, 1.0, 1.0]  # left, right: sign of x

FRACTION_BITS = 4  # OpenCV draws at 1/16 pixel


def _swing(phase: np.ndarray) -> np.ndarray:
    """0 at whole phases, 1 halfway between them, smooth."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * phase)


def _along(weight: np.ndarray, *vector: float) -> np.ndarray:
    return weight[..., None] * np.array(vector)


def stand(phase: np.ndarray) -> np.ndarray:
    """Poses [F, 6, 3] of a figure at rest."""
    pose = np.zeros((len(phase), 6, 3))
    pose[:, HANDS] = 0.13, -0.93, 0.1
    pose[:, FEET] = 0.075, 0.0, 0.0
    return pose


def idle(phase: np.ndarray) -> np.ndarray:
    """Shift the weight, look about, move the hands a little; one phase is some four seconds."""
    pose = stand(phase)
    a, b = np.sin(2 * np.pi * phase), np.sin(2 * np.pi * 0.618 * phase + 1)
    pose[:, PELVIS] += _along(a, 0.02, 0, 0)
    pose[:, TORSO] += _along(b, 0.04, 0.05, 0.15)
    pose[:, LEFT_HAND] += _along(_swing(0.41 * phase) ** 4, -0.25, 0.45, 0.35)
    pose[:, RIGHT_HAND] += _along(_swing(0.29 * phase) ** 4, -0.1, 0.35, 0.3)
    return pose


def walk(phase: np.ndarray) -> np.ndarray:
    """Walk on the spot; the feet slide back at the speed of STRIDE a phase."""
    pose = stand(phase)
    turn = 2 * np.pi * (phase[:, None] + [0.0, 0.5])  # [F, 2]
    pose[:, FEET] += np.stack([-0.02 + 0 * turn, 0.07 * np.maximum(0, -np.sin(turn)), STRIDE / 4 * np.cos(turn)], 2)
    pose[:, HANDS] += np.stack([0 * turn, 0.12 + 0 * turn, -0.45 * np.cos(turn)], 2)
    pose[:, PELVIS, 1] = -0.035 + 0.015 * np.cos(2 * turn[:, 0] + np.pi)
    pose[:, TORSO] += _along(np.ones_like(phase), 0.07, 0, 0) + _along(np.cos(turn[:, 0]), 0, 0, 0.15)
    return pose


def jumping_jack(phase: np.ndarray) -> np.ndarray:
    """Legs apart and arms overhead in a jump, and back."""
    pose = stand(phase)
    s, hop = _swing(phase), 0.07 * np.abs(np.sin(2 * np.pi * phase))
    angle = 0.15 + 2.75 * s
    pose[:, HANDS] = np.stack([np.sin(angle), -np.cos(angle), 0 * angle + 0.05], 1)[:, None]
    pose[:, FEET] += (_along(s, 0.17, 0, 0) + _along(hop, 0, 1, 0))[:, None]
    pose[:, PELVIS, 1] = hop - 0.04 * s
    return pose


def wave(phase: np.ndarray) -> np.ndarray:
    """One raised hand from side to side."""
    pose = stand(phase)
    side = np.sin(2 * np.pi * phase)
    pose[:, RIGHT_HAND] = [0.42, 0.72, 0.1] + _along(side, 0.4, -0.12, 0)
    pose[:, TORSO] += _along(side, 0, -0.03, 0)
    return pose


def squat(phase: np.ndarray) -> np.ndarray:
    """Down to the heels with the arms stretched forward, and up."""
    pose = stand(phase)
    s = _swing(phase)
    pose[:, PELVIS] = _along(s, 0, -0.27, -0.12)
    pose[:, TORSO] = _along(s, 0.6, 0, 0)
    pose[:, HANDS] += _along(s, -0.1, 0.95, 0.85)[:, None]
    pose[:, FEET] += [0.05, 0, 0]
    return pose


def punch(phase: np.ndarray) -> np.ndarray:
    """Box: left and right fist forward in turn, from a guard."""
    pose = stand(phase)
    wave_ = np.sin(2 * np.pi * phase)
    for hand, reach in (LEFT_HAND, np.maximum(0, wave_)), (RIGHT_HAND, np.maximum(0, -wave_)):
        pose[:, hand] = [-0.3, 0.12, 0.42] + _along(reach**0.8, 0.05, -0.05, 0.62)
    pose[:, TORSO] = [0.15, 0, 0] + _along(wave_, 0, 0, -0.5)
    pose[:, LEFT_FOOT] += 0.03, 0, 0.12
    pose[:, RIGHT_FOOT] += 0.03, 0, -0.12
    pose[:, PELVIS] = [0, -0.06, 0] + _along(_swing(2 * phase), 0, 0.02, 0.03)
    return pose


def kick(phase: np.ndarray) -> np.ndarray:
    """Knee up, foot forward to the height of the hip, and back."""
    pose = stand(phase)
    s = _swing(phase)
    pose[:, RIGHT_FOOT] += _along(s, -0.02, 0.46, 0) + _along(s**2.5, 0, 0.04, 0.48)
    pose[:, PELVIS] = [0, -0.03, 0] + _along(s, 0.03, 0, 0)
    pose[:, TORSO] = _along(s, -0.28, 0, 0.2)
    pose[:, HANDS] = [-0.1, -0.35, 0.5] + _along(s, 0.3, 0.05, -0.25)[:, None]
    return pose


def toe_touch(phase: np.ndarray) -> np.ndarray:
    """Bend down with straight legs until the hands reach the feet, and up."""
    pose = stand(phase)
    s = _swing(phase)
    pose[:, TORSO] = _along(s, 2.0, 0, 0)
    pose[:, PELVIS] = _along(s, 0, -0.02, -0.12)
    pose[:, HANDS] += _along(s, -0.15, -0.07, -0.2)[:, None]
    return pose


@dataclass(frozen=True)
class Action:
    """A motion, how long one repetition of it takes (s), and from which sides it is seen (rad off the front)."""

    motion: Callable[[np.ndarray], np.ndarray]
    period: float
    yaw: tuple[float, float]


ACTIONS = {
    "jumping-jack": Action(jumping_jack, 1.0, (0.0, 0.5)),
    "wave": Action(wave, 0.75, (0.0, 0.5)),
    "squat": Action(squat, 1.6, (0.6, 1.2)),
    "punch": Action(punch, 0.9, (0.7, 1.3)),
    "kick": Action(kick, 1.2, (0.7, 1.3)),
    "toe-touch": Action(toe_touch, 1.9, (0.6, 1.2)),
}


def mirror(pose: np.ndarray) -> np.ndarray:
    """The same motion with left and right exchanged."""
    return pose[:, [PELVIS, TORSO, RIGHT_HAND, LEFT_HAND, RIGHT_FOOT, LEFT_FOOT]] * (
        np.array([[-1, 1, 1], [1, -1, -1]] + [[1, 1, 1]] * 4)
    )


def _bend_limb(
    root: np.ndarray, target: np.ndarray, upper: float, lower: float, pole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Two-bone inverse kinematics: the joint between (on the side of the pole) and the end, which may fall short."""
    reach = target - root
    length = np.linalg.norm(reach, axis=-1, keepdims=True)
    axis = reach / np.maximum(length, 1e-9)
    length = np.clip(length, abs(upper - lower) + 0.05, (upper + lower) * 0.999)
    along = (upper**2 - lower**2 + length**2) / (2 * length)
    side = pole - (pole * axis).sum(-1, keepdims=True) * axis
    side /= np.maximum(np.linalg.norm(side, axis=-1, keepdims=True), 1e-9)
    return root + along * axis + np.sqrt(np.maximum(0, upper**2 - along**2)) * side, root + length * axis


def skeleton(pose: np.ndarray) -> dict[str, np.ndarray]:
    """Joints of the poses [F, 6, 3] in the body frame, each [F, 2, 3] (left, right; the trunk's twice)."""
    bend, tilt, twist = np.moveaxis(pose[:, TORSO], 1, 0)
    spine = np.stack([np.sin(tilt), np.cos(tilt) * np.cos(bend), np.cos(tilt) * np.sin(bend)], 1)[:, None]
    across = np.stack([np.cos(twist) * np.cos(tilt), -np.sin(tilt), -np.sin(twist)], 1)[:, None]
    pelvis = pose[:, [PELVIS, PELVIS]] + [0, HIP_HEIGHT, 0]
    neck = pelvis + SPINE * spine
    side = OUTWARDS[:, :1]  # [2, 1]
    shoulder = neck - 0.03 * spine + SHOULDER * side * across
    hip = pelvis + HIP * side * [1.0, 0, 0]
    elbow, hand = _bend_limb(
        shoulder, shoulder + 2 * ARM * pose[:, HANDS] * OUTWARDS, ARM, ARM, OUTWARDS * [0.6, -0.5, -0.6]
    )
    knee, ankle = _bend_limb(
        hip, pose[:, FEET] * OUTWARDS + [0, ANKLE_HEIGHT, 0], THIGH, SHIN, OUTWARDS * [0.25, 0.1, 1.0]
    )
    shin = (ankle - knee) / SHIN
    lifted = np.clip((ankle[..., 1:2] - ANKLE_HEIGHT) / 0.15, 0, 1)  # in the air the foot follows the shin
    sole = (1 - lifted) * [0, -0.15, 1] + lifted * np.stack([0 * shin[..., 0], shin[..., 2], -shin[..., 1]], -1)
    return {
        "pelvis": pelvis, "neck": neck, "head": neck + 0.105 * spine + [0, 0, 0.012],
        "shoulder": shoulder, "elbow": elbow, "hand": hand,
        "hip": hip, "knee": knee, "ankle": ankle, "toe": ankle + OUTWARDS * [0.02, 0, 0] + 0.075 * sole,
    }  # fmt: skip


Colour = tuple[float, float, float]  # BGR, 0..255


@dataclass(frozen=True)
class Clothes:
    """Colours of a figure; bare arms or legs take the skin's."""

    skin: Colour
    hair: Colour
    shirt: Colour
    sleeves: Colour
    trousers: Colour
    stockings: Colour
    shoes: Colour


# (from, to, radius there, radius here, garment); the groups are painted from far to near
_LIMBS = (
    (("shoulder", "elbow", 0.040, 0.034, "shirt"), ("elbow", "hand", 0.032, 0.026, "sleeves"),
     ("hand", "hand", 0.032, 0.032, "skin")),
    (("hip", "knee", 0.060, 0.043, "trousers"), ("knee", "ankle", 0.043, 0.030, "stockings"),
     ("ankle", "toe", 0.032, 0.024, "shoes")),
)  # fmt: skip
_TONES = ((0.006, 0.0, 0.42), (0.0, 0.0, 0.86), (-0.010, -0.007, 1.12))  # (wider by, moved to the light by, brightness)
_ARC = np.linspace(-np.pi / 2, np.pi / 2, 7)


def _capsule(a: np.ndarray, b: np.ndarray, radius_a: float, radius_b: float) -> np.ndarray:
    """Outlines [F, 3, 14, 2] of a rounded bar between points [F, 2] in the three tones: edge, body, light."""
    heading = np.arctan2(*(b - a + 1e-9)[:, ::-1].T)[:, None]
    unit = [np.stack([np.cos(heading + turn), np.sin(heading + turn)], -1) for turn in (_ARC, _ARC + np.pi)]
    tones = []
    for wider, moved, _ in _TONES:
        ends = [
            centre[:, None] + max(radius + wider, 0.008) * arc + [moved, moved]
            for centre, radius, arc in zip((b, a), (radius_b, radius_a), unit, strict=True)
        ]
        tones.append(np.concatenate(ends, 1))
    return np.stack(tones, 1)


def _trunk(pelvis: np.ndarray, neck: np.ndarray, shoulder: np.ndarray, hip: np.ndarray) -> np.ndarray:
    """Outlines [F, 3, 8, 2] of the shirt between the hips and the shoulders."""
    spine = neck - pelvis
    across = np.stack([spine[:, 1], -spine[:, 0]], 1)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    at_hip = np.abs(((hip[:, 0] - pelvis) * across).sum(1)) + 0.052
    at_shoulder = np.abs(((shoulder[:, 0] - neck) * across).sum(1)) + 0.03
    tones = []
    for wider, moved, _ in _TONES:
        corners = [
            pelvis + along * spine + (sign * (width + wider))[:, None] * across + [moved, moved]
            for sign, rows in ((1, (0, 1, 2, 3)), (-1, (3, 2, 1, 0)))
            for along, width in ((np.array([-0.05, 0.75, 0.93, 1.03])[row],
                                  (at_hip, at_shoulder, 0.9 * at_shoulder, 0 * at_hip + 0.035)[row]) for row in rows)
        ]  # fmt: skip
        tones.append(np.stack(corners, 1))
    return np.stack(tones, 1)


@dataclass
class Figure:
    """Outlines of a figure in every frame, ready to be painted.

    Attributes
    ----------
    outlines : list of list of int32 [F, 3, P, 2]
        For each group of parts its parts' outlines, in three tones, 1/16 pixels.
    colours : list of list of list of colour
        For each group, part and tone.
    order : int [F, G]
        Groups from far to near.
    """

    outlines: list[list[np.ndarray]]
    colours: list[list[list[Colour]]]
    order: list[list[int]]

    def paint(self, image: np.ndarray, frame: int) -> None:
        """Draw the figure as it is in that frame over the image [H, W, 3] uint8."""
        for group in self.order[frame]:
            parts = list(zip(self.outlines[group], self.colours[group], strict=True))
            for tone in range(len(_TONES)):
                for outlines, colours in parts:
                    cv2.fillConvexPoly(image, outlines[frame, tone], colours[tone], cv2.LINE_8, FRACTION_BITS)


def build_figure(pose: np.ndarray, yaw: np.ndarray, feet: np.ndarray, height: float, clothes: Clothes) -> Figure:
    """Turn, project and outline a figure.

    Parameters
    ----------
    pose : float [F, 6, 3]
    yaw : float [F]
        Direction of the view: 0 to the viewer, pi/2 to the right of the image.
    feet : float [F, 2]
        Where it stands in the image, pixels.
    height : float
        Body height in pixels.
    clothes : Clothes
    """
    cos, sin = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    flat: dict[str, np.ndarray] = {}
    depth: dict[str, np.ndarray] = {}
    for name, joint in skeleton(pose).items():
        x, y, z = np.moveaxis(joint, 2, 0)  # [F, 2]
        depth[name] = z * cos - x * sin
        flat[name] = np.stack([x * cos + z * sin, -y + 0.15 * depth[name]], 2)  # seen from a little above
    heading = np.concatenate([sin, 0 * sin], 1)  # [F, 2], where the face is on the head

    groups: list[list[tuple[np.ndarray, str]]] = [
        [(_capsule(flat[a][:, side], flat[b][:, side], *radii), garment) for a, b, *radii, garment in limb]
        for limb in _LIMBS
        for side in (0, 1)
    ]
    depths = [depth[name][:, side] for name in ("elbow", "knee") for side in (0, 1)]
    depths[:2] = [(d + depth["hand"][:, side]) / 2 for side, d in enumerate(depths[:2])]
    pelvis, neck, head = (flat[name][:, 0] for name in ("pelvis", "neck", "head"))
    shoulder, hip = flat["shoulder"], flat["hip"]
    groups.append([
        (_capsule(hip[:, 0], hip[:, 1], 0.062, 0.062), "trousers"),
        (_capsule(0.8 * shoulder[:, 0] + 0.2 * shoulder[:, 1], 0.2 * shoulder[:, 0] + 0.8 * shoulder[:, 1], 0.05, 0.05),
         "shirt"),
        (_trunk(pelvis, neck, shoulder, hip), "shirt"),
    ])  # fmt: skip
    up = (head - neck) / 0.105
    depths.append((depth["pelvis"] + depth["neck"])[:, 0] / 2)
    groups.append([(_capsule(neck, head, 0.032, 0.032), "skin")])
    groups.append([(_capsule(head + 0.012 * up - 0.014 * heading, head - 0.004 * up - 0.012 * heading, 0.068, 0.062),
                    "hair")])  # fmt: skip
    groups.append([(_capsule(head - 0.008 * up + 0.020 * heading, head - 0.03 * up + 0.018 * heading, 0.052, 0.044),
                    "skin")])  # fmt: skip
    depths += [depth["head"][:, 0] + 0.002 * step for step in range(3)]

    garments = {name: np.array(getattr(clothes, name)) for name in Clothes.__dataclass_fields__}
    colours = [
        [[tuple(np.clip(garments[name] * shade, 0, 255).tolist()) for *_, shade in _TONES] for _, name in group]
        for group in groups
    ]
    scaled = [
        [np.round((outline * height + feet[:, None, None]) * 2**FRACTION_BITS).astype(np.int32) for outline, _ in group]
        for group in groups
    ]
    return Figure(scaled, colours, np.argsort(np.stack(depths, 1), 1, kind="stable").tolist())
