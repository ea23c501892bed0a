"""GPU jobs of the real workflow, on pretend devices and without any."""

import shutil
from pathlib import Path

from tests.workflow.conftest import ROOT, Workspace

# A module pynvml with two devices. Every training says when it begins and ends to use one, and waits at its beginning
# until another is there. What PyTorch does on the device, it does on the processor.
PRETEND = """
import os, sys, time
from pathlib import Path
from tests.pretend_nvml import Nvml

LOG = Path(__file__).with_name("log")


class Pretend(Nvml):
    def nvmlInit(self):
        if devices := sys.modules.get("feel_steps.runtime.devices"):
            devices.pick = pick

    def nvmlDeviceGetUtilizationRates(self, handle):
        write("end")
        return super().nvmlDeviceGetUtilizationRates(handle)


def pick(device):
    import torch

    write("begin")
    number = begun()
    while begun() < number + number % 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    return torch.device("cpu")


def write(event):
    with open(LOG, "a") as log:
        log.write(f"{event} {os.environ['CUDA_VISIBLE_DEVICES']}\\n")


def begun():
    return LOG.read_text().count("begin")


deadline = time.monotonic() + 60
sys.modules[__name__] = Pretend(80, 80)
"""
# read when Python starts: PyTorch itself imports pynvml, so it has to be whole before it can be changed
START = """
import sys

if "train" in sys.argv:
    import torch

    torch.backends.cuda.is_built = torch.cuda.is_available = lambda: True
"""


def test_four_trainings_share_two_devices_two_by_two(workspace, monkeypatch, tmp_path):
    """Two on one device would run out of memory, one after the other would leave half of the machine idle."""
    pretend = tmp_path / "pretend"
    pretend.mkdir()
    (pretend / "pynvml.py").write_text(PRETEND)
    (pretend / "sitecustomize.py").write_text(START)
    (pretend / "rules.smk").write_text(f'shell.prefix(f"{{PREFIX}}export PYTHONPATH={pretend}:{ROOT}; ")\n')
    monkeypatch.setenv("PYTHONPATH", f"{pretend}:{ROOT}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    first = workspace.results / "feel/seed-0"
    for seed in (1, 2, 3):
        shutil.copytree(first, first.with_name(f"seed-{seed}"))
    models = sorted(workspace.results.glob("feel/*/iter-1/model.safetensors"))
    for model in models:
        model.unlink()
    workspace.configure(seeds=[0, 1, 2, 3], custom_rules=[str(pretend / "rules.smk")])
    targets = [str(model.relative_to(workspace.folder)) for model in models]
    workspace.snakemake("--cores", "4", "--rerun-triggers", "mtime", "--", *targets)

    busy, most, jobs = set(), 0, {}
    for line in (pretend / "log").read_text().splitlines():
        event, device = line.split()
        if event == "begin":
            assert device not in busy, "two jobs on one device"
            busy.add(device)
            jobs[device] = jobs.get(device, 0) + 1
        else:
            busy.remove(device)
        most = max(most, len(busy))
    assert most == 2
    assert jobs == {"GPU-00ff": 2, "GPU-10ff": 2}
    logs = [log.read_text() for log in workspace.results.glob("logs/feel/*/iter-1/train_localizer.log")]
    assert len(logs) == 4
    assert not any("waiting" in log for log in logs), "Snakemake started a job for which there was no device"


def test_every_job_has_its_benchmark_and_without_a_gpu_no_usage(finished):
    results = Workspace(finished).results
    jobs = {log.relative_to(results / "logs").with_suffix("") for log in results.glob("logs/**/*.log")}
    measured = {
        file.relative_to(results / "benchmarks").with_suffix("") for file in results.glob("benchmarks/**/*.tsv")
    }
    assert jobs == measured
    assert Path("feel/seed-0/iter-2/train_localizer") in measured


def test_losing_the_benchmarks_costs_no_work(workspace):
    shutil.rmtree(workspace.results / "benchmarks")
    assert workspace.planned() == set()
