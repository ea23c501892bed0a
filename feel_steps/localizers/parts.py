"""What several localizers are made of.

Dimensions: B videos, T snippets, F features, E embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feel_steps.errors import InputError
from feel_steps.localizers.winograd import Winograd, applies


class SnippetConv(nn.Conv1d):
    """A temporal convolution as one matrix product, on [B, T, F] and with the names and shapes of ``nn.Conv1d``.

    The weight [E, F, k] lies in memory as [E, k, F], so that the product needs no copy of it.

    Raises
    ------
    InputError
        The kernel is even: snippets would lie between those that came in.
    """

    def __init__(self, features: int, out: int, kernel: int, bias: bool = True) -> None:
        if kernel % 2 == 0:
            raise InputError(
                f"localizer: a convolution over {kernel} snippets has no middle one; expected an odd number"
            )
        super().__init__(features, out, kernel, padding=kernel // 2, bias=bias)
        self.weight = nn.Parameter(self.weight.detach().transpose(1, 2).contiguous().transpose(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        if applies(x, self.weight):
            return Winograd.apply(x, self.weight, self.bias)
        pad = self.kernel_size[0] // 2
        windows = F.pad(x, (0, 0, pad, pad)).unfold(1, self.kernel_size[0], 1)  # [B, T, F, k]
        x = windows.transpose(2, 3).flatten(2)  # [B, T, k·F]
        return F.linear(x, self.weight.transpose(1, 2).flatten(1), self.bias)  # [B, T, E]


def drop(x: Tensor, share: float) -> Tensor:
    """Dropout by 16 random bits a value, a third of the cost of ``F.dropout`` on a CPU."""
    if not share:
        return x
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)
    return x * (bits >= round(share * 2**16) - 2**15) * (1 / (1 - share))


def median(x: Tensor) -> Tensor:
    """Median of each row of [B, T] as [B, 1]; between the two middle values where T is even."""
    ordered, T = x.sort(1).values, x.shape[1]
    return (ordered[:, (T - 1) // 2] + ordered[:, T // 2])[:, None] / 2


def top(scores: Tensor, k: int) -> Tensor:
    """Places [B, k] of the k highest scores of each row of [B, T]; the earlier first among equals."""
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :k]


def gather(embedding: Tensor, places: Tensor) -> Tensor:
    """Snippets of [B, T, E] at the places [B, k], as float32 [B, k, E]."""
    return embedding.gather(1, places[:, :, None].expand(-1, -1, embedding.shape[2])).float()


def info_nce(query: Tensor, key: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """InfoNCE of query [B, E] against one positive key [B, E] and negatives [B, k, E], all compared by cosine."""
    query, key, negatives = (F.normalize(v, dim=-1) for v in (query, key, negatives))
    positive = (query * key).sum(1, keepdim=True)  # [B, 1]
    negative = (negatives @ query[:, :, None])[:, :, 0]  # [B, k]
    logits = torch.cat([positive, negative], 1) / temperature
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))
