"""What a localizer must offer to train and attend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, Self

from torch import Tensor
from torch.nn import Parameter

Outputs = Mapping[str, Tensor]


class Localizer(Protocol):
    """A :class:`torch.nn.Module` that learns from video labels when actions happen.

    Built as ``Name(features, clusters, **settings)``; what must be known to build it again stands in ``settings``
    (JSON values, ``features`` and ``clusters`` among them). Random numbers come from PyTorch's global generators,
    which the caller seeds.
    """

    settings: dict[str, Any]

    def __call__(self, x: Tensor) -> Outputs:
        """Look at videos, x [B, T, F].

        Returns
        -------
        mapping
            ``video_scores`` [B, K], the probability of each class; ``actionness`` [B, T], how much a snippet looks
            like action; ``activation`` [B, T, K], how much it looks like each class; ``embedding`` [B, T, E]. More
            may be there for ``loss``.
        """

    def loss(self, outputs: Outputs, labels: Tensor) -> Outputs:
        """Compare outputs with labels [B, K] in {0, 1}: ``loss``, a scalar to minimise, and its terms by name."""

    # the rest is nn.Module's
    def parameters(self) -> Iterator[Parameter]: ...
    def state_dict(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> object: ...
    def to(self, device: Any) -> Self: ...
    def train(self) -> Self: ...
    def eval(self) -> Self: ...
