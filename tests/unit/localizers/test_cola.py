"""CoLA gives what the published program gives, and its shortcuts change nothing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from feel_steps.errors import InputError
from feel_steps.localizers.cola import CoLA, dilate, erode
from feel_steps.localizers.parts import SnippetConv, drop, median, top
from feel_steps.train import Adam
from tests.paths import find_golden


def reference(name):
    golden = np.load(find_golden(f"dev_cola_{name}.npz"))
    weights = {key[6:]: torch.tensor(golden[key]) for key in golden.files if key.startswith("param:")}
    return golden, weights


def state_of(features, clusters, hidden=8, seed=0, **extra):
    torch.manual_seed(seed)
    return CoLA(features, clusters, hidden=hidden, **extra)


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("training", [False, True])
def test_outputs_losses_and_gradients_are_the_published_ones(name, training):
    golden, weights = reference(name)
    model = CoLA.from_reference(weights, dropout=0.0).train(training)
    outputs = model(torch.tensor(golden["x"]))
    losses = model.loss(outputs, torch.tensor(golden["y"]))
    losses["loss"].backward()
    for ours, theirs in [("video_scores", "video_scores"), ("actionness", "actionness"), ("activation", "cas")]:
        np.testing.assert_allclose(outputs[ours].detach(), golden[theirs], rtol=1e-4, atol=1e-6)
    for kind, snippets in model.mine(outputs).items():
        np.testing.assert_allclose(snippets.mean(1).detach(), golden[f"mean_{kind}"], rtol=1e-4, atol=1e-6)
    for ours, theirs in [("loss", "total"), ("action", "action"), ("contrast", "snico")]:
        assert losses[ours].item() == pytest.approx(golden[f"loss_{theirs}"].item(), rel=1e-4)
    for key, weight in model.named_parameters():
        assert weight.grad.norm().item() == pytest.approx(golden[f"gradnorm:{key}"].item(), rel=1e-4)


@given(
    st.lists(st.booleans(), min_size=1, max_size=30),
    st.integers(min_value=1, max_value=9),
)
@settings(max_examples=200, deadline=None)
def test_pooling_is_scipys_morphology(row, size):
    binary, structure = np.array([row]), np.ones((1, size))
    as_tensor = torch.tensor(binary, dtype=torch.float32)
    np.testing.assert_array_equal(dilate(as_tensor, size), ndimage.binary_dilation(binary, structure))
    np.testing.assert_array_equal(erode(as_tensor, size), ndimage.binary_erosion(binary, structure))


@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_median_is_numpys(length):
    x = torch.randn(3, length, generator=torch.Generator().manual_seed(length))
    np.testing.assert_allclose(median(x)[:, 0], np.median(x.numpy(), 1), rtol=1e-6)


def test_ties_are_broken_by_time_so_that_runs_repeat():
    assert top(torch.tensor([[0.0, 1.0, 0.0, 1.0]]), 3).tolist() == [[1, 3, 0]]


@pytest.mark.parametrize("kernel", [1, 3, 9])
def test_the_convolution_is_torchs_with_gradients(kernel):
    torch.manual_seed(0)
    conv = SnippetConv(5, 4, kernel)
    x = torch.randn(2, 11, 5, requires_grad=True)
    w, b = conv.weight.detach().clone().requires_grad_(), conv.bias.detach().clone().requires_grad_()
    y = x.detach().clone().requires_grad_()
    weight = torch.randn(2, 11, 4) * (torch.rand(2, 11, 1) > 0.5)  # rows without a gradient
    (conv(x) * weight).sum().backward()
    (F.conv1d(y.transpose(1, 2), w, b, padding=kernel // 2).transpose(1, 2) * weight).sum().backward()
    for ours, theirs in [(conv.weight.grad, w.grad), (conv.bias.grad, b.grad), (x.grad, y.grad)]:
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("head", ["thumos", "activitynet"])
def test_weights_travel_by_the_published_names(head):
    model = state_of(6, 3, head=head, kernel=9, class_kernel=9, M=9).eval()
    state = {f"module.{name}": weight for name, weight in model.state_dict().items()}
    again = CoLA.from_reference(state).eval()
    assert again.settings["head"] == head
    x = torch.randn(2, 20, 6)
    torch.testing.assert_close(again(x)["activation"], model(x)["activation"])


def test_foreign_weights_are_refused_by_name():
    with pytest.raises(InputError, match="actionness_module.f_embed.0.weight.* is missing"):
        CoLA.from_reference({"conv.weight": torch.zeros(1)})


@pytest.mark.parametrize("length", [1, 2, 19])
def test_very_short_videos_have_finite_losses(length):
    """A demo of tiny videos trains at lengths below r_easy and r_hard, where T // r is 0."""
    model = state_of(4, 2)
    losses = model.loss(model(torch.randn(3, length, 4)), F.one_hot(torch.tensor([0, 1, 1]), 2).float())
    losses["loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())


def test_dropout_keeps_its_share_and_the_mean():
    torch.manual_seed(0)
    dropped = drop(torch.ones(1001, 1000), 0.7)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.7, abs=2e-3)
    assert dropped.mean().item() == pytest.approx(1, abs=5e-3)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.3])


def train_to_tell_apart(clusters, steps, **settings):
    """Share of videos that a small network with the ActivityNet head classifies right; their classes are separable."""
    rng, one_hot = np.random.default_rng(0), torch.eye(clusters)
    model = state_of(clusters, clusters, hidden=128, kernel=1, head="activitynet", r_easy=3, r_hard=8, **settings)
    optimizer = Adam(model.parameters(), 1e-2, weight_decay=5e-4)

    def draw(labels):  # one video each: three of ten snippets show the class by a feature of its own
        x = torch.from_numpy(rng.random((len(labels), 10, clusters), np.float32)) * 0.1
        x[:, 4:7] += 10 * one_hot[labels][:, None]
        return x

    for _ in range(steps):
        labels = rng.permutation(clusters)[:64]
        optimizer.descend(model.loss(model(draw(labels)), one_hot[labels])["loss"])
    labels = np.arange(clusters)
    return float((model.eval()(draw(labels))["video_scores"].argmax(1).numpy() == labels).mean())


def test_a_hundred_classes_are_learned():
    """With ActivityNet's classes the published mean over classes leaves the network where it started."""
    assert train_to_tell_apart(100, 100) > 0.6
    assert train_to_tell_apart(100, 100, published_loss=True) < 0.1


@pytest.mark.parametrize("clusters", [2, 20])
def test_up_to_twenty_classes_the_loss_is_the_published_one(clusters):
    """THUMOS'14's results, and those of every smaller run, must not move."""
    x, y = torch.rand(4, 12, 6), torch.eye(clusters)[torch.arange(4) % clusters]
    losses = []
    for published in (False, True):
        model = state_of(6, clusters, published_loss=published)  # seeds the dropout, too
        losses.append(model.loss(model(x), y)["loss"].item())
    assert losses[0] == losses[1]
