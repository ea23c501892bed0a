"""Any backbone by name: if these fail, a model sees other pictures than it was trained on, or the network is used."""

from __future__ import annotations

import json
import shutil
import socket
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from feel_steps.dataset.video_file import probe, read_frames
from feel_steps.dataset.videos import Video
from feel_steps.errors import InputError
from feel_steps.explore.new_videos import run_extractor
from feel_steps.features.contract import read_contract
from feel_steps.features.extract import extract_part
from feel_steps.features.transformers import Transformers, digest, read_preparation
from feel_steps.features.windows import spread
from feel_steps.tables import tables
from tests.clips import scene, write_video

transformers = pytest.importorskip("transformers")

SIDE = 32
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": SIDE,
    "patch_size": 16,
}
TEXT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 50}
CLIP = {"num_frames": 4, "tubelet_size": 2}
DINO2 = {key: value for key, value in VIT.items() if key != "intermediate_size"}
JEPA = {
    **{key: VIT[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size")},
    **{"crop_size": SIDE, "frames_per_clip": 4, "tubelet_size": 2, "pred_hidden_size": 8, "pred_num_hidden_layers": 1},
    **{"pred_num_attention_heads": 2, "pred_num_mask_tokens": 1},
}
# family -> class of its config, what the config is given, class of the model that is saved
FAMILIES = {
    "clip": ("CLIPConfig", {"vision_config": VIT, "text_config": TEXT, "projection_dim": 8}, "CLIPModel"),
    "siglip": ("SiglipConfig", {"vision_config": VIT, "text_config": TEXT}, "SiglipModel"),
    "dinov2": ("Dinov2Config", DINO2, "Dinov2Model"),
    "dinov3": ("DINOv3ViTConfig", VIT, "DINOv3ViTModel"),
    "vit": ("ViTConfig", VIT, "ViTForImageClassification"),
    "videomae": ("VideoMAEConfig", VIT | CLIP, "VideoMAEForVideoClassification"),
    "vjepa2": ("VJEPA2Config", JEPA, "VJEPA2Model"),
    "timesformer": ("TimesformerConfig", VIT | {"num_frames": 4}, "TimesformerModel"),
}
CLIPS = {"videomae", "vjepa2", "timesformer"}
RATE = {"fps": 25, "window": 8, "stride": 4, "device": "cpu"}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Any connection fails, and says so."""

    def refuse(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a tiny random model of each family, each saved as their authors save theirs."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for family, (config, settings, model) in FAMILIES.items():
        getattr(transformers, model)(getattr(transformers, config)(**settings)).save_pretrained(folder / family)
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = write_video(tmp_path_factory.mktemp("videos") / "v.mp4", scene(30))
    info = probe(path)
    return Video("v", "train", str(path), info.n_frames, info.duration)


def read(video):
    """All frames as every tiny model wants them: SIDE x SIDE at the centre, colours scaled as ImageNet's."""
    frames = np.concatenate(list(read_frames(video.path, fps=25, short_side=SIDE)))
    left = (frames.shape[2] - SIDE) // 2
    x = torch.from_numpy(frames[:, :, left : left + SIDE] / np.float32(255))
    x = (x - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    return x.movedim(-1, 1)  # [frames, 3, SIDE, SIDE]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_gives_what_the_model_itself_gives(models, video, family):
    """Window 2 of a video, through the whole extractor and through the library alone."""
    engine = Transformers(**RATE, model=str(models / family))
    read_so_far = []
    features = engine.extract(video, read_so_far.append)
    assert features.shape == (6, 16) and features.dtype == np.float32 and sum(read_so_far) == 30
    assert np.array_equal(features, engine.extract(video, read_so_far.append))
    alone = {"clip": "CLIPVisionModel", "siglip": "SiglipVisionModel", "vit": "ViTModel", "videomae": "VideoMAEModel"}
    model = getattr(transformers, alone.get(family, FAMILIES[family][2])).from_pretrained(models / family).eval()
    seen = read(video)[2 * 4 + np.array([1, 3, 5, 7])]
    with torch.no_grad():
        if family in CLIPS:
            expected = model(seen[None]).last_hidden_state.mean(1)[0]
        elif family == "vit":  # the classifier was trained without the pooler
            expected = model(seen).last_hidden_state.mean(1).mean(0)
        else:
            expected = model(seen).pooler_output.mean(0)
    np.testing.assert_allclose(features[2], expected.numpy(), atol=2e-5)


def test_the_contract_names_the_model_and_its_files(models, video):
    engine = Transformers(**RATE, model=str(models / "dinov2"), frames=2)
    about = engine.settings
    assert about["model"] == str(models / "dinov2") and about["revision"] == "" and about["frames"] == 2
    assert about["sha256"] == digest(models / "dinov2") and about["precision"] == "float32"
    assert Transformers(**RATE, model=str(models / "dinov2"), sha256=about["sha256"]).settings["sha256"]
    with pytest.raises(InputError, match="the model's files have the digest .*; name the right model"):
        Transformers(**RATE, model=str(models / "dinov3"), sha256=about["sha256"])


def test_a_model_in_the_hubs_cache_is_used_without_a_connection(models, tmp_path, monkeypatch):
    """Its commit is in the contract; what is not in the cache is fetched only where the config says so."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--some--dino"
    shutil.copytree(models / "dinov2", cached / f"snapshots/{commit}")
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for revision in (None, "main", commit):
        engine = Transformers(**RATE, model="some/dino", revision=revision)
        assert engine.settings["revision"] == commit and engine.settings["model"] == "some/dino"
    message = "'some/clip' is no folder, and the hub's cache does not have it; set features.transformers.download: true"
    with pytest.raises(InputError, match=message):
        Transformers(**RATE, model="some/clip")


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        (  # CLIP
            {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
            (40, None, (32, 32)),
        ),
        ({"size": 40, "crop_size": 32, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}, (40, None, (32, 32))),
        ({"size": {"height": 30, "width": 50}, "do_center_crop": False}, (30, (30, 50), None)),  # SigLIP: squeezed
        ({"size": {"height": 30, "width": 50}}, (30, (30, 50), None)),
        ({"video_processor": {"size": {"shortest_edge": 48}, "crop_size": 32}}, (48, None, (32, 32))),
        ({}, (24, None, (24, 24))),
    ],
)
def test_pictures_are_prepared_as_the_models_processor_says(tmp_path, about, expected):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(about))
    config = transformers.ViTConfig(image_size=24)
    found = read_preparation(tmp_path, config)
    assert (found.short_side, found.size, found.crop) == expected
    assert found.mean == ((0, 0, 0) if "image_mean" in about else (0.485, 0.456, 0.406))
    pictures = np.random.default_rng(0).integers(0, 255, (2, found.short_side, 60, 3), np.uint8)
    assert found.fit(pictures).shape == (2, *(found.size or found.crop), 3)


def test_frames_are_spread_evenly_over_the_window():
    assert spread(16, 4).tolist() == [2, 6, 10, 14]
    assert spread(8, 16).tolist() == [i // 2 for i in range(16)]  # more than there are: some twice
    assert spread(1, 1).tolist() == [0]


def test_windows_that_lie_apart_or_share_frames_get_the_same_features(models, video):
    """Each picture is seen once, however many windows need it."""
    dense = Transformers(**RATE | {"stride": 1}, model=str(models / "dinov2")).extract(video, lambda _: None)
    assert len(dense) == 23
    for stride in (3, 8, 11):
        apart = Transformers(**RATE | {"stride": stride}, model=str(models / "dinov2")).extract(video, lambda _: None)
        np.testing.assert_allclose(apart, dense[::stride], atol=1e-5)
    long = Transformers(**RATE | {"window": 31}, model=str(models / "dinov2")).extract(video, lambda _: None)
    assert long.shape == (0, 16)


def test_what_cannot_be_used_is_said_in_one_line(models, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"features\.transformers\.model is not set; name a folder"):
        Transformers(**RATE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no config\.json in it"):
        Transformers(**RATE, model=str(tmp_path / "empty"))
    (tmp_path / "empty/config.json").write_text(json.dumps({"model_type": "unheard-of"}))
    with pytest.raises(InputError, match=r"empty: transformers cannot load this model \(.*unheard-of"):
        Transformers(**RATE, model=str(tmp_path / "empty"))
    transformers.BertModel(
        transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    ).save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match="BertModel takes 'input_ids', no pictures; name a vision model"):
        Transformers(**RATE, model=str(tmp_path / "bert"))
    with pytest.raises(
        InputError,
        match=r"VideoMAEModel cannot see 6 frames of 32 x 32 pixels .*; leave features.transformers.frames out",
    ):
        Transformers(**RATE, model=str(models / "videomae"), frames=6)
    weights = tmp_path / "half"
    shutil.copytree(models / "dinov2", weights)
    tensors = load_file(weights / "model.safetensors")
    save_file({name: value for name, value in tensors.items() if "layer.1" not in name}, weights / "model.safetensors")
    with pytest.raises(InputError, match=r"half: its weights lack '.*layer\.1.*' and \d+ more"):
        Transformers(**RATE, model=str(weights))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"needs the library transformers: pip install 'feel-steps\[backbones\]'"):
        Transformers(**RATE, model=str(models / "dinov2"))


def test_new_videos_are_seen_by_the_runs_model_wherever_it_lies(models, video, tmp_path):
    """What stands in the features is enough to make the extractor again; only a folder that moved is named anew."""
    rate = {key: RATE[key] for key in ("fps", "window", "stride")}
    shutil.copytree(models / "vjepa2", tmp_path / "first")
    manifest = {"video_id": ["v"], "split": ["train"], "path": [video.path], "n_frames": [30], "duration": [1.2]}
    table = {name: np.array(values) for name, values in manifest.items()} | {"part": np.zeros(1, int)}
    part, model = tmp_path / "part.parquet", str(tmp_path / "first")
    extract_part(table, 0, part, extractor="transformers", **rate, device="cpu", model=model, precision="bfloat16")
    contract = read_contract(part)
    assert contract.view_family == "network" and contract.dimension == 16
    features = tables.read(part, "features")["feature"]
    assert np.array_equal(run_extractor(contract, {}, "cpu", 1).extract(video, lambda _: None), features)
    (tmp_path / "first").rename(tmp_path / "second")
    with pytest.raises(InputError, match="first' is no folder, and the hub's cache does not have it"):
        run_extractor(contract, {}, "cpu", 1)
    engine = run_extractor(contract, {"model": str(tmp_path / "second")}, "cpu", 1)
    assert np.array_equal(engine.extract(video, lambda _: None), features)
    with pytest.raises(InputError, match="the model's files have the digest"):
        run_extractor(contract, {"model": str(models / "videomae")}, "cpu", 1)
