"""Several localizers in the place of one: trained side by side, and averaged.

Members start from different weights and drop different embeddings, so they err differently. What they see is averaged;
their embeddings stand side by side. The paper has one localizer; members are our addition, and help most where videos
are few.

Dimensions: B videos, T snippets, F features, E embedding of one member, M members, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from feel_steps.localizers.base import Localizer, Outputs


class Members(nn.Module):
    """M localizers of one kind; a member's weights keep their names, behind ``members.0.`` and so on.

    Parameters
    ----------
    members : sequence of Localizer
    """

    def __init__(self, members: Sequence[Localizer]) -> None:
        super().__init__()
        self.members = nn.ModuleList(cast(Sequence[nn.Module], members))
        self.settings: dict[str, Any] = members[0].settings | {"members": len(members)}

    def forward(self, x: Tensor) -> dict[str, Any]:
        """Look at videos, x [B, T, F].

        Returns
        -------
        dict
            As :class:`~feel_steps.localizers.base.Localizer` says: means over the members, but ``embedding``
            [B, T, M · E]; ``adapted``, where they have adapters; and ``members``, the outputs of each, for the loss.
        """
        each: list[dict[str, Tensor]] = [member(x) for member in self.members]
        means = [name for name in ("video_scores", "actionness", "activation", "adapted") if name in each[0]]
        averaged: dict[str, Any] = {name: torch.stack([outputs[name] for outputs in each]).mean(0) for name in means}
        return {**averaged, "embedding": torch.cat([outputs["embedding"] for outputs in each], 2), "members": each}

    def loss(self, outputs: Outputs, labels: Tensor) -> dict[str, Tensor]:
        """Train every member as if it were alone, for labels [B, K]: sum of the losses, means of the terms."""
        each = [
            cast(Localizer, member).loss(own, labels)
            for member, own in zip(self.members, outputs["members"], strict=True)
        ]
        terms = {name: torch.stack([loss[name] for loss in each]).mean(0) for name in each[0]}
        return {**terms, "loss": torch.stack([loss["loss"] for loss in each]).sum()}
