"""AICL's vectorised losses are those of a plain reading of its definition, video by video."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from feel_steps.errors import InputError
from feel_steps.localizers import weights
from feel_steps.localizers.aicl import AICL, generalized_cross_entropy
from feel_steps.train import train
from tests.tiny import make_snippets


def make(features=6, clusters=3, **settings):
    torch.manual_seed(0)
    return AICL(features, clusters, **({"hidden": 8} | settings))


def nce(query, key, negatives):
    def cosine(a, b):
        return a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12) / 0.1

    exponents = [math.exp(cosine(query, other)) for other in (key, *negatives)]
    return -math.log(exponents[0] / sum(exponents))


def plain_losses(state, x, labels):
    """Each term by the definition: nn.Conv1d, a loop over videos, numpy, lists of snippets."""

    def conv(name, value, pad):
        return F.conv1d(value, state[f"{name}.weight"], state[f"{name}.bias"], padding=pad)

    def embed(name, value):
        return conv(f"actionness_module.{name}.0", value, 1).relu()

    wide = x.transpose(1, 2)
    half = x.shape[2] // 2
    base = embed("base_module", wide)
    rgb, flow = embed("action_module_rgb", wide[:, :half]), embed("action_module_flow", wide[:, half:])
    cas = conv("actionness_module.cls.0", base, 0).transpose(1, 2)
    attention = {
        "rgb": conv("actionness_module.cls_rgb", rgb, 0)[:, 0].sigmoid().numpy().astype(float),
        "flow": conv("actionness_module.cls_flow", flow, 0)[:, 0].sigmoid().numpy().astype(float),
    }
    cas = cas.numpy().astype(float)
    B, T, K = cas.shape
    terms = dict.fromkeys(["action", "attention", "contrast", "modality", "consistency"], 0.0)
    for b in range(B):
        probability = np.exp(cas[b]) / np.exp(cas[b]).sum(1, keepdims=True)
        combined = (probability + attention["rgb"][b][:, None] + attention["flow"][b][:, None]) / 3
        best = np.argsort(-combined, axis=0, kind="stable")[: T // 8]  # [T / 8, K]
        logits = np.array([cas[b, best[:, k], k].mean() for k in range(K)])
        log_softmax = logits - np.log(np.exp(logits).sum())
        classes = np.flatnonzero(labels[b])
        terms["action"] -= log_softmax[classes].mean() / B
        chosen = {t for k in classes for t in best[:, k]}
        for name in attention:
            inside = [(1 - attention[name][b, t] ** 0.7) / 0.7 for t in chosen]
            outside = [(1 - (1 - attention[name][b, t]) ** 0.7) / 0.7 for t in range(T) if t not in chosen]
            terms["attention"] += (np.mean(inside) + np.mean(outside)) / B
        aware = 1 / (1 + np.exp(-cas[b].sum(1)))
        agnostic = (attention["rgb"][b] + attention["flow"][b]) / 2
        terms["modality"] += ((attention["rgb"][b] - attention["flow"][b]) ** 2).mean() / B
        terms["consistency"] += ((aware - agnostic) ** 2).mean() / B
        one, two = aware > np.median(aware), agnostic > np.median(agnostic)

        def mine(score, allowed):
            return np.argsort(-np.where(allowed, score, 0), kind="stable")[: T // 20]

        background = aware.max() - aware
        CA, CB = mine(aware, one & two), mine(background, ~one & ~two)
        IA, IB = mine(aware, one ^ two), mine(background, one ^ two)
        for embedding in (base, rgb, flow):
            e = embedding[b].T.numpy().astype(float)
            ca, cb, ia, ib = (e[places].mean(0) for places in (CA, CB, IA, IB))
            terms["contrast"] += (nce(ia, ca, e[CB]) + nce(ca, ia, e[CB])) / B
            terms["contrast"] += (nce(ib, cb, e[CA]) + nce(cb, ib, e[CA])) / B
    weight = {"action": 1, "attention": 1, "contrast": 0.01, "modality": 5, "consistency": 0.1}
    return terms | {"loss": sum(weight[name] * value for name, value in terms.items())}


@pytest.mark.parametrize("length", [40, 87])
@torch.no_grad()
def test_losses_are_those_of_the_plain_definition(length):
    model = make(features=7)
    x = torch.randn(3, length, 7, generator=torch.Generator().manual_seed(length))
    labels = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 1]])
    ours = model.loss(model(x), labels)
    plain = plain_losses(model.state_dict(), x, labels.numpy())
    assert set(ours) == set(plain)
    for name, value in plain.items():
        assert ours[name].item() == pytest.approx(value, rel=1e-4), name


def test_outputs_are_what_detections_need():
    model = make().eval()
    x = torch.randn(2, 30, 6)
    seen = model(x)
    assert seen["video_scores"].sum(1).tolist() == pytest.approx([1, 1])
    assert seen["actionness"].shape == (2, 30)
    assert seen["activation"].shape == (2, 30, 3)
    assert seen["embedding"].shape == (2, 30, 8)
    assert 0 <= seen["activation"].min() <= seen["activation"].max() <= 1
    torch.testing.assert_close(model(x[:1])["activation"], seen["activation"][:1])


def test_mined_snippets_are_on_the_side_they_should_be():
    actionness = torch.linspace(0, 1, 40)[None]
    seen = {"aware": actionness, "actionness": actionness.roll(10, 1)}
    places = {name: row[0].tolist() for name, row in make().mine(seen).items()}
    assert places == {"CA": [39, 38], "CB": [10, 11], "IA": [29, 28], "IB": [0, 1]}


def test_generalized_cross_entropy_lies_between_cross_entropy_and_absolute_error():
    p, target = torch.tensor([[0.2, 0.7, 0.9]]), torch.tensor([[0.0, 1.0, 1.0]])
    absolute = 0.2 + (0.3 + 0.1) / 2
    cross = -math.log(0.8) - (math.log(0.7) + math.log(0.9)) / 2
    assert generalized_cross_entropy(p, target, 1.0).item() == pytest.approx(absolute, rel=1e-5)
    assert generalized_cross_entropy(p, target, 0.01).item() == pytest.approx(cross, rel=1e-2)


@pytest.mark.parametrize("length", [1, 2, 19])
def test_very_short_videos_have_finite_losses(length):
    model = make(features=4, clusters=2)
    losses = model.loss(model(torch.randn(3, length, 4)), F.one_hot(torch.tensor([0, 1, 1]), 2).float())
    losses["loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())


def test_weights_carry_the_published_names_and_shapes():
    """People's AICL checkpoints load by ``load_state_dict``."""
    published = {}
    for name, channels in [("base_module", 6), ("action_module_rgb", 3), ("action_module_flow", 3)]:
        published[f"{name}.0"] = nn.Conv1d(channels, 8, 3)
    published |= {"cls.0": nn.Conv1d(8, 3, 1), "cls_rgb": nn.Conv1d(8, 1, 1), "cls_flow": nn.Conv1d(8, 1, 1)}
    state = {f"actionness_module.{n}.{k}": v for n, conv in published.items() for k, v in conv.state_dict().items()}
    make().load_state_dict(state)


def test_features_without_two_halves_are_refused():
    with pytest.raises(InputError, match="features of dimension 1 have no two halves"):
        weights.build("aicl", 1, 2)


def test_it_learns_which_snippets_are_action_and_repeats():
    snippets, labels = make_snippets(), np.array([0, 1, 0, 1, 0, 1])

    def run():
        return train(
            snippets, np.arange(6), labels, clusters=2, localizer="aicl", settings={"hidden": 16}, steps=100, batch=4,
            length=20, learning_rate=5e-3, threads=1,
        )  # fmt: skip

    model, table = run()
    assert list(table)[3:] == ["action", "attention", "contrast", "modality", "consistency"]
    assert table["loss"][-1] < 0.7 * table["loss"][0]
    seen = model(torch.from_numpy(make_snippets(seed=1).video(3))[None])
    assert seen["video_scores"].argmax() == 1
    # action shows in the first half of the features alone, so the other attention stays in doubt
    assert seen["attention_rgb"][0, 16:29].mean() > 2 * seen["attention_rgb"][0, :14].mean()
    assert seen["activation"][0, 16:29, 1].mean() > 1.4 * seen["activation"][0, :14, 1].mean()
    for name, value in run()[0].state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
