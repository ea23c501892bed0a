"""Which GPU a job takes, and what it used of it, by NVML.

Jobs of one user share a machine's GPUs by locks, one file a GPU: the kernel frees a lock when the process that holds it
ends, however it ends. PyTorch is imported only where there is a GPU to take, since Snakemake counts GPUs, too.
"""

from __future__ import annotations

import fcntl
import math
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

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
    """Split a device's name into its kind (auto, cpu or cuda) and its number, if it has one.

    Raises
    ------
    InputError
        The name is of no known form.
    """
    found = re.fullmatch(r"(auto|cpu|cuda)|cuda:(\d+)", device)
    if found is None:
        raise InputError(f"device '{device}': expected auto, cpu, cuda or cuda:N")
    return found[1] or "cuda", int(found[2]) if found[2] else None


def visible() -> list[Gpu]:
    """List the GPUs that NVML and CUDA_VISIBLE_DEVICES show, in the order of nvidia-smi or of that variable.

    The variable holds numbers as of nvidia-smi, or UUIDs (``GPU-…``, of which a beginning will do, or ``MIG-…``). As in
    CUDA, the list ends at the first that is not there. Without a driver it is empty.
    """
    if pynvml is None:
        return []
    present = []
    try:
        pynvml.nvmlInit()
        for number in range(pynvml.nvmlDeviceGetCount()):
            with suppress(pynvml.NVMLError):  # the scheduler, or a container, keeps this one from us
                handle = pynvml.nvmlDeviceGetHandleByIndex(number)
                present.append(Gpu(pynvml.nvmlDeviceGetUUID(handle), handle))
    except pynvml.NVMLError:
        return []
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return present
    found: list[Gpu] = []
    for name in names.split(","):
        gpu = _find(name.strip(), present)
        if gpu is None or gpu in found:
            break
        found.append(gpu)
    return found


def _find(name: str, present: Sequence[Gpu]) -> Gpu | None:
    """The GPU that one entry of CUDA_VISIBLE_DEVICES means."""
    if name.startswith("MIG-"):
        with suppress(pynvml.NVMLError):
            return Gpu(name, pynvml.nvmlDeviceGetHandleByUUID(name))
    if name.isdecimal():
        return present[int(name)] if int(name) < len(present) else None
    alike = [gpu for gpu in present if name.startswith("GPU-") and gpu.uuid.startswith(name)]
    return alike[0] if len(alike) == 1 else None


def count(device: str) -> int:
    """How many jobs of this ``device`` can have a GPU of their own here; 0 where NVML sees none, or none is wanted."""
    kind, number = parse(device)
    here = 0 if kind == "cpu" else len(visible())
    return here if number is None else min(here, 1)


@contextmanager
def lock(gpus: Sequence[Gpu], device: str) -> Iterator[Gpu]:
    """Take the GPU with the most free memory that nobody has the lock of; wait until there is one."""
    folder, reminded = _lock_folder(), -math.inf
    while True:
        for gpu in sorted(gpus, key=_free, reverse=True):
            with open(folder / gpu.uuid, "a") as file:
                if _take(file):
                    yield gpu
                    return
        if time.monotonic() - reminded > REMIND:
            names = ", ".join(f"{name_of(gpu)} ({gpu.uuid})" for gpu in gpus)
            print(f"device {device}: waiting, since other jobs have {names}", file=sys.stderr)
            reminded = time.monotonic()
        time.sleep(POLL)


def _take(file: IO[str]) -> bool:
    """Lock a file, unless another process has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    os.utime(file.fileno())  # whoever cleans temporary folders of old files leaves it alone
    return True


def _lock_folder() -> Path:
    """A folder of the user's own in the machine's temporary one."""
    folder = Path(tempfile.gettempdir(), f"feel-steps-{os.getuid()}")
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise InputError(f"{folder}: expected a folder of your own, for locks of GPUs; remove it, or set TMPDIR")
    return folder


def ask(question: str, gpu: Gpu) -> Any:
    """NVML's answer about a GPU; None where this GPU, or NVML, has none."""
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
