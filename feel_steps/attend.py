"""Attention maps: what a trained localizer sees in every snippet of every video.

Dimensions: V videos of one length at once, T snippets sampled of a video, S of its own, E embedding, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from feel_steps.errors import InputError
from feel_steps.localizers.base import Localizer
from feel_steps.runtime import devices
from feel_steps.runtime.progress import Progress
from feel_steps.tables.kinds import Columns
from feel_steps.tables.parts import gather_embeddings
from feel_steps.tables.snippets import Snippets, Stored
from feel_steps.tables.tables import join, timing

ROWS = 16 * 750  # snippets that go through the network at once
SAMPLINGS = ("windows", "length")
EASY = 5  # a video's embedding is the mean over the T / EASY snippets of highest actionness
POOLED = {"feature": "embedding", "adapted": "adapted"}  # what is pooled so, where the localizer gives it


def uniform_positions(own: int, length: int) -> np.ndarray:
    """Places that CoLA looks at in a video of ``own`` snippets: all, or ``length`` at equal steps; int64 [T]."""
    if own <= length:
        return np.arange(own)
    return np.arange(length) * own // length


def spread(values: Tensor, positions: Tensor, own: int) -> Tensor:
    """Bring values at sampled places back to all snippets, linearly in between and level beyond the last.

    Parameters
    ----------
    values : [V, T, C]
    positions : int64 [T]
        Strictly rising, the first one 0.
    own : int
        S.

    Returns
    -------
    [V, S, C]
    """
    if len(positions) == own:
        return values
    place = torch.arange(own, device=values.device)
    left = torch.searchsorted(positions, place, right=True) - 1  # [S]
    right = (left + 1).clamp(max=len(positions) - 1)
    gap = (positions[right] - positions[left]).clamp(min=1)
    weight = ((place - positions[left]) / gap)[:, None]  # [S, 1]
    weight = torch.where((right == left)[:, None], 0.0, weight)
    return torch.lerp(values[:, left], values[:, right], weight)


def attend(
    model: Localizer,
    snippets: Snippets,
    videos: Columns,
    *,
    length: int = 750,
    sampling: str = "windows",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> tuple[Columns, Columns]:
    """Look at all videos with a trained localizer; see :func:`attend_in_blocks` for more than memory holds.

    A video longer than ``length`` is sampled at equal steps, and the result brought back to its own snippets by linear
    interpolation; a shorter one is looked at whole.

    Parameters
    ----------
    model : Localizer
    snippets : Snippets
        Features [S, F] of N videos.
    videos : columns of a videos table
        Of which ``video_id``, ``fps``, ``snippet_stride`` and ``snippet_window`` are used.
    length : int
        T, at most.
    sampling : {"windows", "length"}
        Of longer videos. ``windows``: T is as many windows as lie side by side, where those are more, so that no frame
        of a long video is left out. ``length``: as published.
    device, precision, threads
        As in :func:`feel_steps.train.train`.

    Returns
    -------
    attention : columns
        A row a snippet. ``t_start`` and ``t_end`` (seconds) tile the video: a snippet stands for its stride, the last
        one for its whole window. ``actionness``, ``activation`` as the localizer gives them.
    embeddings : columns
        A row a video: ``feature``, the mean embedding of the T / 5 snippets of highest actionness; ``score``, the
        probability of each cluster; and, of a localizer with an adapter, ``adapted``, the mean of what it makes of
        these snippets' features.

    Raises
    ------
    InputError
        The model is of features of another dimension, a video is not in the table, or memory runs out.
    """
    blocks = attend_in_blocks(
        model, snippets, videos, length=length, sampling=sampling, device=device, precision=precision, threads=threads
    )
    attention, embeddings, _ = zip(*blocks, strict=True)
    return join(attention), join(embeddings)


def attend_parts(
    model: Localizer, snippets: Snippets, videos: Columns, parts: Columns, **how: Any
) -> tuple[Columns, Columns, Columns]:
    """Look at videos part by part, as a localizer that was trained on parts has seen them.

    Parameters
    ----------
    model, snippets, videos
        As in :func:`attend`.
    parts : columns of a parts table
    **how
        ``length``, ``sampling``, ``device``, ``precision`` and ``threads`` of :func:`attend`.

    Returns
    -------
    attention, embeddings : columns
        Of the videos, see :func:`feel_steps.tables.parts.gather_embeddings`.
    of_parts : columns
        Embeddings of the parts, a row each.
    """
    attention, embeddings, of_parts = zip(*attend_in_blocks(model, snippets, videos, parts, **how), strict=True)
    return join(attention), join(embeddings), join(of_parts)


def attend_in_blocks(
    model: Localizer,
    snippets: Snippets,
    videos: Columns,
    parts: Columns | None = None,
    *,
    length: int = 750,
    sampling: str = "windows",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Iterator[tuple[Columns, Columns, Columns]]:
    """Give the tables of :func:`attend_parts` in pieces, of as many videos as are in memory at once.

    Without parts, the last table is that of the videos, too.
    """
    where = devices.pick(device)
    dtype = devices.pick_precision(precision, where)
    if model.settings["features"] != snippets.features.shape[1]:
        raise InputError(
            f"model: trained on features of dimension {model.settings['features']}, but these have "
            f"{snippets.features.shape[1]}; train again, or extract with the extractor it was trained on"
        )
    known = set(videos["video_id"])
    if missing := [video_id for video_id in snippets.video_ids if video_id not in known]:
        raise InputError(f"videos table: no row for video '{missing[0]}', which has features; run index again")
    if sampling not in SAMPLINGS:
        raise InputError(f"sampling: '{sampling}'; expected {' or '.join(SAMPLINGS)}")
    if sampling == "windows":
        step = max(1.0, float((videos["snippet_window"] / videos["snippet_stride"]).min(initial=np.inf)))
        advice = "set attend.sampling: length, or use a device of more memory"
    else:
        step = np.inf
        advice = f"lower train.length ({length}) and train again, or use a device of more memory"
    rows, unit, cuts = snippets, "video", parts
    if parts is not None:
        from feel_steps.parts import split  # loads SciPy, a quarter of a second that whole videos do not need

        (rows, cuts), unit = split(snippets, parts), "part"
    if isinstance(snippets.features, Stored):
        devices.release_buffers()
    with (
        devices.out_of_memory("attending", where, advice),
        devices.deterministic(0, threads),
        Progress("attending", len(rows.video_ids), unit) as progress,
    ):
        model = model.to(where).eval()
        for place, block in snippets.blocks():
            seen, own = block, None
            if cuts is not None:  # the parts of these videos
                first, stop = np.searchsorted(rows.offsets, [place.start, place.stop])
                offsets = rows.offsets[first : stop + 1] - place.start
                seen = Snippets(rows.video_ids[first:stop], block.features, offsets)
                own = {name: column[first:stop] for name, column in cuts.items()}
            maps, pooled = _look(model, seen, length, step, where, dtype, progress)
            embeddings = {"video_id": np.array(seen.video_ids, object), "feature": np.empty((0, 1))} | pooled
            of_videos = embeddings if own is None else gather_embeddings(embeddings, own)
            yield list_cells(block, videos) | maps, of_videos, embeddings


@torch.inference_mode()
def _look(
    model: Localizer,
    snippets: Snippets,
    length: int,
    step: float,
    where: torch.device,
    dtype: torch.dtype,
    progress: Progress,
) -> tuple[Columns, Columns]:
    """Actionness and activation of each snippet, and what is pooled of each video, for videos in memory.

    Samples of a video lie no further apart than ``step`` snippets, and are ``length`` or fewer if that allows it.
    """
    features = snippets.matrix
    S, N, K = len(features), len(snippets.video_ids), model.settings["clusters"]
    actionness, activation = np.empty(S, np.float32), np.empty((S, K), np.float32)
    pooled: Columns = {"score": np.empty((N, K), np.float32)}
    for own in np.unique(snippets.lengths):  # videos of one length at once: no padding
        positions = uniform_positions(int(own), max(length, int(np.ceil(own / step))))
        alike, size = np.flatnonzero(snippets.lengths == own), max(1, ROWS // len(positions))
        for some in np.split(alike, range(size, len(alike), size)):
            places = snippets.offsets[some][:, None] + np.arange(own)  # [V, S]
            x = torch.from_numpy(features[places[:, positions]]).to(where)  # [V, T, F]
            with torch.autocast(where.type, dtype, enabled=dtype != torch.float32):
                seen = model(x)
            easy = seen["actionness"].sort(dim=1, descending=True, stable=True).indices
            easy = easy[:, : max(1, len(positions) // EASY)]  # [V, T / 5]
            maps = torch.cat([seen["actionness"][:, :, None], seen["activation"]], 2).float()  # [V, T, 1 + K]
            maps = spread(maps, torch.from_numpy(positions).to(where), int(own)).cpu()
            actionness[places], activation[places] = maps[:, :, 0].numpy(), maps[:, :, 1:].numpy()
            pooled["score"][some] = seen["video_scores"].float().cpu().numpy()
            for name, output in POOLED.items():
                if output in seen:
                    mean = seen[output].take_along_dim(easy[:, :, None], 1).float().mean(1)  # [V, E]
                    column = pooled.setdefault(name, np.empty((N, mean.shape[1]), np.float32))
                    column[some] = mean.cpu().numpy()
            progress.advance(len(some))
    return {"actionness": actionness, "activation": activation}, pooled


def list_cells(snippets: Snippets, videos: Columns) -> Columns:
    """Video, number and time of every snippet, by the videos table."""
    own = timing(videos, snippets.video_ids)
    lengths = snippets.lengths
    video = np.repeat(np.arange(len(lengths)), lengths)  # [S]
    snippet = np.arange(len(video)) - snippets.offsets[video]
    stride, window, fps = (own[name][video] for name in ("snippet_stride", "snippet_window", "fps"))
    last = snippet == lengths[video] - 1
    return {
        "video_id": np.array(snippets.video_ids, object)[video],
        "snippet": snippet.astype(np.int32),
        "t_start": snippet * stride / fps,
        "t_end": (snippet * stride + np.where(last, np.maximum(window, stride), stride)) / fps,
    }
