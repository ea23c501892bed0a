"""AICL, contrast guided by where two views of actionness disagree (Li, Wang and Liu, AAAI 2023).

The method's: a class-aware branch (class activation; its sum over classes is one view of actionness) and a
class-agnostic branch (attention from appearance and from motion; their mean is the other view); snippets are
consistent where both views call them action, or both background, and inconsistent elsewhere; inconsistent snippets
are drawn to the consistent ones of their kind and away from those of the other, and back; a constraint keeps the two
views close. Architecture, constants and the form of every loss are those of the authors' THUMOS'14 program, whose
names the weights carry.

Our reading: appearance is the first half of a feature and motion the rest, whatever the extractor; ``activation`` is
the mean of class probability and both attentions, from which the program makes its detections; ``actionness`` is the
class-agnostic view, since the class-aware one is not trained to be any snippet's probability; at least one snippet is
mined however short the video.

Dimensions: B videos, T snippets, F features, E embedding, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feel_steps.errors import InputError
from feel_steps.localizers.base import Outputs
from feel_steps.localizers.parts import SnippetConv, gather, info_nce, median, top


def generalized_cross_entropy(p: Tensor, target: Tensor, q: float) -> Tensor:
    """Binary cross-entropy that trusts wrong targets less (Zhang and Sabuncu, NeurIPS 2018).

    Parameters
    ----------
    p, target : [B, T]
        Probability, and what it should be, in {0, 1}; both kinds weigh the same in a video, however many there are.
    q : float
        Between cross-entropy (near 0) and absolute error (1).
    """
    epsilon = 1e-7
    mistrust = ((1 - (right + epsilon) ** q) / q for right in (p, 1 - p))
    terms = ((m * t).sum(1) / (t.sum(1) + epsilon) for m, t in zip(mistrust, (target, 1 - target), strict=True))
    return sum(terms, torch.zeros_like(p[:, 0])).mean()


class AICL(nn.Module):
    """The two-branch network.

    Parameters
    ----------
    features, clusters : int
        F and K.
    hidden : int
        E, of each of the three embeddings.
    r_class : int
        A video's score of a class is over T / r_class snippets.
    r_consistent, r_inconsistent : int
        T / r_consistent consistent and T / r_inconsistent inconsistent snippets are mined of each kind.
    q : float
        Of the generalized cross-entropy by which the attentions learn.
    temperature : float
        Of the contrast.
    contrast_weight, modality_weight, consistency_weight : float
        Of the contrast, of the agreement of appearance and motion, and of that of the two branches.
    kernel : int
        Temporal extent of the embeddings' convolutions, in snippets.
    """

    def __init__(
        self,
        features: int,
        clusters: int,
        *,
        hidden: int = 512,
        r_class: int = 8,
        r_consistent: int = 20,
        r_inconsistent: int = 20,
        q: float = 0.7,
        temperature: float = 0.1,
        contrast_weight: float = 0.01,
        modality_weight: float = 5.0,
        consistency_weight: float = 0.1,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "features": features, "clusters": clusters, "hidden": hidden, "r_class": r_class,
            "r_consistent": r_consistent, "r_inconsistent": r_inconsistent, "q": q, "temperature": temperature,
            "contrast_weight": contrast_weight, "modality_weight": modality_weight,
            "consistency_weight": consistency_weight, "kernel": kernel,
        }  # fmt: skip
        if features < 2:
            raise InputError(f"localizer 'aicl': features of dimension {features} have no two halves; use 'cola'")
        self.r_class, self.r_consistent, self.r_inconsistent = r_class, r_consistent, r_inconsistent
        self.q, self.temperature, self.contrast_weight = q, temperature, contrast_weight
        self.modality_weight, self.consistency_weight = modality_weight, consistency_weight
        self.halves = [features // 2, features - features // 2]

        def embed(channels: int) -> nn.Sequential:
            return nn.Sequential(SnippetConv(channels, hidden, kernel), nn.ReLU())

        self.actionness_module = nn.ModuleDict(
            {
                "base_module": embed(features),
                "cls": nn.Sequential(SnippetConv(hidden, clusters, 1)),
                "action_module_rgb": embed(self.halves[0]),
                "cls_rgb": SnippetConv(hidden, 1, 1),
                "action_module_flow": embed(self.halves[1]),
                "cls_flow": SnippetConv(hidden, 1, 1),
            }
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Look at videos, x [B, T, F].

        Returns
        -------
        dict
            As :class:`~feel_steps.localizers.base.Localizer` says, and for the loss: ``logits`` [B, K];
            ``places`` [B, T / r_class, K], the snippets behind each; ``aware`` [B, T], the class-aware actionness;
            ``attention_rgb``, ``attention_flow`` [B, T] and ``embedding_rgb``, ``embedding_flow`` [B, T, E].
        """
        net, (rgb, flow) = self.actionness_module, x.split(self.halves, 2)
        embedding = net["base_module"](x)  # [B, T, E]
        embedding_rgb, embedding_flow = net["action_module_rgb"](rgb), net["action_module_flow"](flow)
        cas = net["cls"](embedding).float()  # [B, T, K]
        attention_rgb = net["cls_rgb"](embedding_rgb)[:, :, 0].float().sigmoid()  # [B, T]
        attention_flow = net["cls_flow"](embedding_flow)[:, :, 0].float().sigmoid()
        activation = (cas.softmax(2) + attention_rgb[:, :, None] + attention_flow[:, :, None]) / 3
        places = top(activation.detach(), max(1, x.shape[1] // self.r_class))
        logits = cas.gather(1, places).mean(1)  # [B, K]
        return {
            "video_scores": logits.softmax(1),
            "actionness": (attention_rgb + attention_flow) / 2,
            "activation": activation,
            "embedding": embedding,
            "logits": logits,
            "places": places,
            "aware": cas.sum(2).sigmoid(),
            "attention_rgb": attention_rgb,
            "attention_flow": attention_flow,
            "embedding_rgb": embedding_rgb,
            "embedding_flow": embedding_flow,
        }

    def mine(self, outputs: Outputs) -> dict[str, Tensor]:
        """Find consistent (C) and inconsistent (I) snippets of action (A) and background (B).

        Returns
        -------
        dict
            ``CA``, ``CB`` [B, T / r_consistent] and ``IA``, ``IB`` [B, T / r_inconsistent], places in the video.
        """
        aware, agnostic = outputs["aware"].detach(), outputs["actionness"].detach()
        k_consistent, k_inconsistent = (max(1, aware.shape[1] // r) for r in (self.r_consistent, self.r_inconsistent))
        views = (aware > median(aware)).float() + (agnostic > median(agnostic)).float()  # how many say action
        background = aware.amax(1, keepdim=True) - aware
        return {
            "CA": top(aware * (views == 2), k_consistent),
            "CB": top(background * (views == 0), k_consistent),
            "IA": top(aware * (views == 1), k_inconsistent),
            "IB": top(background * (views == 1), k_inconsistent),
        }

    def contrast(self, embedding: Tensor, places: dict[str, Tensor]) -> Tensor:
        """Draw snippets of one kind together and those of the other away, in one embedding [B, T, E]."""
        # one gather for all, since each would have its own gradient as large as the embedding
        mined = gather(embedding, torch.cat(list(places.values()), 1)).split([p.shape[1] for p in places.values()], 1)
        CA, CB, IA, IB = mined
        ca, cb, ia, ib = (snippets.mean(1) for snippets in mined)  # [B, E]
        pairs = [(ia, ca, CB), (ib, cb, CA), (ca, ia, CB), (cb, ib, CA)]
        return torch.stack([info_nce(*pair, self.temperature) for pair in pairs]).sum()

    def loss(self, outputs: Outputs, labels: Tensor) -> dict[str, Tensor]:
        """Video classification, attention, contrast and agreement, for labels [B, K] in {0, 1}.

        Returns
        -------
        dict
            ``loss`` = ``action`` + ``attention`` + contrast_weight · ``contrast`` + modality_weight · ``modality``
            + consistency_weight · ``consistency``, scalars.
        """
        rgb, flow = outputs["attention_rgb"], outputs["attention_flow"]
        action = F.cross_entropy(outputs["logits"], labels / labels.sum(1, keepdim=True))
        # an attention should find the snippets by which the video was given its classes
        chosen = torch.zeros_like(outputs["activation"]).scatter(1, outputs["places"], 1.0)  # [B, T, K]
        target = (chosen * labels[:, None]).amax(2)  # [B, T]
        attention = generalized_cross_entropy(rgb, target, self.q) + generalized_cross_entropy(flow, target, self.q)
        places = self.mine(outputs)
        embeddings = (outputs[name] for name in ("embedding", "embedding_rgb", "embedding_flow"))
        contrast = torch.stack([self.contrast(embedding, places) for embedding in embeddings]).sum()
        modality = F.mse_loss(rgb, flow)
        consistency = F.mse_loss(outputs["aware"], outputs["actionness"])
        loss = action + attention + self.contrast_weight * contrast
        loss = loss + self.modality_weight * modality + self.consistency_weight * consistency
        return {
            "loss": loss,
            "action": action,
            "attention": attention,
            "contrast": contrast,
            "modality": modality,
            "consistency": consistency,
        }
