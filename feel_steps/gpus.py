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
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
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
SAMPLE = 0.2  # seconds between samples of what a job uses


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
def claim(device: str = "auto", usage: Path | None = None) -> Iterator[str]:
    """Have a device to oneself for the time of a block.

    Of several GPUs it is the one with the most free memory that no other job of this user has; where all are taken, or
    the named one is, the block waits. Where a scheduler has given the job one GPU, it is that one, without a lock. CUDA
    must not have started in this process: it will see the claimed GPU alone, until the process ends.

    Parameters
    ----------
    device : str
        ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``, N as in nvidia-smi or, where that is set,
        the place in CUDA_VISIBLE_DEVICES.
    usage : path, optional
        Where to write the usage table; nothing is written where NVML sees no GPU, or the block runs on the CPU.

    Yields
    ------
    str
        The device's name for PyTorch.

    Raises
    ------
    InputError
        The name is of no known form, or names a GPU that is not there.
    """
    kind, number = parse(device)
    if usage is not None:
        usage.unlink(missing_ok=True)  # that of an earlier run
    if kind == "cpu":
        yield "cpu"
        return
    import torch

    from feel_steps.devices import pick

    gpus = visible() if torch.backends.cuda.is_built() else []
    known = bool(gpus)
    # without NVML, CUDA starts here and sees all GPUs; its own numbers then tell them apart
    gpus = gpus or [Gpu(f"number-{i}", None) for i in range(torch.cuda.device_count())]
    if not gpus or (number is not None and number >= len(gpus)):
        yield str(pick(device))  # the CPU, or what is wrong
        return
    wanted = gpus if number is None else [gpus[number]]
    with ExitStack() as stack:
        given = "SLURM_JOB_ID" in os.environ and len(gpus) == 1
        gpu = gpus[0] if given else stack.enter_context(_lock(wanted, device))
        if not known:
            yield f"cuda:{gpus.index(gpu)}"
            return
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu.uuid  # so it is cuda:0, and nothing of this job lies on another
        if not torch.cuda.is_available():
            stack.close()
            print(f"{_name(gpu)}: PyTorch cannot use it; is the driver too old for this PyTorch?", file=sys.stderr)
            yield str(pick("auto" if kind == "auto" else "cuda"))
            return
        stack.callback(torch.cuda.empty_cache)  # for the next job, while this one writes its results
        if usage is not None:
            stack.enter_context(_watch(gpu, usage))
        yield "cuda:0"


@contextmanager
def _lock(gpus: Sequence[Gpu], device: str) -> Iterator[Gpu]:
    """Take the GPU with the most free memory that nobody has the lock of; wait until there is one."""
    folder, reminded = _lock_folder(), -math.inf
    while True:
        for gpu in sorted(gpus, key=_free, reverse=True):
            with open(folder / gpu.uuid, "a") as file:
                if _take(file):
                    yield gpu
                    return
        if time.monotonic() - reminded > REMIND:
            names = ", ".join(f"{_name(gpu)} ({gpu.uuid})" for gpu in gpus)
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


def _ask(question: str, gpu: Gpu) -> Any:
    """NVML's answer about a GPU; None where this GPU, or NVML, has none."""
    if gpu.handle is None:
        return None
    try:
        return getattr(pynvml, question)(gpu.handle)
    except pynvml.NVMLError:
        return None


def _free(gpu: Gpu) -> int:
    memory = _ask("nvmlDeviceGetMemoryInfo", gpu)
    return memory.free if memory else 0


def _name(gpu: Gpu) -> str:
    return _ask("nvmlDeviceGetName", gpu) or gpu.uuid


@contextmanager
def _watch(gpu: Gpu, path: Path) -> Iterator[None]:
    """Write what a block uses of a GPU; utilisation and energy are the whole GPU's, whoever else computes on it."""
    from feel_steps import artifacts

    before, began = _ask("nvmlDeviceGetMemoryInfo", gpu), time.monotonic()
    energy = _ask("nvmlDeviceGetTotalEnergyConsumption", gpu)  # mJ
    own, growth = [-1], [-1]  # bytes
    busy: list[int] = []  # %

    def sample() -> None:
        if rates := _ask("nvmlDeviceGetUtilizationRates", gpu):
            busy.append(rates.gpu)
        for process in _ask("nvmlDeviceGetComputeRunningProcesses", gpu) or []:
            if process.pid == os.getpid() and process.usedGpuMemory is not None:
                own.append(process.usedGpuMemory)
        if before and (memory := _ask("nvmlDeviceGetMemoryInfo", gpu)):
            growth.append(memory.used - before.used)

    def watch() -> None:
        while not done.wait(SAMPLE):
            sample()

    done, watcher = threading.Event(), threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        sample()
        after = _ask("nvmlDeviceGetTotalEnergyConsumption", gpu)
        row = {
            "device": _name(gpu),
            "uuid": gpu.uuid,
            "seconds": time.monotonic() - began,
            # in a container process ids are not those that NVML knows: then what the GPU's memory grew by
            "peak_memory": max(own) if len(own) > 1 else max(growth),
            "utilisation": sum(busy) / len(busy) if busy else math.nan,
            "energy": math.nan if energy is None or after is None else (after - energy) / 1000,
        }
        artifacts.write(path, "usage", {name: [value] for name, value in row.items()})
