"""Have a device to oneself for the time of a block.

PyTorch is imported only where there may be a GPU to take.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from feel_steps.runtime.gpus import Gpu, ask, lock, name_of, parse, visible


@contextmanager
def claim(device: str = "auto") -> Iterator[str]:
    """Have a device to oneself for the time of a block.

    Of several GPUs it is the one with the most free memory that no other job of this user has; where all are taken, or
    the named one is, the block waits. Where a scheduler has given the job one GPU, it is that one, without a lock. CUDA
    must not have started in this process: it will see the claimed GPU alone, until the process ends.

    Parameters
    ----------
    device : str
        ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``, N as in nvidia-smi or, where that is set,
        the place in CUDA_VISIBLE_DEVICES.

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
    if kind == "cpu":
        yield "cpu"
        return
    import torch

    from feel_steps.runtime.devices import pick

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
        gpu = gpus[0] if given else stack.enter_context(lock(wanted, device))
        if not known:
            yield f"cuda:{gpus.index(gpu)}"
            return
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu.uuid  # so it is cuda:0, and nothing of this job lies on another
        if not torch.cuda.is_available():
            stack.close()
            print(f"{name_of(gpu)}: PyTorch cannot use it; is the driver too old for this PyTorch?", file=sys.stderr)
            yield str(pick("auto" if kind == "auto" else "cuda"))
            return
        stack.callback(torch.cuda.empty_cache)  # for the next job, while this one writes its results
        stack.callback(_say_usage, gpu)
        yield "cuda:0"


def _say_usage(gpu: Gpu) -> None:
    """Print one line for the log: how much of the GPU's memory this process used at most, and how busy the GPU is."""
    import torch

    peak = torch.cuda.max_memory_reserved() / 2**30
    memory, rates = ask("nvmlDeviceGetMemoryInfo", gpu), ask("nvmlDeviceGetUtilizationRates", gpu)
    total = f" of {memory.total / 2**30:.0f}" if memory else ""
    busy = f", the GPU is {rates.gpu} % busy" if rates else ""
    print(f"{name_of(gpu)}: peak memory {peak:.2f}{total} GiB{busy}", file=sys.stderr)
