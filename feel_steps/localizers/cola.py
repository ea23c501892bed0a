"""CoLA, weakly supervised localization by contrasting snippets (Zhang et al., CVPR 2021, arXiv 2103.16392).

Dimensions: B videos, T snippets, F features, E embedding, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feel_steps.errors import InputError
from feel_steps.localizers.base import Outputs
from feel_steps.localizers.parts import SnippetConv, drop, gather, info_nce, median, top

CLASSES = 20  # up to so many, the classification loss is the published one


class DepthwiseConv(nn.Conv1d):
    """A dilated temporal convolution of each class's activation by itself, on [B, T, K]."""

    def __init__(self, clusters: int, kernel: int = 7, dilation: int = 2, bias: bool = True) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(clusters, clusters, kernel, padding=padding, dilation=dilation, groups=clusters, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def dilate(binary: Tensor, size: int) -> Tensor:
    """Binary dilation of [B, T] by ``size`` snippets, ends and even sizes as ``scipy.ndimage.binary_dilation`` does."""
    return F.max_pool1d(F.pad(binary, ((size - 1) // 2, size // 2)), size, stride=1)


def erode(binary: Tensor, size: int) -> Tensor:
    """Binary erosion of [B, T] by ``size`` snippets, as ``scipy.ndimage.binary_erosion``: beyond the ends is 0."""
    return 1 - F.max_pool1d(F.pad(1 - binary, (size // 2, (size - 1) // 2), value=1.0), size, stride=1)


class CoLA(nn.Module):
    """The published network; its weights carry the published names.

    Parameters
    ----------
    features, clusters : int
        F and K.
    hidden : int
        E.
    dropout : float
        Share of the embedding that is dropped before the classifier.
    r_easy, r_hard : int
        T / r_easy easy and T / r_hard hard snippets are mined; a video's score of a class is over T / r_easy as well.
    m, M : int
        Sizes of the smaller and the larger erosion (dilation) between which hard snippets lie.
    contrast_dropout : float
        Share of the snippets that cannot be mined as easy, in training.
    temperature, contrast_weight : float
        Of the snippet contrast (paper, section 3.4).
    head : {"thumos", "activitynet"}
        With ``activitynet`` a depthwise dilated convolution follows the classifier.
    kernel, class_kernel : int
        Temporal extent, in snippets, of the embedding's and of the classifier's convolution.
    published_loss : bool
        Whether the classification loss is the mean over all classes, as published. It then fades as classes are added:
        with a hundred, weight decay outweighs it and nothing is learned. Otherwise it is K / 20 times as large where
        K > 20 (our choice), which keeps the sum over classes as it is at THUMOS'14's 20.
    """

    def __init__(
        self,
        features: int,
        clusters: int,
        *,
        hidden: int = 2048,
        dropout: float = 0.7,
        r_easy: int = 5,
        r_hard: int = 20,
        m: int = 3,
        M: int = 6,
        contrast_dropout: float = 0.6,
        temperature: float = 0.07,
        contrast_weight: float = 0.01,
        head: Literal["thumos", "activitynet"] = "thumos",
        kernel: int = 3,
        class_kernel: int = 1,
        published_loss: bool = False,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "features": features, "clusters": clusters, "hidden": hidden, "dropout": dropout, "r_easy": r_easy,
            "r_hard": r_hard, "m": m, "M": M, "contrast_dropout": contrast_dropout, "temperature": temperature,
            "contrast_weight": contrast_weight, "head": head, "kernel": kernel, "class_kernel": class_kernel,
            "published_loss": published_loss,
        }  # fmt: skip
        self.dropout, self.r_easy, self.r_hard, self.m, self.M = dropout, r_easy, r_hard, m, M
        self.contrast_dropout, self.temperature, self.contrast_weight = contrast_dropout, temperature, contrast_weight
        self.action_weight = 1.0 if published_loss else max(1.0, clusters / CLASSES)
        classifier: list[nn.Module] = [SnippetConv(hidden, clusters, class_kernel, bias=False)]
        if head == "activitynet":
            classifier.append(DepthwiseConv(clusters))
        self.actionness_module = nn.ModuleDict(
            {
                "f_embed": nn.Sequential(SnippetConv(features, hidden, kernel), nn.ReLU()),
                "f_cls": nn.Sequential(*classifier, nn.ReLU()),
            }
        )

    @classmethod
    def from_reference(cls, state_dict: Mapping[str, Tensor], dropout: float = 0.7, **settings: Any) -> Self:
        """Build from weights of the published program; sizes and head are read off them.

        Parameters
        ----------
        state_dict : mapping of str to Tensor
            By the published names, with or without ``module.`` in front.
        dropout : float
            Of the embedding. With 0 the mining drops no snippets either: the network is then deterministic.
        **settings
            Others of the class.

        Raises
        ------
        InputError
            The names or shapes are not CoLA's.
        """
        state = {name.removeprefix("module."): torch.as_tensor(weight) for name, weight in state_dict.items()}
        try:
            embed = state["actionness_module.f_embed.0.weight"]
            classify = state["actionness_module.f_cls.0.weight"]
        except KeyError as missing:
            raise InputError(f"CoLA weights: {missing} is missing; there are {', '.join(state) or 'none'}") from None
        smooth = "actionness_module.f_cls.1.weight" in state
        sizes = {
            "hidden": embed.shape[0],
            "kernel": embed.shape[2],
            "class_kernel": classify.shape[2],
            "head": "activitynet" if smooth else "thumos",
            "contrast_dropout": 0.6 if dropout else 0.0,
        }
        model = cls(embed.shape[1], classify.shape[0], dropout=dropout, **(sizes | settings))
        if smooth and "actionness_module.f_cls.1.bias" not in state:
            state["actionness_module.f_cls.1.bias"] = torch.zeros(classify.shape[0])
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(f"CoLA weights: {' '.join(str(error).split())}") from None
        return model

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Look at videos, x [B, T, F]; returns as :class:`~feel_steps.localizers.base.Localizer` says."""
        embedding = self.actionness_module["f_embed"](x)  # [B, T, E]
        dropped = drop(embedding, self.dropout if self.training else 0.0)
        activation = self.actionness_module["f_cls"](dropped).float()  # [B, T, K]
        k = max(1, x.shape[1] // self.r_easy)
        return {
            "video_scores": activation.topk(k, 1).values.mean(1).softmax(1),
            "actionness": activation.sum(2),
            "activation": activation,
            "embedding": embedding,
        }

    def mine(self, outputs: Outputs) -> dict[str, Tensor]:
        """Find easy and hard, action and background snippets (paper, section 3.3).

        Returns
        -------
        dict
            ``EA``, ``EB`` [B, T / r_easy, E] and ``HA``, ``HB`` [B, T / r_hard, E], the snippets' embeddings.
        """
        actionness, embedding = outputs["actionness"].detach(), outputs["embedding"]
        T = actionness.shape[1]
        k_easy, k_hard = max(1, T // self.r_easy), max(1, T // self.r_hard)
        kept = drop(torch.ones_like(actionness), self.contrast_dropout if self.training else 0.0)
        background = actionness.amax(1, keepdim=True) - actionness
        binary = (actionness > median(actionness)).to(actionness.dtype)
        inner = erode(binary, self.m) - erode(binary, self.M)  # just inside of action
        outer = dilate(binary, self.M) - dilate(binary, self.m)  # just outside
        places = {
            "EA": top(actionness * kept, k_easy),
            "EB": top(background * kept, k_easy),
            "HA": top(actionness * inner, k_hard),
            "HB": top(actionness * outer, k_hard),
        }
        # one gather for all, since each would have its own gradient as large as the embedding
        mined = gather(embedding, torch.cat(list(places.values()), 1))
        return dict(zip(places, mined.split([p.shape[1] for p in places.values()], 1), strict=True))

    def loss(self, outputs: Outputs, labels: Tensor) -> dict[str, Tensor]:
        """Video classification plus snippet contrast, for labels [B, K] in {0, 1}.

        Returns
        -------
        dict
            ``loss`` = ``action`` + contrast_weight · ``contrast``, scalars. ``action`` is the binary cross-entropy,
            averaged over videos and classes, times max(1, K / 20).
        """
        target, scores = labels / labels.sum(1, keepdim=True), outputs["video_scores"]
        # a NaN would stop binary_cross_entropy (a GPU: for good); it must reach the loss, where train reports it
        action = self.action_weight * F.binary_cross_entropy(scores.nan_to_num(), target) + 0 * scores.sum()
        mined = self.mine(outputs)
        mean = {name: snippets.mean(1) for name, snippets in mined.items()}  # [B, E]
        contrast = info_nce(mean["HA"], mean["EA"], mined["EB"], self.temperature)
        contrast = contrast + info_nce(mean["HB"], mean["EB"], mined["EA"], self.temperature)
        return {"loss": action + self.contrast_weight * contrast, "action": action, "contrast": contrast}
