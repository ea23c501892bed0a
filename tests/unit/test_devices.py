"""Names of devices and precisions, and that a seeded block leaves no trace."""

import subprocess
import sys

import pynvml
import pytest
import torch

from feel_steps.errors import InputError
from feel_steps.runtime import devices
from feel_steps.runtime.claim import claim
from tests.paths import ROOT

CPU = torch.device("cpu")


def test_auto_takes_the_processor_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.pick("auto") == CPU
    assert devices.pick("cpu") == CPU


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "device 'gpu': expected auto, cpu, cuda, cuda:N or mps"),
        ("cuda:x", "device 'cuda:x': expected auto, cpu, cuda, cuda:N or mps"),
        ("mps", "device 'mps': PyTorch sees no Apple GPU here; use auto or cpu"),
        ("cuda:7", "device 'cuda:7': PyTorch sees 0 GPUs here; use auto, cpu or a smaller number"),
    ],
)
def test_a_wrong_name_says_what_is_right(monkeypatch, name, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError) as error:
        devices.pick(name)
    assert str(error.value) == message


def test_apples_gpu_is_taken_where_it_is_named(monkeypatch):
    """Only where it is named: nobody has checked yet that it repeats a run to the byte."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with claim("mps") as device:
        assert devices.pick(device) == torch.device("mps")
    assert devices.pick("auto") == CPU
    assert devices.pick_precision("auto", torch.device("mps")) == torch.float32


@pytest.mark.parametrize(
    ("capabilities", "speed", "fast"),
    [
        ({"amx_bf16": True}, 5.0, True),
        ({"amx_bf16": False, "avx512_bf16": True}, 1.8, True),
        ({"avx512_bf16": True}, 0.01, False),
        ({"avx2": True}, 2.0, False),
    ],
)
def test_bfloat16_only_where_the_hardware_has_it(monkeypatch, capabilities, speed, fast):
    """In software bfloat16 is hundreds of times slower than float32, whatever the processor calls itself."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(devices, "_bfloat16_speed", lambda: speed)
    devices.has_fast_bfloat16.cache_clear()
    try:
        assert devices.pick_precision("auto", CPU) == (torch.bfloat16 if fast else torch.float32)
    finally:
        devices.has_fast_bfloat16.cache_clear()
    assert devices.pick_precision("bfloat16", CPU) == torch.bfloat16
    with pytest.raises(InputError, match="precision 'half'"):
        devices.pick_precision("half", CPU)


def test_a_gpu_without_nvml_is_still_described(monkeypatch):
    def fail():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert devices.describe(torch.device("cuda", 0)) == "Some GPU"


def test_a_deterministic_block_repeats_and_leaves_the_process_as_it_was():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    draws = []
    for _ in range(2):
        with devices.deterministic(3, threads=1):
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.get_num_threads() == 1
            draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 7 TiB"),  # numpy
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    ],
)
def test_memory_that_runs_out_is_said_in_one_line_with_what_to_do(error):
    with (
        pytest.raises(InputError, match=r"^training: out of memory on CPU, \d+ threads; lower it$"),
        devices.out_of_memory("training", CPU, "lower it"),
    ):
        raise error


def test_other_faults_are_not_taken_for_a_lack_of_memory():
    """Else a bug would send people to buy memory."""
    with pytest.raises(RuntimeError, match="illegal"), devices.out_of_memory("training", CPU, "lower it"):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_determinism_does_not_load_the_compiler():
    """It takes 3 s that every training and every look at the videos would pay."""
    program = (
        "import sys\nimport numpy as np\nfrom tests.tiny import make_snippets\nfrom feel_steps.train import train\n"
        "train(make_snippets(), np.arange(6), np.arange(6) % 2, clusters=2, settings={'hidden': 4}, steps=1, length=9,"
        " device='cpu')\nassert not {'torch._dynamo', 'torch._inductor'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of Linux")
def test_buffers_that_are_kept_are_not_cleared_again():
    """Clearing the pages of new buffers is a sixth of a training step."""
    program = (
        "import resource, torch\nfrom feel_steps.runtime import devices\n"
        "devices.keep_buffers()\nstart = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(20): torch.ones(2**24, dtype=torch.uint8)\n"
        "pages = 20 * 2**24 // resource.getpagesize()\n"
        "assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start < pages / 2"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
