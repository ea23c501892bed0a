"""CO2-Net, where appearance and motion filter each other (Hong et al., ACM Multimedia 2021, arXiv 2107.12589).

The method's: each half of the features, appearance and motion, passes a gate, made of its own global context times the
other half's local context (cross-modal consensus; paper, section 3.2), and yields an attention. The two attentions
learn from each other, and their mean suppresses background. Videos are classified with a background class twice,
before and after suppression. Attention stands against the probability of background and is kept sparse. Two videos of
one class must agree where they are active and differ elsewhere (co-activity, of W-TALC).

Our reading, from the paper and not compared with the authors' program: appearance is the first half of a feature and
motion the rest, whatever the extractor; batches are random, so that co-activity acts on the pairs that a batch happens
to hold; ``video_scores`` are over the K classes, without background; ``activation`` is attention times class
probability.

Dimensions: B videos, T snippets, F features, E embedding, K classes (column K: background), M labels of a batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feel_steps.errors import InputError
from feel_steps.localizers.base import Outputs
from feel_steps.localizers.parts import SnippetConv, drop, top

SLOPE = 0.2  # of the leaky ReLUs
CCM_DROPOUT = 0.5  # in the consensus modules
COACTIVITY_MARGIN = 0.5


class Dropout(nn.Module):
    """Dropout of a share, the cheap way."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        return drop(x, self.share if self.training else 0.0)


def _layer(channels: int, out: int, kernel: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(SnippetConv(channels, out, kernel), nn.LeakyReLU(SLOPE), Dropout(dropout))


class Consensus(nn.Module):
    """Cross-modal consensus module: re-calibrates the main half of the features, and attends.

    Parameters
    ----------
    main, auxiliary : int
        Dimensions of the two halves.
    hidden : int
        Channels of the attention.
    """

    def __init__(self, main: int, auxiliary: int, hidden: int) -> None:
        super().__init__()
        self.global_context = _layer(main, main, 1, CCM_DROPOUT)
        self.local_context = _layer(auxiliary, main, 3, CCM_DROPOUT)
        self.attention = nn.Sequential(
            _layer(main, hidden, 3, CCM_DROPOUT), _layer(hidden, hidden, 3, CCM_DROPOUT), SnippetConv(hidden, 1, 1)
        )

    def forward(self, main: Tensor, auxiliary: Tensor) -> tuple[Tensor, Tensor]:
        """Filter ``main`` [B, T, F_main]; returns it, and the attention [B, T]."""
        gate = (self.global_context(main.mean(1, keepdim=True)) * self.local_context(auxiliary)).sigmoid()
        filtered = gate * main
        return filtered, self.attention(filtered)[:, :, 0].float().sigmoid()


class CO2Net(nn.Module):
    """The network of two consensus modules, a fusion and a classifier.

    Parameters
    ----------
    features, clusters : int
        F and K.
    hidden : int
        E, of the fused embedding.
    attention_hidden : int
        Channels of the attentions.
    r_class : int
        A video's score of a class is over T / r_class snippets.
    dropout : float
        Share of the embedding that is dropped before the classifier.
    sparsity_weight, opposition_weight, coactivity_weight, mutual_weight : float
        Of the attentions' mean, of their opposition to background, of co-activity and of mutual learning.
    """

    def __init__(
        self,
        features: int,
        clusters: int,
        *,
        hidden: int = 2048,
        attention_hidden: int = 512,
        r_class: int = 7,
        dropout: float = 0.7,
        sparsity_weight: float = 0.8,
        opposition_weight: float = 0.8,
        coactivity_weight: float = 1.0,
        mutual_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "features": features, "clusters": clusters, "hidden": hidden, "attention_hidden": attention_hidden,
            "r_class": r_class, "dropout": dropout, "sparsity_weight": sparsity_weight,
            "opposition_weight": opposition_weight, "coactivity_weight": coactivity_weight,
            "mutual_weight": mutual_weight,
        }  # fmt: skip
        if features < 2:
            raise InputError(f"localizer 'co2net': features of dimension {features} have no two halves; use 'cola'")
        self.r_class, self.halves = r_class, [features // 2, features - features // 2]
        self.appearance = Consensus(self.halves[0], self.halves[1], attention_hidden)
        self.motion = Consensus(self.halves[1], self.halves[0], attention_hidden)
        self.fusion = _layer(features, hidden, 1, dropout)
        self.classifier = nn.Sequential(_layer(hidden, hidden, 3, dropout), SnippetConv(hidden, clusters + 1, 1))
        for module in self.modules():
            if isinstance(module, SnippetConv):
                nn.init.kaiming_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Look at videos, x [B, T, F].

        Returns
        -------
        dict
            As :class:`~feel_steps.localizers.base.Localizer` says, and for the loss: ``cas`` [B, T, K + 1], logits with
            the background last; ``attention_rgb``, ``attention_flow`` [B, T], whose mean is ``actionness``.
        """
        rgb, flow = x.split(self.halves, 2)
        filtered_rgb, attention_rgb = self.appearance(rgb, flow)
        filtered_flow, attention_flow = self.motion(flow, rgb)
        embedding = self.fusion(torch.cat([filtered_rgb, filtered_flow], 2))  # [B, T, E]
        cas = self.classifier(embedding).float()  # [B, T, K + 1]
        actionness = (attention_rgb + attention_flow) / 2
        suppressed = self._pool(cas * actionness[:, :, None])  # [B, K + 1]
        return {
            "video_scores": suppressed[:, :-1].softmax(1),
            "actionness": actionness,
            "activation": actionness[:, :, None] * cas.softmax(2)[:, :, :-1],
            "embedding": embedding,
            "cas": cas,
            "attention_rgb": attention_rgb,
            "attention_flow": attention_flow,
        }

    def _pool(self, cas: Tensor) -> Tensor:
        """Mean over the T / r_class highest logits of each class, [B, K + 1]."""
        return cas.gather(1, top(cas.detach(), max(1, cas.shape[1] // self.r_class))).mean(1)

    def coactivity(self, embedding: Tensor, cas: Tensor, labels: Tensor) -> Tensor:
        """Let two videos of one class agree where that class is active, and differ elsewhere (W-TALC, section 3.4).

        Parameters
        ----------
        embedding : [B, T, E]
        cas : [B, T, K]
        labels : [B, K]
            In {0, 1}.
        """
        video, cluster = labels.nonzero(as_tuple=True)  # [M]
        share = cas[video, :, cluster].softmax(1)  # [M, T]
        rest = (1 - share) / max(cas.shape[1] - 1, 1)
        snippets = embedding.float()[video]  # [M, T, E]
        active, inactive = (F.normalize((w[:, :, None] * snippets).sum(1), dim=1) for w in (share, rest))  # [M, E]
        apart, mixed = 1 - active @ active.T, 1 - active @ inactive.T  # cosine distances [M, M]
        excess = F.relu(apart - mixed + COACTIVITY_MARGIN) + F.relu(apart - mixed.T + COACTIVITY_MARGIN)
        pairs = (cluster[:, None] == cluster).triu(1)  # a video has a class once, so two entries are two videos
        return (excess * pairs).sum() / (2 * pairs.sum().clamp(min=1))

    def loss(self, outputs: Outputs, labels: Tensor) -> dict[str, Tensor]:
        """Classify with and without suppression, and shape the attentions, for labels [B, K] in {0, 1}.

        Returns
        -------
        dict
            ``loss`` = ``action`` + ``suppressed`` + sparsity_weight · ``sparsity`` + opposition_weight · ``opposition``
            + coactivity_weight · ``coactivity`` + mutual_weight · ``mutual``, scalars.
        """
        cas, actionness = outputs["cas"], outputs["actionness"]
        rgb, flow = outputs["attention_rgb"], outputs["attention_flow"]
        every, none = (torch.cat([labels, torch.full_like(labels[:, :1], there)], 1) for there in (1.0, 0.0))
        suppressed = cas * actionness[:, :, None]
        terms = {  # each video shows background, and none once it is suppressed
            "action": F.cross_entropy(self._pool(cas), every / every.sum(1, keepdim=True)),
            "suppressed": F.cross_entropy(self._pool(suppressed), none / none.sum(1, keepdim=True)),
        }
        attentions = torch.stack([rgb, flow, actionness])  # [3, B, T]
        terms["sparsity"] = attentions.mean()
        terms["opposition"] = (1 - attentions - cas.softmax(2)[:, :, -1]).abs().mean()
        terms["coactivity"] = self.coactivity(outputs["embedding"], suppressed[:, :, :-1], labels)
        terms["mutual"] = (F.mse_loss(rgb, flow.detach()) + F.mse_loss(flow, rgb.detach())) / 2
        loss = terms["action"] + terms["suppressed"]
        for name in ("sparsity", "opposition", "coactivity", "mutual"):
            loss = loss + self.settings[f"{name}_weight"] * terms[name]
        return {"loss": loss, **terms}
