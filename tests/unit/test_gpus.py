"""Which GPU a job takes, on pretend devices: with real locks between real processes."""

import os
import re
import signal
import sys
import tempfile
import time

import pynvml
import pytest
import torch

from feel_steps.errors import InputError
from feel_steps.runtime import gpus
from feel_steps.runtime.claim import claim
from tests.pretend_nvml import Nvml

NAMES = ["GPU-00ff", "GPU-10ff", "GPU-20ff", "GPU-30ff"]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Make this machine one with pretend devices."""

    def make(*free, mute=(), visible=None, slurm=False):
        nvml = Nvml(*free, mute=mute)
        monkeypatch.setattr(gpus, "pynvml", nvml)
        monkeypatch.setattr(gpus, "POLL", 0.01)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # to be put back, whatever a claim sets
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        if slurm:
            monkeypatch.setenv("SLURM_JOB_ID", "7")
        return nvml

    return make


def fork(work):
    """Start a process that does ``work``; give its id."""
    if pid := os.fork():
        return pid
    try:
        work()
    finally:
        os._exit(1)


def hold(device="auto"):
    """Start a process that claims a device and keeps it; give its id and which GPU it has."""
    reading, writing = os.pipe()

    def work():
        with claim(device):
            os.write(writing, os.environ["CUDA_VISIBLE_DEVICES"].encode())
            signal.pause()

    pid = fork(work)
    os.close(writing)
    with open(reading) as file:
        return pid, file.read(8)


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, NAMES[:3]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2,0", ["GPU-20ff", "GPU-00ff"]),
        ("1,7,0", ["GPU-10ff"]),  # as in CUDA: what follows a device that is not there is not seen
        ("GPU-1, GPU-00ff", ["GPU-10ff", "GPU-00ff"]),
        ("GPU-", []),  # which one?
        ("MIG-a1", ["MIG-a1"]),
        ("MIG-b2", []),
    ],
)
def test_only_devices_that_were_given_are_seen(machine, visible, expected):
    """Else a job would compute on a GPU that somebody else was given."""
    machine(80, 80, 80, visible=visible)
    assert [gpu.uuid for gpu in gpus.visible()] == expected


def test_numbers_count_the_devices_that_are_not_kept_from_us(machine):
    """A scheduler's cgroup hides devices; CUDA then counts the others from 0."""
    machine(80, None, 80, visible="1")
    assert [gpu.uuid for gpu in gpus.visible()] == ["GPU-20ff"]


@pytest.mark.parametrize(("device", "expected"), [("auto", 3), ("cuda", 3), ("cuda:1", 1), ("cuda:9", 1), ("cpu", 0)])
def test_as_many_gpu_jobs_at_a_time_as_devices_that_they_may_take(machine, device, expected):
    machine(80, 80, 80)
    assert gpus.count(device) == expected


@pytest.mark.parametrize("missing", ["driver", "module"])
def test_without_a_driver_it_is_the_processor_and_nothing_is_said(machine, monkeypatch, tmp_path, capfd, missing):
    machine(mute=["nvmlInit"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if missing == "module":
        monkeypatch.setattr(gpus, "pynvml", None)
    with claim("auto") as device:
        assert device == "cpu"
    assert gpus.count("auto") == 0
    assert capfd.readouterr() == ("", "")
    with pytest.raises(InputError, match=r"^device 'cuda': PyTorch sees 0 GPUs here"), claim("cuda"):
        pass


def test_the_real_nvml_raises_what_is_caught(monkeypatch):
    """Else a machine without a driver cannot run anything; one with a driver has as many GPUs as PyTorch sees."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if not torch.cuda.is_available():
        with pytest.raises(pynvml.NVMLError):
            pynvml.nvmlInit()
    assert gpus.count("auto") == torch.cuda.device_count()


def test_the_processor_is_taken_without_loading_pytorch(monkeypatch):
    """Steps without a network would pay a second for it, and Snakemake must not have it at all."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with claim("cpu") as device:
        assert device == "cpu"


def test_jobs_take_the_freest_device_that_no_other_job_has(machine):
    machine(20, 80, 40)
    first, one = hold()
    second, two = hold()
    third, three = hold()
    try:
        assert [one, two, three] == ["GPU-10ff", "GPU-20ff", "GPU-00ff"]
    finally:
        for pid in (first, second, third):
            kill(pid)


def test_a_killed_job_frees_its_device_and_who_waits_says_so(machine, capfd):
    """No lock may outlive a kill -9, a power cut or a job's time limit."""
    machine(80)
    pid, _ = hold()
    reading, writing = os.pipe()

    def work():
        with claim("auto"):
            os.write(writing, b"mine")

    waiting = fork(work)
    os.close(writing)
    said, deadline = "", time.monotonic() + 60
    while "waiting" not in said and time.monotonic() < deadline:
        time.sleep(0.02)
        said += capfd.readouterr().err
    assert said == "device auto: waiting, since other jobs have Pretend GPU (GPU-00ff)\n"
    kill(pid)
    assert os.read(reading, 4) == b"mine"
    os.waitpid(waiting, 0)
    os.close(reading)


def test_a_named_device_is_waited_for_though_others_are_free(machine, monkeypatch):
    machine(80, 80)
    pid, name = hold("cuda:1")
    assert name == "GPU-10ff"

    def end(seconds):
        kill(pid)

    monkeypatch.setattr(gpus.time, "sleep", end)
    with claim("cuda:1") as device:
        assert (device, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda:0", "GPU-10ff")


def test_a_scheduler_s_device_is_taken_without_a_lock(machine):
    """SLURM has seen to it that it is ours; a lock could only make two shares of one GPU wait for each other."""
    machine(80, 80, visible="1", slurm=True)
    pid, _ = hold()
    with claim("auto") as device:
        assert (device, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda:0", "GPU-10ff")
    kill(pid)


def test_jobs_within_an_allocation_of_several_devices_share_them_by_lock(machine):
    machine(80, 80, visible="0,1", slurm=True)
    pid, name = hold()
    with claim("auto"):
        assert {name, os.environ["CUDA_VISIBLE_DEVICES"]} == {"GPU-00ff", "GPU-10ff"}
    kill(pid)


def test_a_device_that_is_not_there_is_refused(machine, monkeypatch):
    machine(80, 80)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=r"^device 'cuda:2': PyTorch sees 2 GPUs here"), claim("cuda:2"):
        pass


def test_without_nvml_devices_go_by_pytorch_s_numbers(machine, monkeypatch, tmp_path):
    """On ROCm, say: jobs still keep apart."""
    machine(mute=["nvmlInit"])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with claim("auto") as one, claim("auto") as two:
        assert {one, two} == {"cuda:0", "cuda:1"}


def test_a_gpu_that_pytorch_cannot_use_is_named_and_left_to_others(machine, monkeypatch, capfd):
    machine(80)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with claim("auto") as one, claim("auto") as two:
        assert (one, two) == ("cpu", "cpu")
    assert "Pretend GPU: PyTorch cannot use it" in capfd.readouterr().err


def test_a_folder_of_locks_that_is_not_ours_is_refused(machine, tmp_path):
    """In a folder that all may write to, somebody could have put a link there."""
    machine(80)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"feel-steps-{os.getuid()}").symlink_to("elsewhere")
    with pytest.raises(InputError, match="expected a folder of your own"), claim("auto"):
        pass


def test_the_log_says_how_much_of_a_gpu_a_job_used(machine, capfd):
    """Who plans jobs on shared GPUs reads it there."""
    machine(80)
    with claim("auto"):
        pass
    assert re.search(
        r"^Pretend GPU: peak memory \d+\.\d\d of 80 GiB, the GPU is 50 % busy$", capfd.readouterr().err, re.M
    )
