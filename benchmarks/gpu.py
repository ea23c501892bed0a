"""Checks and times everything that can use a GPU, beside the CPU of the same machine.

    python benchmarks/gpu.py [--device auto]        # sizes of THUMOS'14: minutes, most of them on the CPU
    python benchmarks/gpu.py --device cpu --tiny    # no GPU at hand: does it run whole? Seconds

Weights and data are random, so nothing is downloaded. Each part runs on the CPU in float32 and on the device as the
config's "auto" would run it. "difference" is the largest difference of the two results, relative to the largest value
of the CPU's; the ranking has to agree exactly, or the program ends with an error. A training has other random numbers
on a GPU, so its loss is only checked to be finite. "peak" is the share of the device's best measured product.
"""

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.train import peak, seconds
from feel_steps.attend import attend
from feel_steps.errors import InputError
from feel_steps.features.i3d import InceptionI3d
from feel_steps.localizers import weights
from feel_steps.ranking import rank
from feel_steps.runtime import devices
from feel_steps.tables.snippets import Snippets
from feel_steps.train import Adam, Batches, take_step

FULL = {
    "pictures": 32, "side": 224, "frames": 16, "clips": 4, "hidden": 768, "layers": 12,
    "points": 20_000, "features": 2048, "channels": 2048, "batch": 16, "length": 750, "videos": 32, "repeat": 10,
}  # fmt: skip
TINY = {
    "pictures": 2, "side": 32, "frames": 16, "clips": 1, "hidden": 16, "layers": 1,
    "points": 300, "features": 16, "channels": 16, "batch": 4, "length": 20, "videos": 6, "repeat": 1,
}  # fmt: skip
K = 20


def frames(size, device, precision):
    """EfficientNet-Lite0."""
    from feel_steps.features.frames import SIDE, Frames

    engine = Frames(fps=15, window=16, stride=8, precision=precision, device=str(device))
    pictures = np.random.default_rng(0).integers(0, 256, (size["pictures"], SIDE, SIDE, 3), np.uint8)
    return lambda: engine.look(pictures), len(pictures), "frame"


def i3d(size, device, precision):
    """One stream of I3D."""
    torch.manual_seed(0)
    network = InceptionI3d(in_channels=3).to(device)
    dtype = devices.pick_precision(precision, device)
    shape = size["clips"], 3, size["frames"], max(size["side"], 32), max(size["side"], 32)
    clips = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)

    @torch.inference_mode()
    def look():
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return network.extract_features(clips).float().cpu().numpy()

    return look, size["clips"], "clip"


def transformer(size, device, precision):
    """A ViT of the library transformers, through our extractor."""
    import transformers

    from feel_steps.features.transformers import Transformers

    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        shape = {"hidden_size": size["hidden"], "num_hidden_layers": size["layers"], "image_size": size["side"]}
        shape |= {"num_attention_heads": max(1, size["hidden"] // 64), "intermediate_size": 4 * size["hidden"]}
        config = transformers.ViTConfig(**shape, patch_size=16)
        transformers.ViTModel(config).save_pretrained(folder)
        about = {
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
            "size": {"height": size["side"], "width": size["side"]},
        }
        Path(folder, "preprocessor_config.json").write_text(json.dumps(about))
        engine = Transformers(fps=15, window=16, stride=8, model=folder, precision=precision, device=str(device))
    shape = size["pictures"], size["side"], size["side"], 3
    pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    look = torch.inference_mode()(engine._look)
    return lambda: look(pictures), len(pictures), "frame"


def ranking(size, device, precision):
    """The exact ranking of CCI; it has no other precision."""
    features = np.random.default_rng(0).standard_normal((size["points"], size["features"]), np.float32)
    return lambda: rank(features, 21, str(device)), size["points"], "video"


def make(size):
    """Random videos of half to twice the sampled length."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(size["length"] // 2, 2 * size["length"], size["videos"])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    features = rng.random((offsets[-1], size["features"]), np.float32)
    return Snippets([str(i) for i in range(size["videos"])], features, offsets)


def training(size, device, precision):
    """A step of CoLA."""
    N, turn = size["videos"], iter(range(10**9))
    torch.manual_seed(0)
    model = weights.build("cola", size["features"], K, hidden=size["channels"]).to(device).train()
    labels = np.eye(K, dtype=np.float32)[np.arange(N) % K]
    batches = Batches(make(size), np.arange(N), labels, size["batch"], size["length"], 0, device)
    adam, dtype = Adam(model.parameters(), 1e-4, 5e-4), devices.pick_precision(precision, device)
    return lambda: take_step(model, adam, batches, next(turn), dtype), 1, "step"


def attention(size, device, precision):
    """CoLA on every snippet."""
    torch.manual_seed(0)
    model, snippets = weights.build("cola", size["features"], K, hidden=size["channels"]), make(size)
    names, N = np.array(snippets.video_ids, object), size["videos"]
    videos = {"video_id": names, "fps": np.full(N, 25.0), "snippet_stride": np.full(N, 16)}
    videos |= {"snippet_window": np.full(N, 16)}
    options = {"length": size["length"], "device": str(device), "precision": precision}
    return lambda: attend(model, snippets, videos, **options)[0]["activation"], len(snippets.features), "snippet"


PARTS = {"frames": frames, "i3d": i3d, "transformer": transformer, "ranking": ranking, "attention": attention}


def difference(ours, theirs):
    """Largest difference, relative to the largest value; rankings must be the same."""
    if hasattr(ours, "neighbours"):
        if not np.array_equal(ours.neighbours, theirs.neighbours) or not np.array_equal(
            ours.distances, theirs.distances
        ):
            sys.exit("error: the ranking on the device differs from the CPU's")
        return "none"
    return f"{np.abs(ours - theirs).max() / np.abs(theirs).max():.1e}"


def compare(name, make_part, size, device):
    """A row of the table: rates on both, their ratio, the difference."""
    if name == "transformer" and not importlib.util.find_spec("transformers"):
        return [name, "the package transformers is not installed"]
    rates, results = [], []
    for where, precision in ((torch.device("cpu"), "float32"), (device, "auto")):
        try:
            part, units, unit = make_part(size, where, precision)
        except InputError as error:
            return [name, str(error)]
        results.append(part())  # the first call chooses kernels
        rates.append(units / seconds(part, size["repeat"] if where.type != "cpu" else 1, where))
    cells = [f"{rates[0]:.4g} {unit}s/s", f"{rates[1]:.4g} {unit}s/s", f"{rates[1] / rates[0]:.2f}"]
    return [name, *cells, difference(results[1], results[0])]


def train_rows(size, device):
    """Rows of the training, in float32 and, where it is fast, in bfloat16."""
    work = 2 * 2 * size["batch"] * size["length"] * 3 * size["features"] * size["channels"]
    work += 3 * 2 * size["batch"] * size["length"] * size["channels"] * K
    for precision in ("float32", *(["bfloat16"] if devices.has_fast_bfloat16(device) else [])):
        step, *_ = training(size, device, precision)
        if not np.isfinite(step()["loss"].item()):
            sys.exit(f"error: the loss of a training in {precision} on the device is not finite")
        took = seconds(step, size["repeat"], device)
        share = work / took / peak(devices.pick_precision(precision, device), device)
        yield [precision, f"{took * 1e3:.1f}", f"{took * 6000:.0f}", f"{work / took / 1e12:.2f}", f"{share:.0%}"]


def table(heads, rows):
    """Print a table in Markdown, row by row."""
    print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(row + [""] * (len(heads) - len(row))) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", action="store_true", help="small shapes: whether it runs, not how fast")
    options = parser.parse_args()
    device, size = devices.pick(options.device), TINY if options.tiny else FULL
    print(f"{devices.describe(device)}; PyTorch {torch.__version__}; load {os.getloadavg()[0]:.1f} at the start")
    rows = (compare(name, part, size, device) for name, part in PARTS.items())
    table(["part", "CPU", device.type, "ratio", "difference"], rows)
    shape = f"{size['batch']} × {size['length']} × {size['features']}"
    heads = [f"training, {shape}", "ms a step", "6,000 steps, s", "TFLOP/s", "peak"]
    with devices.deterministic(0):
        table(heads, train_rows(size, device))


if __name__ == "__main__":
    main()
