"""CO2-Net's losses are what the paper says, and it finds action from video labels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from feel_steps.errors import InputError
from feel_steps.localizers import weights
from feel_steps.localizers.co2net import COACTIVITY_MARGIN, CO2Net
from feel_steps.train import train
from tests.tiny import make_snippets

SMALL = {"hidden": 16, "attention_hidden": 8}


def make(features=6, clusters=3, **settings):
    torch.manual_seed(0)
    return CO2Net(features, clusters, **(SMALL | settings))


def slow_coactivity(embedding, cas, labels):
    """The same loss, pair by pair."""
    losses = []
    B, T, _ = embedding.shape
    for k in range(labels.shape[1]):
        for i in range(B):
            for j in range(i + 1, B):
                if not (labels[i, k] and labels[j, k]):
                    continue
                share = [cas[n, :, k].softmax(0) for n in (i, j)]
                high = [share[n] @ embedding[v] for n, v in enumerate((i, j))]
                low = [((1 - share[n]) / (T - 1)) @ embedding[v] for n, v in enumerate((i, j))]
                apart = 1 - F.cosine_similarity(high[0], high[1], 0)
                mixed = [1 - F.cosine_similarity(high[n], low[1 - n], 0) for n in (0, 1)]
                losses.append(sum((apart - m + COACTIVITY_MARGIN).clamp(min=0) for m in mixed) / 2)
    return sum(losses) / len(losses)


def test_coactivity_agrees_with_a_loop_over_pairs():
    """Videos with two classes pair up once for each; pairs of different classes do not count."""
    generator = torch.Generator().manual_seed(0)
    embedding, cas = torch.rand(5, 7, 4, generator=generator), torch.randn(5, 7, 3, generator=generator)
    labels = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1]])
    ours = make().coactivity(embedding, cas, labels)
    assert ours.item() == pytest.approx(slow_coactivity(embedding, cas, labels).item(), rel=1e-5)


def test_a_batch_without_a_pair_has_no_coactivity():
    model = make()
    losses = model.loss(model(torch.rand(3, 9, 6)), torch.eye(3))
    assert losses["coactivity"].item() == 0 and torch.isfinite(losses["loss"])


def test_terms_weigh_as_the_settings_say():
    given = {"sparsity_weight": 0.5, "opposition_weight": 0.0, "coactivity_weight": 2.0, "mutual_weight": 3.0}
    model = make(**given)
    terms = model.loss(model(torch.rand(4, 9, 6)), torch.eye(3)[[0, 1, 2, 0]])
    expected = terms["action"] + terms["suppressed"]
    expected = expected + sum(weight * terms[name.removesuffix("_weight")] for name, weight in given.items())
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_perfect_outputs_cost_nothing_but_sparsity():
    """Attention of 1 on action and 0 on background, and certain classes: opposition and mutual learning are content."""
    model = make(clusters=2)
    attention = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    cas = torch.where(attention[..., None] > 0, torch.tensor([40.0, 0, 0]), torch.tensor([0.0, 0, 40]))
    outputs = {
        "cas": cas, "actionness": attention, "attention_rgb": attention, "attention_flow": attention,
        "embedding": torch.rand(1, 4, 16),
    }  # fmt: skip
    terms = model.loss(outputs, torch.tensor([[1.0, 0.0]]))
    assert terms["opposition"].item() < 1e-6 and terms["mutual"].item() == 0
    assert terms["suppressed"].item() < 1e-6
    assert terms["action"].item() == pytest.approx(np.log(2), rel=1e-5)  # half action, half background
    assert terms["sparsity"].item() == 0.5


@pytest.mark.parametrize("length", [1, 2, 19])
def test_very_short_videos_have_finite_losses(length):
    model = make(features=5, clusters=2)
    losses = model.loss(model(torch.randn(3, length, 5)), F.one_hot(torch.tensor([0, 1, 1]), 2).float())
    losses["loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())


def test_features_without_two_halves_are_refused():
    with pytest.raises(InputError, match="features of dimension 1 have no two halves"):
        weights.build("co2net", 1, 2)


def test_it_learns_which_snippets_are_action_and_repeats():
    snippets, labels = make_snippets(), np.array([0, 1, 0, 1, 0, 1])

    def run():
        return train(
            snippets, np.arange(6), labels, clusters=2, localizer="co2net", steps=150, batch=6,
            settings={"hidden": 32, "attention_hidden": 32},
            length=20, learning_rate=5e-3, threads=1,
        )  # fmt: skip

    model, table = run()
    assert list(table)[3:] == ["action", "suppressed", "sparsity", "opposition", "coactivity", "mutual"]
    assert table["loss"][-1] < 0.7 * table["loss"][0]
    seen = model(torch.from_numpy(make_snippets(seed=1).video(3))[None])
    assert seen["video_scores"].argmax() == 1
    assert seen["actionness"][0, 16:29].mean() > 2 * seen["actionness"][0, :14].mean()
    assert seen["activation"][0, 16:29, 1].mean() > 2 * seen["activation"][0, :14, 1].mean()
    for name, value in run()[0].state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
