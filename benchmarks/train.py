"""How fast is a training step, beside a plain reading of the published program's and beside what the machine can do?

    python benchmarks/train.py [--runs 5] [--quick] [--device auto]

The plain step reads the .npy files of each video of the batch, runs nn.Conv1d in float32, mines snippets on the CPU
through numpy and scipy, and takes a step of PyTorch's Adam, as CoLA's public program does; its evaluation inside the
training loop is left out. Both take turns, and both keep their buffers, as our training does and the published
program does not; times are medians, the ratio is the median over the pairs. The peak is
measured too: the best of several large matrix products of that precision. Expected: minutes on 2 cores.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

from feel_steps.localizers.cola import CoLA
from feel_steps.runtime import devices
from feel_steps.tables.snippets import Snippets
from feel_steps.train import Adam, Batches, take_step

SHAPES = {"small": 128, "THUMOS'14": 750}  # T, with B 16, F 2048 and E 2048
B, FEATURES, HIDDEN, K, VIDEOS = 16, 2048, 2048, 20, 32


class PlainCoLA(nn.Module):
    """CoLA as its paper describes it, on the modules at hand."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Sequential(nn.Conv1d(FEATURES, HIDDEN, 3, padding=1), nn.ReLU())
        self.classify = nn.Sequential(nn.Conv1d(HIDDEN, K, 1, bias=False), nn.ReLU())
        self.dropout, self.mask = nn.Dropout(0.7), nn.Dropout(0.6)

    def forward(self, x):
        embedding = self.embed(x.permute(0, 2, 1))
        cas = self.classify(self.dropout(embedding)).permute(0, 2, 1)
        embedding, actionness, T = embedding.permute(0, 2, 1), cas.sum(2), x.shape[1]
        scores = cas.sort(1, descending=True).values[:, : T // 5].mean(1).softmax(1)
        mask = self.mask(torch.ones_like(actionness))
        background = actionness.amax(1, keepdim=True) - actionness
        own = actionness.detach().cpu().numpy()
        binary = own > np.median(own, 1, keepdims=True)
        eroded = [ndimage.binary_erosion(binary, np.ones((1, size))) for size in (3, 6)]
        dilated = [ndimage.binary_dilation(binary, np.ones((1, size))) for size in (6, 3)]
        inner = actionness.new_tensor(eroded[0].astype(float) - eroded[1])
        outer = actionness.new_tensor(dilated[0].astype(float) - dilated[1])

        def mine(score, k):
            places = score.sort(1, descending=True).indices[:, :k]
            return embedding.gather(1, places[:, :, None].expand(-1, -1, HIDDEN))

        easy, hard = T // 5, T // 20
        mined = [mine(actionness * mask, easy), mine(background * mask, easy)]
        return scores, *mined, mine(actionness * inner, hard), mine(actionness * outer, hard)

    def loss(self, outputs, labels):
        scores, EA, EB, HA, HB = outputs

        def nce(query, key, negatives):
            query, key, negatives = (F.normalize(v, dim=-1) for v in (query, key, negatives))
            positive, negative = (query * key).sum(1, keepdim=True), torch.einsum("be,bke->bk", query, negatives)
            logits = torch.cat([positive, negative], 1) / 0.07
            return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))

        contrast = nce(HA.mean(1), EA.mean(1), EB) + nce(HB.mean(1), EB.mean(1), EA)
        return F.binary_cross_entropy(scores, labels / labels.sum(1, keepdim=True)) + 0.01 * contrast


def plain_step(model, optimizer, folder, labels, T, device, rng):
    """Load, look, mine and learn, with a float at the end as the published log has it."""
    videos, batch = rng.permutation(VIDEOS)[:B], []
    for video in videos:
        streams = [np.load(folder / f"{stream}-{video}.npy") for stream in ("rgb", "flow")]
        features = np.concatenate(streams, 1)
        first = np.arange(T) * len(features) // T
        last = np.maximum(first + 1, np.minimum((np.arange(T) + 1) * len(features) // T, len(features)))
        batch.append(torch.from_numpy(features[rng.integers(first, last)]))
    x, y = torch.stack(batch).to(device), torch.from_numpy(labels[videos]).to(device)
    loss = model.loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def write(folder, T):
    """Random features of videos of T / 2 to 2 T snippets, in one matrix and as two .npy files a video."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(T // 2, 2 * T, VIDEOS)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    features = rng.random((offsets[-1], FEATURES), np.float32)
    for video, (start, stop) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
        np.save(folder / f"rgb-{video}.npy", features[start:stop, : FEATURES // 2])
        np.save(folder / f"flow-{video}.npy", features[start:stop, FEATURES // 2 :])
    labels = np.eye(K, dtype=np.float32)[rng.integers(0, K, VIDEOS)]
    return Snippets([str(video) for video in range(VIDEOS)], features, offsets), labels


def seconds(step, repeat, device):
    """Mean time of ``step`` over ``repeat`` in a row."""
    began = time.perf_counter()
    for _ in range(repeat):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / repeat


def peak(dtype, device):
    """FLOP/s of large matrix products: the best of a few."""
    n = 8192 if device.type == "cuda" else 2048
    a, b = (torch.rand(n, n, device=device, dtype=dtype) for _ in range(2))
    seconds(lambda: a @ b, 2, device)
    return 2 * n**3 / min(seconds(lambda: a @ b, 3, device) for _ in range(5))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="pairs of runs")
    parser.add_argument("--quick", action="store_true", help="the small shape, two pairs")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = devices.pick(options.device)
    repeat = 20 if device.type == "cuda" else 1  # steps to a run
    runs, shapes = (2, ["small"]) if options.quick else (options.runs, list(SHAPES))
    dtypes = [torch.float32, *([torch.bfloat16] if devices.has_fast_bfloat16(device) else [])]
    devices.keep_buffers()
    peaks = {dtype: peak(dtype, device) for dtype in dtypes}
    print(f"{devices.describe(device)}; load {os.getloadavg()[0]:.1f} at the start")
    print("shape      precision  plain ms   our ms  ratio  GFLOP/s  peak GFLOP/s  share  6000 steps, min")
    for name in shapes:
        T = SHAPES[name]
        # embedding and its weights' gradient; the classifier with both gradients
        work = 2 * 2 * B * T * 3 * FEATURES * HIDDEN + 3 * 2 * B * T * HIDDEN * K
        with tempfile.TemporaryDirectory() as folder, devices.deterministic(0):
            snippets, labels = write(Path(folder), T)
            plain, rng = PlainCoLA().to(device), np.random.default_rng(0)
            plain_adam = torch.optim.Adam(plain.parameters(), lr=1e-4, weight_decay=5e-4)
            batches = Batches(snippets, np.arange(VIDEOS), labels, B, T, 0, device)
            for dtype in dtypes:
                model = CoLA(FEATURES, K, hidden=HIDDEN).to(device).train()
                adam, turn = Adam(model.parameters(), 1e-4, 5e-4), iter(range(10**9))

                def theirs(step=(plain, plain_adam, Path(folder), labels, T, device, rng)):
                    torch.set_deterministic_debug_mode("default")
                    plain_step(*step)

                def ours(step=(model, adam, batches), turn=turn, dtype=dtype):
                    torch.set_deterministic_debug_mode("error")
                    take_step(*step, next(turn), dtype)

                seconds(theirs, 1, device), seconds(ours, 1, device)
                times = np.array([[seconds(step, repeat, device) for step in (theirs, ours)] for _ in range(runs)])
                slow, fast = np.median(times, 0)
                ratio = np.median(times[:, 0] / times[:, 1])
                cells = f"{name:<9}  {str(dtype).removeprefix('torch.'):<9}  {slow * 1e3:>8.1f}  {fast * 1e3:>7.1f}"
                speed = f"{work / fast / 1e9:>7.0f}  {peaks[dtype] / 1e9:>12.0f}  {work / fast / peaks[dtype]:>5.0%}"
                print(f"{cells}  {ratio:>5.2f}  {speed}  {fast * 100:>15.1f}", flush=True)


if __name__ == "__main__":
    main()
