"""A convolution by fewer products: it has to be the convolution, but for bfloat16's rounding."""

import pytest
import torch

from feel_steps.localizers import winograd
from feel_steps.localizers.parts import SnippetConv


@pytest.fixture
def layer(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(winograd, "LARGE", 32 * 64)
    return SnippetConv(64, 32, 3)


def gradients(layer, out):
    layer.zero_grad()
    weights = torch.linspace(0.5, 1.5, out.numel()).view(out.shape)  # another gradient everywhere
    (out.float() * weights).sum().backward()
    return layer.weight.grad.clone(), layer.bias.grad.clone()


@pytest.mark.parametrize("T", [1, 2, 7, 64])
def test_outputs_and_gradients_are_the_convolutions(layer, T):
    x = torch.randn(3, T, 64)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert winograd.applies(x, layer.weight)
        out = layer(x)
    assert out.dtype == torch.bfloat16 and out.shape == exact.shape
    for found, expected in zip((out, *gradients(layer, out)), (exact, *gradients(layer, exact)), strict=True):
        assert (found - expected).norm() < 0.01 * expected.norm()  # bfloat16 has 8 bits


def test_gradient_lies_in_memory_as_the_weight_does(layer):
    """Otherwise every step would copy both for Adam."""
    with torch.autocast("cpu", torch.bfloat16):
        gradients(layer, layer(torch.randn(2, 5, 64)))
    assert layer.weight.grad.stride() == layer.weight.stride()


def test_other_layers_are_as_they_were(layer):
    """float32 stays exact; small layers, and inner ones whose input has a gradient, gain nothing."""
    x = torch.randn(2, 5, 64)
    assert not winograd.applies(x, layer.weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.applies(x, SnippetConv(64, 31, 3).weight)
        assert not winograd.applies(x, SnippetConv(64, 32, 1).weight)
        assert not winograd.applies(x.requires_grad_(), layer.weight)
