"""Train by the command's function, killed at chosen moments and resumed; ``test_kill.py`` runs and checks this.

    python tests/killed_training.py FOLDER KILLS

FOLDER holds videos.parquet, selected.parquet and features/. FOLDER/whole is trained without a kill, FOLDER/kill-NN
with one. A moment is the start of a step, or what comes before a file of the training is opened, renamed or removed;
kills are spread evenly over all moments, so that the same instants are hit on a slow machine and on a fast one.
PyTorch is imported once: each training is a fork of this process.
"""

import os
import signal
import sys
import traceback
from pathlib import Path

import pandas  # noqa: F401  pyarrow imports it at the first read

from feel_steps import train
from feel_steps.cli import localizer
from feel_steps.localizers import cola, weights  # noqa: F401
from feel_steps.tables import snippets  # noqa: F401

STEPS = 24
train.LOG_STEPS, train.CHECKPOINT_SECONDS = 2, 0.0  # 12 checkpoints: most kills fall around the writing of one
FILE_EVENTS = ("open", "os.rename", "os.remove")  # of Python's audit hooks


def count_moments(out: Path, last: int | None) -> list[int]:
    """Count the moments of this process from now on, in the only entry of what is returned; kill it at ``last``."""
    moments = [0]

    def pass_moment(file: Path | None = None) -> None:
        moments[0] += 1
        if moments[0] == last:
            if file and file.suffix == ".tmp" and file.exists():
                os.truncate(file, file.stat().st_size // 2)  # as if it were still being written
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, arguments: tuple) -> None:
        if event in FILE_EVENTS and str(arguments[0]).startswith(str(out)):
            pass_moment(Path(arguments[0]) if event == "open" else None)

    take_step = train.take_step

    def take_watched_step(*arguments: object) -> object:
        pass_moment()
        return take_step(*arguments)

    train.take_step = take_watched_step
    sys.addaudithook(watch)
    return moments


def run(folder: Path, out: Path, last: int | None = None) -> int:
    """Train in a process of its own, killed at moment ``last``; what it says goes to out/log.

    Returns how many moments it passed: 0 if it was killed.
    """
    out.mkdir(exist_ok=True)
    reading, writing = os.pipe()
    if pid := os.fork():
        os.close(writing)
        with open(reading) as pipe:
            passed = int(pipe.read() or 0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == (0 if last is None else -signal.SIGKILL), f"a training ended with {code}; see {out}/log"
        return passed
    code = 1
    try:
        with open(out / "log", "a") as log:
            os.dup2(log.fileno(), 2)
        moments = count_moments(out, last)
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
        os.write(writing, str(moments[0]).encode())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    moments = run(folder, folder / "whole")
    for number in range(kills):
        out = folder / f"kill-{number:02}"
        run(folder, out, last=1 + (moments - 1) * number // (kills - 1))
        run(folder, out)


if __name__ == "__main__":
    main()
