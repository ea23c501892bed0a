"""A localizer that learns how to see its features: a residual adapter in front, trained with it.

In FEEL the features are given and only the localizer learns. With an adapter the localizer's loss reaches the snippet
features x as well, by x + W2 relu(W1 x); the next iteration can cluster what comes out (``pool: {views: [adapted]}``).

Dimensions: B videos, T snippets, F features, K classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from feel_steps.localizers.base import Localizer, Outputs


class Adapted(nn.Module):
    """Any localizer behind an adapter; its own weights keep their names, behind ``localizer.``.

    At the start W2 is zero and the localizer sees its features as they are.

    Parameters
    ----------
    localizer : Localizer
    width : int
        Rows of W1.
    """

    def __init__(self, localizer: Localizer, width: int) -> None:
        super().__init__()
        self.localizer, self.settings = localizer, localizer.settings | {"adapter": width}
        self.narrow = nn.Linear(localizer.settings["features"], width)
        self.widen = nn.Linear(width, localizer.settings["features"], bias=False)
        nn.init.zeros_(self.widen.weight)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Look at videos, x [B, T, F]; besides what the localizer returns, ``adapted`` [B, T, F]."""
        adapted = x + self.widen(F.relu(self.narrow(x)))
        return {**self.localizer(adapted), "adapted": adapted}

    def loss(self, outputs: Outputs, labels: Tensor) -> Outputs:
        """As the localizer has it, for labels [B, K]."""
        return self.localizer.loss(outputs, labels)
