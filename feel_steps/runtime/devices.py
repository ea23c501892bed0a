"""Chooses the device and precision of the networks, and makes their arithmetic deterministic."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
import timeit
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pynvml
import torch

from feel_steps.errors import InputError
from feel_steps.runtime.gpus import parse

GIB = 2**30
# In hardware, bfloat16 is 1.5 to 6 times as fast as float32; in software, less than 0.2 times. The threshold is far
# from both, so a busy machine decides as an idle one does, and a rerun gives the same bytes.
SPEED_NEEDED = 0.6


def pick(device: str = "auto") -> torch.device:
    """Return the device of a name.

    Parameters
    ----------
    device : str
        ``auto`` (a GPU of NVIDIA's where there is one), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``, Apple's GPU.

    Raises
    ------
    InputError
        The name has none of these forms, or PyTorch does not see this GPU.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    kind, number = parse(device)
    if kind == "cpu":
        return torch.device("cpu")
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise InputError("device 'mps': PyTorch sees no Apple GPU here; use auto or cpu")
        return torch.device("mps")
    index = number or 0
    if index >= gpus:
        raise InputError(f"device '{device}': PyTorch sees {gpus} GPUs here; use auto, cpu or a smaller number")
    return torch.device("cuda", index)


@functools.cache
def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 matrices at least as fast as float32 matrices.

    For a GPU, its compute capability decides. A processor must have an instruction for it (AMX, AVX512 or ARM's), and a
    small product must be fast enough; it is measured once per process. Without the instruction, bfloat16 is up to
    hundreds of times slower than float32.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return False  # nobody has measured it
    named = any(there for name, there in torch.cpu.get_capabilities().items() if "bf16" in name)
    return named and _bfloat16_speed() > SPEED_NEEDED


def _bfloat16_speed() -> float:
    """Speed of a bfloat16 product relative to a float32 product, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pairs = [torch.ones(2, 384, 384, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
        seconds = []
        for _ in range(7):  # in turns, and the best of each, since other programs may run at the same time
            seconds.append([timeit.timeit(lambda a=a, b=b: a @ b, number=1) for a, b in pairs])  # type: ignore[misc]
    finally:
        torch.set_num_threads(threads)
    single, half = np.min(seconds, axis=0)
    return float(single / half)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the hardware has instructions for bfloat16, which is enough for it to pay in convolutions.

    Unlike :func:`has_fast_bfloat16` it measures nothing, so that all processes on one machine decide alike: features of
    one run must have one precision.
    """
    if device.type != "cpu":
        return has_fast_bfloat16(device)
    return any(torch.cpu.get_capabilities().get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def pick_precision(precision: str, device: torch.device) -> torch.dtype:
    """Turn ``auto``, ``float32`` or ``bfloat16`` into the dtype of the large matrix products."""
    if precision not in ("auto", "float32", "bfloat16"):
        raise InputError(f"precision '{precision}': expected auto, float32 or bfloat16")
    if precision == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def describe(device: torch.device) -> str:
    """One phrase for the log: CPU and number of threads, or name and used memory of the GPU (by NVML)."""
    if device.type == "cpu":
        return f"CPU, {torch.get_num_threads()} threads"
    if device.type == "mps":
        return "Apple's GPU"
    name = torch.cuda.get_device_name(device)
    try:
        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"  # NVML ignores CUDA_VISIBLE_DEVICES
        memory = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(uuid))
        return f"{name}, {memory.used / GIB:.1f} of {memory.total / GIB:.0f} GiB used"
    except pynvml.NVMLError:
        return name


@contextmanager
def deterministic(seed: int, threads: int | None = None) -> Iterator[None]:
    """Run a block with seeded random numbers and deterministic kernels; restore the settings afterwards.

    Parameters
    ----------
    seed : int
        Seed of PyTorch's generators on all devices.
    threads : int, optional
        Number of CPU threads; the bytes of a result depend on it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    mode = torch.get_deterministic_debug_mode()
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    cores = torch.get_num_threads()
    # only the GPUs that this process uses: a look at others would start CUDA on them
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(gpus):
        try:
            # use_deterministic_algorithms(True) does the same, but loads PyTorch's compiler, which takes 3 s
            torch.set_deterministic_debug_mode("error")
            # do not fill new memory with NaN: no step reads memory that it has not written
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            torch.set_num_threads(threads or cores)
            torch.manual_seed(seed)
            yield
        finally:
            torch.set_deterministic_debug_mode(mode)
            torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]
            torch.set_num_threads(cores)


def release_buffers() -> None:
    """Let buffers of 1 MiB or more go back to the system as soon as they are free, in work that streams videos.

    After a while the allocator of Linux keeps them, and they pile up between what stays: attention to 2,000 videos of
    312 x 2048 took 1.6 GiB, and more with each video. It costs the time to clear them again.
    """
    _set_allocator(M_MMAP_MAX=65536, M_MMAP_THRESHOLD=2**20, M_TRIM_THRESHOLD=2**20)


def keep_buffers() -> None:
    """Let buffers stay with the process when they are free, in work that asks for the same ones at every step.

    The allocator of Linux gives those of 32 MiB or more back to the system, which clears the pages of the next ones.
    That was a sixth of a training step at THUMOS'14 shape; what stays is a quarter more memory.
    """
    _set_allocator(M_MMAP_MAX=0, M_TRIM_THRESHOLD=-1)


def _set_allocator(**options: int) -> None:
    """Set options of mallopt(3), where there is glibc."""
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        for name, value in options.items():
            mallopt({"M_TRIM_THRESHOLD": -1, "M_MMAP_THRESHOLD": -3, "M_MMAP_MAX": -4}[name], value)


# messages of PyTorch, cuBLAS and cuDNN when an allocation fails; only some raise OutOfMemoryError
NO_MEMORY = re.compile("out of memory|can't allocate memory|not enough memory|ALLOC_FAILED", re.IGNORECASE)


@contextmanager
def out_of_memory(what: str, device: torch.device, advice: str) -> Iterator[None]:
    """Run a block; if memory runs out, on the device or in RAM, raise an error of one line with advice.

    Raises
    ------
    InputError
        Memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not NO_MEMORY.search(str(error)):
            raise
        raise InputError(f"{what}: out of memory on {describe(device)}; {advice}") from None
