"""A temporal convolution over three snippets by a third fewer products, for large layers in bfloat16 on a CPU.

Winograd's minimal filtering F(2, 3) (Lavin and Gray, CVPR 2016): two neighbouring outputs need four products of sums of
inputs and of weights instead of six. The rounding of bfloat16 weighs 1.7 times as much, in outputs and in gradients.

Dimensions: B videos, T snippets, P pairs of snippets, F features, E outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# weights of a kernel's snippet from which on the sums cost less than they save; at 448 x 256 they cost more
LARGE = 2**20


def applies(x: Tensor, weight: Tensor) -> bool:
    """Whether a convolution of x [B, T, F] by weight [E, F, k] is one for :class:`Winograd`."""
    return (
        weight.shape[2] == 3
        and weight.shape[0] * weight.shape[1] >= LARGE
        and x.device.type == "cpu"
        and not x.requires_grad  # so it is the first layer
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )


class Winograd(torch.autograd.Function):
    """Convolve x [B, T, F], padded by a zero on either side, by weight [E, F, 3], and add bias [E]: bfloat16 [B, T, E].

    Gradients are those of weight and bias, in float32; the weight's lies in memory as the weight does, [E, 3, F].
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        (B, T, F), E, P = x.shape, len(weight), -(-x.shape[1] // 2)
        padded = x.new_zeros((B, 2 * P + 2, F), dtype=torch.bfloat16)
        padded[:, 1 : T + 1] = x
        even, odd = padded[:, 0::2], padded[:, 1::2]
        sums = padded.new_empty((4, B, P, F))
        torch.sub(even[:, :-1], even[:, 1:], out=sums[0])
        torch.add(odd[:, :-1], even[:, 1:], out=sums[1])
        torch.sub(even[:, 1:], odd[:, :-1], out=sums[2])
        torch.sub(odd[:, :-1], odd[:, 1:], out=sums[3])
        sums = sums.view(4, B * P, F)
        first, middle, last = weight.unbind(2)
        ends = (first + last) / 2
        kernels = first, ends + middle / 2, ends - middle / 2, last
        a, b, c, d = (
            (part @ kernel.to(part.dtype).t()).view(B, P, E) for part, kernel in zip(sums, kernels, strict=True)
        )
        out = padded.new_empty((B, P, 2, E))
        torch.add(b, c, out=out[:, :, 0]).add_(a)
        torch.sub(b, c, out=out[:, :, 1]).sub_(d)
        if bias is not None:
            out += bias.to(out.dtype)
        ctx.save_for_backward(sums)
        ctx.has_bias = bias is not None
        return out.view(B, 2 * P, E)[:, :T]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor | None]:  # type: ignore[override]
        (sums,) = ctx.saved_tensors
        B, T, E = gradient.shape
        pairs = torch.nn.functional.pad(gradient, (0, 0, 0, T % 2)).view(B, -1, 2, E)
        left, right = pairs[:, :, 0], pairs[:, :, 1]
        parts = left, left + right, left - right, -right
        a, b, c, d = (part.reshape(-1, E).t() @ those for part, those in zip(parts, sums, strict=True))  # [E, F]
        found = gradient.new_empty((E, 3, sums.shape[2]), dtype=torch.float32)
        ends = (b.float() + c) / 2
        torch.add(ends, a, out=found[:, 0])
        torch.sub(b.float(), c, out=found[:, 1]).div_(2)
        torch.add(ends, d, out=found[:, 2])
        own = gradient.sum((0, 1), dtype=torch.float32) if ctx.has_bias else None
        return None, found.transpose(1, 2), own
