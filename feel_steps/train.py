"""Train a localizer on pseudo-labelled videos.

A batch is one gather from the matrix of all features or, if it is not in memory, from the videos that are read ahead of
it. What is random in a step (videos, jitter, dropout) depends on the seed and the step's number alone, so a killed
training goes on from its checkpoint to the same bytes.
Dimensions: n selected videos, B videos a batch, T snippets sampled of each, F features, K classes.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
import zlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from feel_steps.errors import InputError
from feel_steps.localizers import weights
from feel_steps.localizers.adam import Adam
from feel_steps.localizers.base import Localizer
from feel_steps.runtime import devices
from feel_steps.runtime.progress import Progress, clock
from feel_steps.tables import source
from feel_steps.tables.kinds import Columns
from feel_steps.tables.snippets import Snippets, Stored

EPOCHS, LEAST_STEPS, MOST_STEPS = 24.0, 300, 3000  # see docs/results/localizers.md
LOG_STEPS = 10  # steps to a row of the training table
TRIED_STEPS = 3  # steps after which the log says how long all will take
CHECKPOINT_SECONDS = 180.0


def step_seed(seed: int, step: int) -> int:
    """Seed of all that is random in one step, well mixed: neighbouring steps and seeds share nothing."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0])


def sample_positions(lengths: Tensor, T: int, jitter: Tensor) -> Tensor:
    """Draw T snippets of each video in time order, one at random from each T-th of it (CoLA's sampling).

    A cell reaches to the first snippet of the next one; where the video is shorter than T, snippets repeat; where it
    has T snippets, each is taken once.

    Parameters
    ----------
    lengths : int64 [B]
        Snippets of each video.
    T : int
    jitter : float [B, T]
        Uniform in [0, 1).

    Returns
    -------
    int64 [B, T]
        Places in the video.
    """
    cell, length = torch.arange(T), lengths[:, None]
    first = cell * length // T  # [B, T]
    last = torch.minimum((cell + 1) * length // T, length - 1)
    span = torch.where(length == T, 1, last - first + 1)
    return first + (jitter * span).long()


class Batches:
    """Batches of sampled videos, by step; an epoch shuffles the videos, and batches run on over its end.

    Parameters
    ----------
    snippets : Snippets
    rows : int64 [n]
        The selected videos.
    labels : float32 [n, K]
    batch, length : int
        B and T.
    seed : int
    device : torch.device
        Device of the batches. Features are moved there if they fit into half of its free memory.
    """

    def __init__(
        self,
        snippets: Snippets,
        rows: np.ndarray,
        labels: np.ndarray,
        batch: int,
        length: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.batch, self.length, self.seed, self.device = batch, length, seed, device
        self.labels = torch.from_numpy(labels).to(device)
        self.lengths = torch.from_numpy(snippets.lengths[rows])
        self.starts = torch.from_numpy(snippets.offsets[:-1][rows])
        self.snippets, self.rows = snippets, rows
        self.reader, self.ahead = ThreadPoolExecutor(1), dict[int, Future[list[np.ndarray]]]()
        stored = isinstance(snippets.features, Stored)
        self.features = None if stored else torch.from_numpy(snippets.matrix)
        if device.type == "cuda":
            D = snippets.features.shape[1]
            if int(self.lengths.sum()) * D * 4 < torch.cuda.mem_get_info(device)[0] / 2:
                self.starts = self.lengths.cumsum(0) - self.lengths
                self.features = torch.empty((int(self.lengths.sum()), D), device=device)
                for row, start in zip(rows, self.starts.tolist(), strict=True):  # no second copy of all in RAM
                    own = torch.from_numpy(snippets.video(row))
                    self.features[start : start + len(own)] = own

    def videos(self, step: int) -> np.ndarray:
        """Which of the n videos are in a step's batch, int64 [B]."""
        n = len(self.lengths)
        places = np.arange(step * self.batch, (step + 1) * self.batch)
        epochs = range(places[0] // n, places[-1] // n + 1)
        orders = np.concatenate([np.random.default_rng([self.seed, epoch]).permutation(n) for epoch in epochs])
        return orders[places - epochs[0] * n]

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Draw a step's batch: features [B, T, F] and labels [B, K]; jitter from PyTorch's CPU generator."""
        videos = torch.from_numpy(self.videos(step))
        positions = sample_positions(self.lengths[videos], self.length, torch.rand(self.batch, self.length))
        if self.features is None:
            batch = zip(self._read(step), positions, strict=True)
            x = torch.stack([torch.from_numpy(video)[places] for video, places in batch])
        else:
            index = (self.starts[videos][:, None] + positions).flatten().to(self.features.device)
            x = self.features.index_select(0, index).view(self.batch, self.length, -1)
        return x.to(self.device), self.labels[videos.to(self.device)]

    def _read(self, step: int) -> list[np.ndarray]:
        """Features of the videos of a step's batch from disk; those of the next step are read meanwhile."""
        for number in sorted({step, step + 1} - self.ahead.keys()):
            rows = self.rows[self.videos(number)]
            self.ahead[number] = self.reader.submit(lambda rows: list(map(self.snippets.video, rows)), rows)
        return self.ahead.pop(step).result()


@dataclass
class Log:
    """The training table as it grows: names of the loss and its terms, and their means, one row each few steps."""

    names: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    means: list[list[float]] = field(default_factory=list)

    def add(self, step: int, losses: list[dict[str, Tensor]]) -> None:
        """Add the row of the steps that end with ``step`` (counted from 1).

        Raises
        ------
        InputError
            A loss is not finite.
        """
        self.names = list(losses[0])
        values = torch.stack([torch.stack([step_losses[name] for name in self.names]) for step_losses in losses])
        values = values.double().cpu()  # [steps, terms]
        if not torch.isfinite(values).all():
            bad = step - len(losses) + 1 + int((~torch.isfinite(values).all(1)).nonzero()[0])
            raise InputError(
                f"training: the loss is not finite at step {bad}; lower train.learning_rate, or use train.precision "
                "float32"
            )
        self.steps.append(step)
        self.means.append(values.mean(0).tolist())

    def columns(self, learning_rate: float) -> Columns:
        """Give the training table."""
        means = dict(zip(self.names, np.array(self.means).T, strict=True))
        loss = {"step": np.array(self.steps, np.int64), "loss": means.pop("loss")}
        return loss | {"learning_rate": np.full(len(self.steps), learning_rate)} | means


class Checkpoint:
    """The state of a training, in a file beside its result.

    Parameters
    ----------
    path : path or None
        None: keep nothing.
    identity : str
        Digest of all that the result depends on; a checkpoint of another identity is not used.
    """

    def __init__(self, path: str | Path | None, identity: str) -> None:
        self.path, self.identity, self.saved = None if path is None else Path(path), identity, time.monotonic()

    def save_if_due(self, model: Localizer, optimizer: Adam, log: Log) -> None:
        """Keep the state as of the last row of the log, replacing the one before, if that is old enough."""
        if self.path is None or time.monotonic() - self.saved < CHECKPOINT_SECONDS:
            return
        tensors = {f"model.{name}": weight for name, weight in model.state_dict().items()}
        weights.write_tensors(self.path, tensors | optimizer.tensors(), {"identity": self.identity, "log": asdict(log)})
        self.saved = time.monotonic()

    def restore(self, model: Localizer, optimizer: Adam) -> Log:
        """Put back what was kept, and return its log (an empty one where nothing was kept that fits)."""
        if self.path is None:
            return Log()
        for abandoned in self.path.parent.glob(f".{self.path.name}.*.tmp"):  # a kill amid writing
            abandoned.unlink()
        if not self.path.exists():
            return Log()
        try:
            tensors, about = weights.read_tensors(self.path)
        except InputError as error:
            print(f"training: from the start, since {error}", file=sys.stderr)
            return Log()
        if about.get("identity") != self.identity:
            print(f"training: from the start, since {self.path} is of other settings or data", file=sys.stderr)
            return Log()
        model.load_state_dict({name: tensors[f"model.{name}"] for name in model.state_dict()})
        for name, tensor in optimizer.tensors().items():
            tensor.copy_(tensors[name])
        log = Log(**about["log"])
        print(f"training: goes on after step {log.steps[-1]}", file=sys.stderr)
        return log


def to_targets(rows: np.ndarray, labels: np.ndarray, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Gather the labels of each video, checked.

    Parameters
    ----------
    rows, labels : int [n]
        A video and one of its clusters; a video with several clusters has several entries.
    clusters : int
        K.

    Returns
    -------
    rows : int64 [m]
        Each video once, in the order of its first entry.
    targets : float32 [m, K]
        1 for each cluster of the video, else 0.

    Raises
    ------
    InputError
        No video, a class beyond K, or fewer than two classes.
    """
    rows, labels = np.asarray(rows, np.int64), np.asarray(labels)
    if not len(labels):
        raise InputError("training: no video is selected; raise select.rate, or check the clusters before it")
    beyond = labels[(labels < 0) | (labels >= clusters)]
    if len(beyond):
        raise InputError(
            f"training: cluster {beyond[0]} among the selected videos, but there are {clusters} clusters "
            f"(0 to {clusters - 1}); select again with the same number of clusters"
        )
    _, first, entry = np.unique(rows, return_index=True, return_inverse=True)
    order = np.argsort(first)
    video = np.argsort(order)[entry]  # position of each entry's video among the distinct ones
    targets = np.zeros((len(first), clusters), np.float32)
    targets[video, labels] = 1
    if targets.any(0).sum() < 2:
        raise InputError(
            "training: all selected videos are of one cluster, so there is nothing to tell apart; "
            "use more clusters or a higher select.rate"
        )
    return rows[np.sort(first)], targets


def count_steps(videos: int, batch: int, epochs: float, least: int, most: int) -> int:
    """Steps of ``batch`` videos that pass over all videos so many times, but never fewer or more than these."""
    return min(max(math.ceil(epochs * videos / batch), least), most)


def train(
    snippets: Snippets,
    rows: np.ndarray,
    labels: np.ndarray,
    *,
    clusters: int,
    localizer: str = "cola",
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    steps: int | None = None,
    epochs: float = EPOCHS,
    least_steps: int = LEAST_STEPS,
    most_steps: int = MOST_STEPS,
    batch: int = 16,
    length: int = 750,
    learning_rate: float = 1e-4,
    weight_decay: float = 5e-4,
    precision: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    checkpoint: str | Path | None = None,
) -> tuple[Localizer, Columns]:
    """Train a localizer on videos that have a cluster for a label, by Adam.

    Parameters
    ----------
    snippets : Snippets
        Features [S, F] of at least the selected videos.
    rows : int [n]
        Positions of the selected videos in ``snippets``; a video with several clusters is listed once for each.
    labels : int [n]
        Their clusters.
    clusters : int
        K.
    localizer : str
        Name of the network, see :data:`feel_steps.localizers.LOCALIZERS`.
    settings : mapping, optional
        Its own settings.
    seed, batch : int
        Random seed; videos a step (B).
    steps : int, optional
        Optimizer steps; None: as many as ``epochs`` take.
    epochs, least_steps, most_steps
        Passes over the videos, and limits to the steps that they take.
    length : int
        Snippets sampled of a video (T).
    learning_rate, weight_decay : float
        Of Adam.
    precision : {"auto", "float32", "bfloat16"}
        Of the large matrix products; auto is bfloat16 where the hardware has it.
    device, threads
        See :func:`feel_steps.runtime.devices.pick` and :func:`feel_steps.runtime.devices.deterministic`.
    checkpoint : path, optional
        A file for the state every three minutes. Where it exists and fits, training goes on from it. The caller
        removes it once the model is written.

    Returns
    -------
    model : Localizer
        Trained, on the device, ready to attend.
    training : columns
        ``step``, ``loss``, one column for each term of the loss (means over the steps since the row before), and
        ``learning_rate``.

    Raises
    ------
    InputError
        The selection or a setting is of no use, memory runs out, or the loss is not finite.
    """
    where = devices.pick(device)
    dtype = devices.pick_precision(precision, where)
    rows, targets = to_targets(rows, labels, clusters)
    if steps is None:
        steps = count_steps(len(rows), batch, epochs, least_steps, most_steps)
    for name, value in [("steps", steps), ("batch", batch), ("length", length)]:
        if value < 1:
            raise InputError(f"train.{name}: {value}; expected 1 or more")
    fixed = {
        "localizer": localizer, "settings": dict(settings or {}), "clusters": clusters, "seed": seed, "steps": steps,
        "batch": batch, "length": length, "learning_rate": learning_rate, "weight_decay": weight_decay,
        "precision": str(dtype), "device": where.type, "torch": torch.__version__, "source": source.digest("train"),
    }  # fmt: skip
    advice = f"lower train.batch ({batch}) or train.length ({length})"
    with devices.out_of_memory("training", where, advice), devices.deterministic(seed, threads):
        devices.keep_buffers()
        fixed["threads"] = torch.get_num_threads()
        identity = digest(fixed, snippets, rows, targets) if checkpoint else ""
        model = weights.build(localizer, snippets.features.shape[1], clusters, **(settings or {})).to(where)
        optimizer = Adam(model.parameters(), learning_rate, weight_decay)
        batches = Batches(snippets, rows, targets, batch, length, seed, where)
        work = f"{len(rows)} videos, {steps} steps ({steps * batch / len(rows):.3g} epochs)"
        print(f"training: {localizer}, {work}, {str(dtype)[6:]} on {devices.describe(where)}", file=sys.stderr)
        log = _loop(model, optimizer, batches, Checkpoint(checkpoint, identity), steps, dtype)
        print(f"training: ended with {devices.describe(where)}", file=sys.stderr)
    return model.eval(), log.columns(learning_rate)


def digest(fixed: Mapping[str, Any], snippets: Snippets, rows: np.ndarray, targets: np.ndarray) -> str:
    """Digest of all that a training's result depends on: settings, program, threads, videos, labels, features."""
    crc = 0
    for row in () if isinstance(snippets.features, Stored) else rows:
        crc = zlib.crc32(np.ascontiguousarray(snippets.video(row)).data, crc)
    content = snippets.features.digest() if isinstance(snippets.features, Stored) else crc
    text = json.dumps([fixed, [snippets.video_ids[row] for row in rows], targets.tolist(), content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def take_step(model: Localizer, optimizer: Adam, batches: Batches, step: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Take one step; return its loss and the terms, on the device."""
    torch.manual_seed(step_seed(batches.seed, step))
    x, y = batches.draw(step)
    with torch.autocast(x.device.type, dtype, enabled=dtype != torch.float32):
        outputs = model(x)
    loss = model.loss(outputs, y)
    optimizer.descend(loss["loss"])
    return {name: term.detach() for name, term in loss.items()}


def _loop(
    model: Localizer,
    optimizer: Adam,
    batches: Batches,
    checkpoint: Checkpoint,
    steps: int,
    dtype: torch.dtype,
) -> Log:
    """Run the steps that are not done yet."""
    log = checkpoint.restore(model, optimizer)
    done = log.steps[-1] if log.steps else 0
    losses: list[dict[str, Tensor]] = []  # since the last row; read seldom, since reading waits for the device
    model.train()
    start = time.monotonic()
    with Progress("training", steps - done, "step") as progress:
        for step in range(done, steps):
            losses.append(take_step(model, optimizer, batches, step, dtype))
            if step - done == TRIED_STEPS - 1:
                losses[-1]["loss"].item()  # waits for the device
                whole = clock((time.monotonic() - start) / TRIED_STEPS * (steps - done))
                print(f"training: will take about {whole}", file=sys.stderr, flush=True)
            if (step + 1) % LOG_STEPS == 0 or step + 1 == steps:
                log.add(step + 1, losses)
                progress.advance(len(losses), f"loss {log.means[-1][log.names.index('loss')]:.4g}")
                losses = []
                checkpoint.save_if_due(model, optimizer, log)
    return log
