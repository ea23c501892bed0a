"""Lists, counts and locks GPUs by NVML; Snakemake uses it, too, so it must not import PyTorch.

The jobs of one user share the GPUs of a machine by locks, one file per GPU. The operating system frees a lock when the
process that holds it ends, even after kill -9.
"""

from __future__ import annotations

import math
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feel_steps.errors import InputError

try:
    import pynvml
except ModuleNotFoundError:  # with --use-conda, Snakemake's own environment need not have it
    pynvml = None  # type: ignore[assignment]

POLL = 1.0  # seconds between attempts to get a GPU
REMIND = 600.0  # seconds between lines that say what a job waits for


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a MIG instance of one: NVML's UUID and handle (None where NVML is missing)."""

    uuid: str
    handle: Any = field(compare=False)


def parse(device: str) -> tuple[str, int | None]:
    """Split the name of a device into its kind (auto, cpu, cuda or mps) and its number, if it has one.

    Raises
    ------
    InputError
        The name has none of these forms.
    """
    match = re.fullmatch(r"(auto|cpu|cuda|mps)|cuda:(\d+)", device)
    if match is None:
        raise InputError(f"device '{device}': expected auto, cpu, cuda, cuda:N or mps")
    return match[1] or "cuda", int(match[2]) if match[2] else None


def visible() -> list[Gpu]:
    """List the GPUs that NVML and CUDA_VISIBLE_DEVICES show, in the order of nvidia-smi or of that variable.

    The variable holds numbers as in nvidia-smi, or UUIDs: ``GPU-…``, which may be shortened, or ``MIG-…``. As in CUDA,
    the list ends before the first GPU that does not exist. Without a driver it is empty.
    """
    if pynvml is None:
        return []
    present = []
    try:
        pynvml.nvmlInit()
        for number in range(pynvml.nvmlDeviceGetCount()):
            with suppress(pynvml.NVMLError):  # a scheduler or container hides this GPU
                handle = pynvml.nvmlDeviceGetHandleByIndex(number)
                present.append(Gpu(pynvml.nvmlDeviceGetUUID(handle), handle))
    except pynvml.NVMLError:
        return []
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return present
    listed: list[Gpu] = []
    for name in names.split(","):
        gpu = _find(name.strip(), present)
        if gpu is None or gpu in listed:
            break
        listed.append(gpu)
    return listed


def _find(name: str, present: Sequence[Gpu]) -> Gpu | None:
    """The GPU that one entry of CUDA_VISIBLE_DEVICES names."""
    if name.startswith("MIG-"):
        with suppress(pynvml.NVMLError):
            return Gpu(name, pynvml.nvmlDeviceGetHandleByUUID(name))
    if name.isdecimal():
        return present[int(name)] if int(name) < len(present) else None
    matches = [gpu for gpu in present if name.startswith("GPU-") and gpu.uuid.startswith(name)]
    return matches[0] if len(matches) == 1 else None


def count(device: str) -> int:
    """Number of jobs with this ``device`` that can each have a GPU; 0 if NVML sees none, or for cpu and mps."""
    kind, number = parse(device)
    gpus = 0 if kind in ("cpu", "mps") else len(visible())
    return gpus if number is None else min(gpus, 1)


@contextmanager
def lock(gpus: Sequence[Gpu], device: str) -> Iterator[Gpu]:
    """Lock the GPU with the most free memory that no other job has locked; wait until there is one."""
    folder, reminded = _lock_folder(), -math.inf
    while True:
        for gpu in sorted(gpus, key=_free, reverse=True):
            if taken := _take(folder / gpu.uuid):
                with taken:
                    yield gpu
                return
        if time.monotonic() - reminded > REMIND:
            names = ", ".join(f"{name_of(gpu)} ({gpu.uuid})" for gpu in gpus)
            print(f"device {device}: waiting, since other jobs have {names}", file=sys.stderr)
            reminded = time.monotonic()
        time.sleep(POLL)


def _take(path: Path) -> AbstractContextManager[Any] | None:
    """Lock a file, unless another process has locked it; leaving the context frees the lock."""
    from filelock import FileLock, Timeout  # Snakemake's own environment need not have it

    try:
        proxy = FileLock(path).acquire(blocking=False)
    except Timeout:
        return None
    os.utime(path)  # so that nobody deletes it as an old temporary file
    return proxy


def _lock_folder() -> Path:
    """A folder for locks in the temporary folder of the machine, owned by this user."""
    if not hasattr(os, "getuid"):  # on Windows each user has a temporary folder
        folder = Path(tempfile.gettempdir(), "feel-steps")
        folder.mkdir(exist_ok=True)
        return folder
    folder = Path(tempfile.gettempdir(), f"feel-steps-{os.getuid()}")
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise InputError(f"{folder}: expected a folder of your own, for locks of GPUs; remove it, or set TMPDIR")
    return folder


def ask(question: str, gpu: Gpu) -> Any:
    """Answer of NVML about a GPU; None if this GPU, or NVML, has none."""
    if gpu.handle is None:
        return None
    try:
        return getattr(pynvml, question)(gpu.handle)
    except pynvml.NVMLError:
        return None


def _free(gpu: Gpu) -> int:
    memory = ask("nvmlDeviceGetMemoryInfo", gpu)
    return memory.free if memory else 0


def name_of(gpu: Gpu) -> str:
    return ask("nvmlDeviceGetName", gpu) or gpu.uuid
