"""Reserves a GPU for one job. PyTorch is imported only if there may be a GPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from feel_steps.runtime.gpus import Gpu, ask, lock, name_of, parse, visible


@contextmanager
def claim(device: str = "auto") -> Iterator[str]:
    """Reserve a device while a block runs.

    Of several GPUs, the job gets the one with the most free memory that no other job of this user has reserved. If all
    of them, or the named one, are reserved, it waits. If a scheduler gave the job exactly one GPU, the job gets it
    without a lock. CUDA must not have started in this process: until the process ends, CUDA sees only the reserved GPU.

    Parameters
    ----------
    device : str
        ``auto`` (a GPU of NVIDIA's if there is one), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``. N is the number in
        nvidia-smi or, if CUDA_VISIBLE_DEVICES is set, the position in it.

    Yields
    ------
    str
        The device's name for PyTorch.

    Raises
    ------
    InputError
        The name has none of these forms, or this GPU does not exist.
    """
    kind, number = parse(device)
    if kind == "cpu":
        yield "cpu"
        return
    import torch

    from feel_steps.runtime.devices import pick

    if kind == "mps":
        yield str(pick("mps"))
        return
    gpus = visible() if torch.backends.cuda.is_built() else []
    known = bool(gpus)
    # without NVML, CUDA starts here and sees all GPUs, so CUDA's numbers identify them
    gpus = gpus or [Gpu(f"number-{i}", None) for i in range(torch.cuda.device_count())]
    if not gpus or (number is not None and number >= len(gpus)):
        yield str(pick(device))  # the CPU, or an error
        return
    wanted = gpus if number is None else [gpus[number]]
    with ExitStack() as stack:
        given = "SLURM_JOB_ID" in os.environ and len(gpus) == 1
        gpu = gpus[0] if given else stack.enter_context(lock(wanted, device))
        if not known:
            yield f"cuda:{gpus.index(gpu)}"
            return
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu.uuid  # then it is cuda:0, and the job uses no other GPU
        if not torch.cuda.is_available():
            stack.close()
            print(f"{name_of(gpu)}: PyTorch cannot use it; is the driver too old for this PyTorch?", file=sys.stderr)
            yield str(pick("auto" if kind == "auto" else "cuda"))
            return
        stack.callback(torch.cuda.empty_cache)  # the next job may use the memory while this one writes its results
        stack.callback(_say_usage, gpu)
        yield "cuda:0"


def _say_usage(gpu: Gpu) -> None:
    """Print one line for the log: the peak of this process's GPU memory, and how busy the GPU is."""
    import torch

    peak = torch.cuda.max_memory_reserved() / 2**30
    memory, rates = ask("nvmlDeviceGetMemoryInfo", gpu), ask("nvmlDeviceGetUtilizationRates", gpu)
    total = f" of {memory.total / 2**30:.0f}" if memory else ""
    busy = f", the GPU is {rates.gpu} % busy" if rates else ""
    print(f"{name_of(gpu)}: peak memory {peak:.2f}{total} GiB{busy}", file=sys.stderr)
