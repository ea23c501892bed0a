"""Descriptors: if these fail, one action looks like two, or a video's features depend on how it was read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feel_steps.dataset.videos import Video
from feel_steps.errors import InputError
from feel_steps.features import descriptors
from feel_steps.features.descriptors import Descriptors, camera_motion, mirror, orientations, oscillation, place_grid
from tests.clips import write_video

SIZE = 96, 128


def act(path, move, n=40, place=(48, 64), flip=False, shake=0.0, seed=0):
    """Film a textured square that is moved by ``move(frame)`` on a textured ground, by hand if shake > 0."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(60, 120, (SIZE[0] // 4 + 4, SIZE[1] // 4 + 4, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    square = np.random.default_rng(99).integers(140, 255, (5, 5, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    frames = []
    for i in range(n):
        y, x = np.round(np.array(place) + move(i) - 10).astype(int)
        dy, dx = np.round(8 + shake * np.array([np.sin(i / 2), np.cos(i / 3)])).astype(int)
        frame = ground[dy:, dx:][: SIZE[0], : SIZE[1]].copy()
        y, x = y - dy + 8, x - dx + 8
        frame[y : y + 20, x : x + 20] = square
        frames.append(frame[:, ::-1].copy() if flip else frame)
    return Video("v", "train", str(write_video(path, frames, fps=15)), n, n / 15)


def up_down(i):
    return np.array([10 * np.sin(i / 1.5), 0])


def to_and_fro(i):
    return np.array([0, 10 * np.sin(i / 1.5)])


def engine(**settings):
    return Descriptors(**{"fps": 15, "window": 16, "stride": 8, "short_side": 96} | settings)


def mean(video, **settings):
    return engine(**settings).extract(video, lambda frames: None).mean(0)


@pytest.mark.parametrize(
    ("n", "window", "stride", "T"), [(40, 16, 8, 4), (16, 16, 8, 1), (15, 16, 8, 0), (40, 4, 9, 5)]
)
def test_a_feature_a_window(tmp_path, n, window, stride, T):
    """The same count as everywhere: (frames - window) // stride + 1, also where windows lie apart."""
    told = []
    model = engine(window=window, stride=stride)
    features = model.extract(act(tmp_path / "a.mp4", up_down, n), told.append)
    assert features.shape == (T, model.dimension) == (T, 448)
    assert features.dtype == np.float32
    assert sum(told) == n


@pytest.mark.parametrize("stride", [5, 8, 16, 21])
def test_chunks_do_not_matter(tmp_path, monkeypatch, stride):
    """Features of an hour are read in chunks; no window may notice."""
    video = act(tmp_path / "a.mp4", up_down, 75)
    whole = engine(stride=stride).extract(video, lambda frames: None)
    monkeypatch.setattr(descriptors, "CHUNK", 7)
    assert np.allclose(engine(stride=stride).extract(video, lambda frames: None), whole, atol=1e-4)


def test_same_bytes(tmp_path):
    video = act(tmp_path / "a.mp4", up_down, 75)
    one, two = (engine().extract(video, lambda frames: None) for _ in range(2))
    assert one.tobytes() == two.tobytes()


def test_an_action_is_itself_elsewhere_mirrored_and_by_hand(tmp_path):
    """Place, side, ground and an unsteady camera change a vector less than another action does."""
    first = mean(act(tmp_path / "a.mp4", up_down))
    other = mean(act(tmp_path / "b.mp4", to_and_fro))
    variants = {
        "elsewhere": act(tmp_path / "c.mp4", up_down, place=(36, 90)),
        "mirrored": act(tmp_path / "d.mp4", up_down, flip=True, place=(48, 90)),
        "by hand": act(tmp_path / "e.mp4", up_down, shake=3),
        "on other ground": act(tmp_path / "f.mp4", up_down, seed=5),
    }
    far = np.linalg.norm(first - other)
    near = {name: np.linalg.norm(first - mean(video)) for name, video in variants.items()}
    assert max(near.values()) < 0.7 * far, (near, far)


def test_stillness_is_short(tmp_path):
    """Where nothing moves, noise must not be blown up to a full vector of motion."""
    still = mean(act(tmp_path / "a.mp4", lambda i: np.zeros(2)))
    moving = mean(act(tmp_path / "b.mp4", up_down))
    assert np.isfinite(still).all()
    assert np.linalg.norm(still) < 0.3 * np.linalg.norm(moving)
    assert 2.4 < np.linalg.norm(moving) < 8.4  # of the order of I3D's, whose training settings are ours


def test_steady_motion_is_no_action():
    """What drifts at constant speed, as a cloud or a moving ground does, leaves no flow."""
    flow = np.zeros((40, 6, 8, 2), np.float32)
    flow[:, :3] = 2.0, -1.0
    assert not oscillation(flow, 8).any()
    flow[20, 5, 5] = 3.0, 0.0
    assert np.argwhere(oscillation(flow, 8).any(-1)).tolist() == [[20, 5, 5]]


def test_camera_motion_is_found_despite_a_mover():
    y, x = np.mgrid[:60, :80]
    camera = np.stack([0.5 + 0.02 * x - 0.01 * y, -1 + 0.015 * y], axis=-1).astype(np.float32)
    flow = np.stack([camera, camera])
    flow[:, 20:40, 30:45] += 4
    assert np.abs(camera_motion(flow) - camera).max() < 0.05


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 4, 8]), st.sampled_from([np.pi, 2 * np.pi]))
def test_orientations_against_a_loop(seed, bins, full_turn):
    rng = np.random.default_rng(seed)
    dx, dy = rng.normal(size=(2, 2, 9, 13)).astype(np.float32) * rng.integers(0, 2, (2, 9, 13))
    Y, X = round(2 * 9 / 8), round(2 * 13 / 8)
    expected = np.zeros((2, Y, X, bins))
    for b, i, j in np.ndindex(dx.shape):
        length = np.hypot(dx[b, i, j], dy[b, i, j])
        position = (np.arctan2(dy[b, i, j], dx[b, i, j]) % full_turn) * bins / full_turn
        lower = int(position)
        for bin_, share in ((lower, 1 - position + lower), (lower + 1, position - lower)):
            expected[b, i * Y // 9, j * X // 13, bin_ % bins] += share * length
    assert np.allclose(orientations(dx, dy, bins, full_turn), expected, atol=5e-3)  # OpenCV's arctangent is approximate


def test_mirror_is_what_a_mirror_shows():
    rng = np.random.default_rng(0)
    u, v, grey = rng.normal(size=(3, 1, 16, 16)).astype(np.float32)

    def describe(u, v, grey):
        pairs = (u, v), np.gradient(u, axis=(2, 1)), np.gradient(v, axis=(2, 1)), np.gradient(grey, axis=(2, 1))
        turns = descriptors.FULL_TURN
        return np.stack([orientations(*pair, 8, turn) for pair, turn in zip(pairs, turns, strict=True)], axis=3)

    assert np.allclose(mirror(describe(u, v, grey)), describe(-u[..., ::-1], v[..., ::-1], grey[..., ::-1]), atol=2e-2)


def test_the_grid_lies_on_what_moves():
    energy = np.zeros((3, 15, 20), np.float32)
    energy[0, 3:7, 10:14] = 1
    energy[1, 9:15, 0:6] = 1  # at the edge of the picture; and the last has no motion at all
    rows, columns = place_grid(energy, 4)
    assert rows.shape == (3, 4, 15)
    assert columns.shape == (3, 4, 20)
    assert np.average(np.arange(15) + 0.5, weights=rows[0].sum(0)) == pytest.approx(5, abs=0.3)
    assert np.average(np.arange(20) + 0.5, weights=columns[0].sum(0)) == pytest.approx(12, abs=0.3)
    assert rows[1].sum(0)[:6].max() == 0
    assert np.isfinite(rows).all()
    assert rows.max() <= 1
    # every cell under the grid's inner part counts once
    assert np.allclose(rows[0].sum(0)[4:6], 1)


def test_projection_keeps_distances():
    model = engine(dimension=256)
    assert model.dimension == 256
    x = np.random.default_rng(0).normal(size=(20, 448)).astype(np.float32)
    full, short = (
        np.linalg.norm(f[:, None] - f[None], axis=-1)[np.triu_indices(20, 1)] for f in (x, x @ model.projection)
    )
    assert np.allclose(short / full, 1, atol=0.2)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"bins": 7}, "features.descriptors.bins: 7; expected an even number"),
        ({"dimension": 449}, "features.descriptors.dimension: 449"),
    ],
)
def test_settings_that_make_no_sense(settings_, message):
    with pytest.raises(InputError, match=message):
        engine(**settings_)
