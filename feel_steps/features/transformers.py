"""Features of any image or video model that the library transformers knows, named in the config.

An image model (CLIP, SigLIP, DINOv2, DINOv3, ViT) sees a few frames of each window one by one, and the window's feature
is their mean. A video model (VideoMAE, V-JEPA 2, TimeSformer) sees each window as one clip. The feature of one picture
or clip is the model's own pooled output, where it has one that was trained, and otherwise the mean of its last tokens.

The model comes from a folder or from the cache of the Hugging Face hub. Only ``download: true`` fetches it.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from feel_steps.dataset.files import read_json
from feel_steps.dataset.video_file import read_frames
from feel_steps.dataset.videos import Video
from feel_steps.errors import InputError
from feel_steps.features.ahead import ahead
from feel_steps.features.windows import spread, window_rows, windows
from feel_steps.runtime.devices import deterministic, out_of_memory, pick, pick_precision

FRAMES = 4  # of a window, that an image model sees
BATCH = 32  # pictures that go through the model at once
CHUNK = 32  # pictures decoded at once
IMAGENET = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # mean and deviation of the colours, for a model that names none
CONFIG = "config.json"
PREPARATION = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
PICKLED = ("pytorch_model*.bin", "pytorch_model*.bin.index.json")  # read with weights_only


class Transformers:
    """Features of one model, [T, D].

    Parameters
    ----------
    fps : float
        Frames per second that videos are read at.
    window, stride : int
        Frames of a snippet, and from the start of one to the next.
    model : str
        A folder that holds config.json and the weights, or a name on the hub, such as facebook/dinov2-base.
    revision : str, optional
        Branch, tag or commit on the hub.
    download : bool
        Whether the model may be fetched where the hub's cache does not have it.
    frames : int, optional
        Frames of a window that the model sees. Default: 4 for an image model, and what a video model was trained with.
    precision : {"auto", "float32", "bfloat16"}
        Of the large matrix products; auto: bfloat16 where the hardware is fast at it.
    sha256 : str, optional
        What the digest of the model's files has to be, see :func:`digest`.
    device : str
        Where the model runs.
    threads : int
        Of the CPU.

    Raises
    ------
    InputError
        The library or the model is missing, or the model takes neither pictures nor clips.
    """

    view_family = "network"

    def __init__(
        self,
        *,
        fps: float,
        window: int,
        stride: int,
        model: str | None = None,
        revision: str | None = None,
        download: bool = False,
        frames: int | None = None,
        precision: str = "float32",
        sha256: str | None = None,
        device: str = "auto",
        threads: int = 1,
    ) -> None:
        folder = find_model(model, revision, download)
        files = digest(folder)
        if sha256 and files != sha256:
            raise InputError(f"{folder}: the model's files have the digest {files}, not {sha256}; name the right model")
        self.fps, self.window, self.stride = fps, window, stride
        self.device, self.threads = pick(device), threads
        self.dtype = pick_precision(precision, self.device)
        self.model, self.has_pooler = load_model(folder)
        self.model.to(self.device)
        self.preparation = read_preparation(folder, self.model.config)
        length = clip_length(self.model.config)
        self.sees_clips = length is not None
        self.picks = spread(window, frames or length or FRAMES)
        # without it, V-JEPA 2 also predicts masked patches
        known = inspect.signature(self.model.forward).parameters
        self.options = {"skip_predictor": True} if "skip_predictor" in known else {}
        self.dimension = self._try(folder)
        self.streams = {"features": (self.dimension, 1.0)}
        self.settings: dict[str, Any] = {
            "model": str(model),
            "revision": _commit(folder),
            "frames": len(self.picks),
            "precision": str(self.dtype).removeprefix("torch."),
            "sha256": files,
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
        float32 [T, D]

        Raises
        ------
        VideoError
            The video does not decode.
        """
        with deterministic(0, self.threads), torch.inference_mode():
            return (self._clips if self.sees_clips else self._pictures)(self._read(video, advance))

    def _read(self, video: Video, advance: Callable[[int], None]) -> Iterator[np.ndarray]:
        """Give pictures uint8 [B, h, w, 3], of the size that the model sees."""
        assert video.path is not None
        for pictures in read_frames(
            video.path, fps=self.fps, short_side=self.preparation.short_side, n_frames=video.n_frames, chunk=CHUNK
        ):
            yield self.preparation.fit(pictures)
            advance(len(pictures))

    def _clips(self, chunks: Iterator[np.ndarray]) -> np.ndarray:
        """Let a video model see each window as a clip."""
        batch = max(1, BATCH // len(self.picks))
        parts = ((chunk,) for chunk in chunks)
        features = [
            self._look(clips[:, self.picks]) for (clips,) in ahead(windows(parts, self.window, self.stride, batch))
        ]
        return np.concatenate(features or [np.zeros((0, self.dimension), np.float32)])

    def _pictures(self, chunks: Iterator[np.ndarray]) -> np.ndarray:
        """Let an image model see each picture that some window needs, once, and take means over the windows."""
        read, seen, features = 0, [np.zeros(0, int)], []
        for chunk in ahead(chunks):
            numbers = np.arange(read, read + len(chunk))
            since = numbers[:, None] - self.picks  # a window starts so many frames into the video
            needed = ((since >= 0) & (since % self.stride == 0)).any(1)
            read += len(chunk)
            if needed.any():
                seen.append(numbers[needed])
                features.append(self._look(chunk[needed]))
        rows = window_rows(np.concatenate(seen), read, self.window, self.stride, self.picks)  # [T, frames]
        if not len(rows):
            return np.zeros((0, self.dimension), np.float32)
        return np.concatenate(features)[rows].mean(1)

    def _try(self, folder: Path) -> int:
        """Let the model see a black picture or clip, before any video is read; gives the dimension of its features."""
        height, width = self.preparation.size or self.preparation.crop or (0, 0)
        black = np.zeros((1, *(len(self.picks),) * self.sees_clips, height, width, 3), np.uint8)
        try:
            with deterministic(0, self.threads), torch.inference_mode():
                return self._look(black).shape[1]
        except (ValueError, RuntimeError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            seen = (
                f"{len(self.picks)} frames of {height} x {width} pixels"
                if self.sees_clips
                else f"{height} x {width} pixels"
            )
            raise InputError(
                f"{folder}: {type(self.model).__name__} cannot see {seen} ({str(error).splitlines()[0]}); "
                "leave features.transformers.frames out, and check the folder's preprocessor_config.json"
            ) from None

    def _look(self, pictures: np.ndarray) -> np.ndarray:
        """Features [B, D] of pictures uint8 [B, h, w, 3] or clips [B, frames, h, w, 3]."""
        advice = "use a GPU with more memory, or device: cpu"
        with out_of_memory("extractor 'transformers'", self.device, advice):
            mean, deviation = (
                torch.tensor(own, device=self.device) for own in (self.preparation.mean, self.preparation.deviation)
            )
            x = torch.from_numpy(np.ascontiguousarray(pictures)).to(self.device) * self.preparation.scale
            x = ((x - mean) / deviation).movedim(-1, -3)  # [B, (frames,) 3, h, w]
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                found = self.model(**{self.model.main_input_name: x}, **self.options)
            pooled = getattr(found, "pooler_output", None) if self.has_pooler else None
            if pooled is None:
                pooled = found.last_hidden_state.float().mean(1)  # over the tokens
            return pooled.float().cpu().numpy()


# ---------------------------------------------------------------------------------------------------- the model's files


def find_model(model: str | None, revision: str | None, download: bool) -> Path:
    """Find the folder of a model: as named, or in the hub's cache, into which it is downloaded first if allowed.

    Raises
    ------
    InputError
        The library or the model is missing.
    """
    if not model:
        raise InputError(
            "features.transformers.model is not set; name a folder that holds config.json and the weights, or a model "
            "of the hub, such as facebook/dinov2-base"
        )
    try:
        import huggingface_hub
        import transformers  # noqa: F401
    except ImportError:
        raise InputError(
            "extractor 'transformers' needs the library transformers: pip install 'feel-steps[backbones]'"
        ) from None
    if Path(model).is_dir():
        if not Path(model, CONFIG).is_file():
            raise InputError(f"{model}: no {CONFIG} in it; name the folder in which save_pretrained wrote the model")
        return Path(model)
    fetch = partial(huggingface_hub.snapshot_download, model, revision=revision, local_files_only=not download)
    try:
        folder = Path(fetch(allow_patterns=[CONFIG, *PREPARATION, *WEIGHTS]))
        if not list(folder.glob("*.safetensors")):
            folder = Path(fetch(allow_patterns=[CONFIG, *PREPARATION, *PICKLED]))
    except (OSError, ValueError) as error:  # not found, no network, or no name of a model
        reason = str(error).splitlines()[0]
        advice = (
            "check the name, or name a folder" if download else "set features.transformers.download: true to fetch it"
        )
        raise InputError(
            f"features.transformers.model: '{model}' is no folder, and the hub's cache does not have it; "
            f"{advice} ({reason})"
        ) from None
    if not Path(folder, CONFIG).is_file():
        raise InputError(f"features.transformers.model: '{model}' has no {CONFIG} at this revision")
    return folder


def digest(folder: Path) -> str:
    """SHA-256 of what ``sha256sum`` prints of a model's configs and weights, in the order of their names."""
    names = {file.name for pattern in (CONFIG, *PREPARATION, *WEIGHTS) for file in folder.glob(pattern)}
    if not any(name.endswith(".safetensors") for name in names):
        names |= {file.name for pattern in PICKLED for file in folder.glob(pattern)}
    total = hashlib.sha256()
    for name in sorted(names):
        with open(folder / name, "rb") as file:
            total.update(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n".encode())
    return total.hexdigest()


def _commit(folder: Path) -> str:
    """Commit of a model in the hub's cache; empty for a folder of the user's own."""
    return folder.name if folder.parent.name == "snapshots" else ""


def load_model(folder: Path) -> tuple[Any, bool]:
    """Load a model, or its image encoder.

    Returns
    -------
    (model, bool)
        In evaluation mode, and whether its pooled output was trained.

    Raises
    ------
    InputError
        The library does not know the model, its weights are missing, or it sees no pictures.
    """
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model, report = AutoModel.from_pretrained(
            folder,
            config=getattr(config, "vision_config", None) or config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder}: transformers cannot load this model ({reason})") from None
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()
    if not model.main_input_name.startswith("pixel_values"):
        raise InputError(
            f"{folder}: {type(model).__name__} takes '{model.main_input_name}', no pictures; name a vision model"
        )
    missing = sorted(report["missing_keys"])
    if lost := [name for name in missing if "pooler" not in name]:
        raise InputError(
            f"{folder}: its weights lack '{lost[0]}' and {len(lost) - 1} more; the files are not of this model"
        )
    return model.eval(), not missing


# ---------------------------------------------------------------------------------------------------- its pictures


@dataclass(frozen=True)
class Preparation:
    """How a model wants its pictures.

    Attributes
    ----------
    short_side : int
        Pixels of the shorter side, to which a picture is resized first.
    size, crop : (int, int), optional
        Height and width to which it is then squeezed, or cut at the centre; one of the two.
    scale : float
        Factor of the colours 0 to 255.
    mean, deviation : 3 floats
        Of the scaled colours, red, green and blue: taken off, and divided by.
    """

    short_side: int
    size: tuple[int, int] | None
    crop: tuple[int, int] | None
    scale: float = 1 / 255
    mean: tuple[float, ...] = IMAGENET[0]
    deviation: tuple[float, ...] = IMAGENET[1]

    def fit(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures uint8 [B, h, w, 3] as the model wants them, but for their colours."""
        if self.size is not None:
            size = self.size[::-1]
            return np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures])
        assert self.crop is not None
        top, left = ((have - want) // 2 for have, want in zip(pictures.shape[1:3], self.crop, strict=True))
        return pictures[:, top : top + self.crop[0], left : left + self.crop[1]]


def read_preparation(folder: Path, config: Any) -> Preparation:
    """Read how a model wants its pictures, from the file of its processor; without one, by the size in its config.

    Raises
    ------
    InputError
        Neither says a size, or says it in an unknown form.
    """
    file = next((folder / name for name in PREPARATION if (folder / name).is_file()), None)
    about = read_json(file) if file else {}
    about = about.get("video_processor") or about.get("image_processor") or about
    where = file or folder / CONFIG
    try:
        size = about.get("size") or getattr(config, "image_size", None) or getattr(config, "crop_size", None)
        crop = about.get("crop_size") if about.get("do_center_crop", True) else None
        edge = size.get("shortest_edge") if isinstance(size, dict) else size if crop or not about else None
        colours: dict[str, Any] = {"scale": float(about.get("rescale_factor", 1 / 255))}
        if not about.get("do_normalize", True):
            colours |= {"mean": (0.0,) * 3, "deviation": (1.0,) * 3}
        elif "image_mean" in about:
            colours |= {"mean": tuple(about["image_mean"]), "deviation": tuple(about["image_std"])}
        if crop or isinstance(edge, int):
            height, width = _pair(crop or edge)
            return Preparation(max(edge or 0, height, width), None, (height, width), **colours)
        height, width = _pair(size)
        return Preparation(min(height, width), (height, width), None, **colours)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{where}: no size of pictures that is understood ({error!r}); expected size and crop_size"
        ) from None


def _pair(size: Any) -> tuple[int, int]:
    """Height and width of a size that is one number, two, or a mapping."""
    if isinstance(size, dict):
        return int(size["height"]), int(size["width"])
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return int(height), int(width)


def clip_length(config: Any) -> int | None:
    """Frames of a clip that a video model was trained with; None for an image model."""
    return getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
