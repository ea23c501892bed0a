"""The example in docs/howto/add-a-localizer.md is what people start from: it must run as it stands there."""

import ast
import re

import numpy as np

from feel_steps import localizers
from feel_steps.attend import attend
from feel_steps.localizers import settings_of, weights
from feel_steps.tables import tables
from feel_steps.train import train
from tests.paths import ROOT
from tests.tiny import make_snippets, make_videos

PAGE = ROOT / "docs" / "howto" / "add-a-localizer.md"


def test_the_worked_example_trains_and_attends(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    module = next(block for block in blocks if "class STPN" in block)
    line = next(block for block in blocks if block.lstrip().startswith('"stpn"'))
    assert module.count("\n") <= 60
    (tmp_path / "stpn.py").write_text(module)
    monkeypatch.setattr(localizers, "__path__", [*localizers.__path__, str(tmp_path)])
    for name, place in ast.literal_eval(f"{{{line}}}").items():
        monkeypatch.setitem(localizers.LOCALIZERS, name, place)
    assert [*settings_of("stpn")] == ["hidden", "sparsity"]

    snippets = make_snippets()
    model, table = train(
        snippets, np.arange(6), np.arange(6) % 2, clusters=2, localizer="stpn", settings={"hidden": 16}, steps=150,
        batch=4, length=20, learning_rate=1e-2, threads=1,
    )  # fmt: skip
    tables.write(tmp_path / "training.parquet", "training", table)
    weights.save(model, tmp_path / "model.safetensors")
    model = weights.load(tmp_path / "model.safetensors")
    attention, embeddings = attend(model, snippets, make_videos(snippets), length=20, threads=1)
    tables.write(tmp_path / "attention.parquet", "attention", attention)
    tables.write(tmp_path / "embeddings.parquet", "embeddings", embeddings)

    assert (embeddings["score"].argmax(1) == np.arange(6) % 2).all()
    for start, length in zip(snippets.offsets, snippets.lengths, strict=False):
        actionness = attention["actionness"][start : start + length]
        inside = np.arange(length) // (length / 3) == 1
        assert actionness[inside].mean() > 2 * actionness[~inside].mean()
