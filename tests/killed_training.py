"""Train by the command's function, killed at random instants and resumed; ``test_kill.py`` runs and checks this.

    python tests/killed_training.py FOLDER KILLS

FOLDER holds videos.parquet, selected.parquet and features/. FOLDER/whole is trained without a kill, FOLDER/kill-NN
with one. PyTorch is imported once: each training is a fork of this process.
"""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import pandas  # noqa: F401  pyarrow imports it at the first read

from feel_steps import train
from feel_steps.cli import localizer
from feel_steps.localizers import cola, weights  # noqa: F401
from feel_steps.tables import snippets  # noqa: F401

STEPS = 24
train.LOG_STEPS, train.CHECKPOINT_SECONDS = 2, 0.0  # 12 checkpoints: many kills fall amid writing one


def start(folder: Path, out: Path) -> int:
    """Start a training and return its process id; what it says goes to out/log."""
    out.mkdir(exist_ok=True)
    if pid := os.fork():
        return pid
    code = 1
    try:
        with open(out / "log", "a") as log:
            os.dup2(log.fileno(), 2)
        localizer.train(
            videos=folder / "videos.parquet",
            features=folder / "features",
            selected=folder / "selected.parquet",
            clusters=2,
            out=out / "model.safetensors",
            out_training=out / "training.parquet",
            settings='{"hidden": 8}',
            steps=STEPS,
            batch=4,
            length=20,
            device="cpu",
            threads=1,
        )
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def finish(pid: int) -> None:
    """Wait for a training to succeed."""
    status = os.waitpid(pid, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 0, "a training failed; see its log"


def main() -> None:
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    began = time.monotonic()
    finish(start(folder, folder / "whole"))
    span = time.monotonic() - began
    instants = random.Random(0)
    for number in range(kills):
        out, killed = folder / f"kill-{number:02}", False
        while not killed:  # a training may be done before its kill
            for file in out.glob("*"):
                file.unlink()
            pid = start(folder, out)
            time.sleep(instants.uniform(0.4 * span, span))  # the first part of it is start-up
            os.kill(pid, signal.SIGKILL)
            killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        finish(start(folder, out))


if __name__ == "__main__":
    main()
