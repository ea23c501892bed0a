"""An adapter in front of any localizer: off, it changes nothing; on, the loss reaches the features."""

import numpy as np
import pytest
import torch

from feel_steps.attend import attend
from feel_steps.errors import InputError
from feel_steps.localizers import LOCALIZERS, weights
from feel_steps.pool import pool
from feel_steps.tables import tables
from feel_steps.train import train
from tests.tiny import make_snippets, make_videos

each = pytest.mark.parametrize("name", LOCALIZERS)


def build(name, adapter, **extra):
    torch.manual_seed(0)
    return weights.build(name, 6, 2, hidden=8, adapter=adapter, **extra)


def trained(name, adapter):
    chosen = {"clusters": 2, "localizer": name, "settings": {"hidden": 8, "adapter": adapter}, "batch": 4, "length": 20}
    return train(make_snippets(), np.arange(6), np.arange(6) % 2, steps=20, learning_rate=1e-2, threads=1, **chosen)[0]


@each
def test_at_the_start_the_localizer_sees_its_features_as_they_are(name):
    """Else a run with an adapter would start from another network, and comparing the two would mean little."""
    x = torch.randn(2, 30, 6, generator=torch.Generator().manual_seed(0))
    plain, adapted = build(name, 0).eval()(x), build(name, 4).eval()(x)
    assert torch.equal(adapted.pop("adapted"), x)
    assert all(torch.equal(adapted[output], value) for output, value in plain.items())


@each
def test_the_loss_reaches_the_features(name):
    model = build(name, 4)
    model.loss(model(torch.randn(2, 30, 6)), torch.eye(2))["loss"].backward()
    assert model.widen.weight.grad.abs().sum() > 0
    features = torch.from_numpy(make_snippets().video(0))[None]
    assert (trained(name, 4)(features)["adapted"] - features).abs().max() > 0.01


@each
def test_no_adapter_leaves_the_model_file_as_it_was(name, tmp_path):
    for file, settings in {"absent": {}, "zero": {"adapter": 0}}.items():
        torch.manual_seed(0)
        weights.save(weights.build(name, 6, 2, hidden=8, **settings), tmp_path / file)
    assert (tmp_path / "absent").read_bytes() == (tmp_path / "zero").read_bytes()


@each
def test_an_adapted_model_comes_back_from_its_file(name, tmp_path):
    model = trained(name, 4)
    weights.save(model, tmp_path / "model.safetensors")
    again = weights.load(tmp_path / "model.safetensors")
    assert again.settings == model.settings and weights.name_of(again) == name
    features = torch.from_numpy(make_snippets().video(3))[None]
    assert torch.equal(again(features)["adapted"], model(features)["adapted"])


@each
def test_published_weights_load_behind_an_adapter(name):
    published = build(name, 0).state_dict()
    model = build(name, 4)
    model.localizer.load_state_dict(published)
    assert {key.removeprefix("localizer.") for key in model.state_dict() if key.startswith("localizer.")} == set(
        published
    )


@each
def test_adapted_features_are_pooled_where_the_action_is(name, tmp_path):
    snippets, model = make_snippets(), trained(name, 4)
    _, embeddings = attend(model, snippets, make_videos(snippets), threads=1, precision="float32")
    tables.write(tmp_path / "embeddings.parquet", "embeddings", embeddings)
    embeddings = tables.read(tmp_path / "embeddings.parquet", "embeddings")
    pooled = pool(snippets, views=["adapted"], embeddings=embeddings)["adapted"]
    for i in range(len(snippets.video_ids)):
        with torch.no_grad():
            seen = model(torch.from_numpy(snippets.video(i))[None])
        easy = seen["actionness"][0].topk(max(1, seen["actionness"].shape[1] // 5)).indices
        np.testing.assert_allclose(pooled[i], seen["adapted"][0, easy].mean(0), rtol=1e-4, atol=1e-5)


def test_pooling_without_an_adapter_says_what_to_set():
    snippets = make_snippets()
    _, embeddings = attend(trained("cola", 0), snippets, make_videos(snippets), threads=1)
    assert "adapted" not in embeddings
    with pytest.raises(InputError, match="embeddings: no adapted features; .* train.settings.adapter"):
        pool(snippets, views=["adapted"], embeddings=embeddings)


@pytest.mark.parametrize("adapter", [-1, 2.5, True, "wide"])
def test_a_width_of_no_use_is_named(adapter):
    with pytest.raises(InputError, match="'adapter' is .*; expected a whole number of 0"):
        build("cola", adapter)
