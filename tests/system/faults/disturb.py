"""What can go wrong with a run of the real Snakefile.

Whatever chance decides is drawn from a seeded generator. Every disturbance makes sure that it took effect, and says in
a line what it did.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil  # Snakemake needs it, so it is there

from tests.workflow.conftest import Workspace

TIMES = int(os.environ.get("FEEL_FAULTS", "1"))  # so many times the seeds; docs/explanation/reliability.md counts one
PATIENCE = 300.0  # seconds after which something that has to happen counts as never
LIFE = 2.5  # seconds of CPU time within which a job is hit; most need one to three


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that has to happen."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"waited {PATIENCE:.0f} s for {what}"
        time.sleep(0.05)


def lives(process: psutil.Process) -> bool:
    """Whether a process is at work, and not only in the books."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def age_of(process: psutil.Process) -> float:
    """Seconds of CPU time, which unlike others do not depend on what else the machine does."""
    try:
        return sum(process.cpu_times()[:2])
    except psutil.NoSuchProcess:
        return math.inf


class Over(Exception):
    """Snakemake was done before anything could go wrong."""


class Run:
    """A Snakemake in a session of its own, so that all its processes are found, orphans too."""

    def __init__(self, workspace: Workspace, *arguments: str) -> None:
        self.command, self.console = workspace.command(*arguments), workspace.folder.with_name("console.txt")
        with open(self.console, "w") as console:
            self.snakemake = subprocess.Popen(self.command, stdout=console, stderr=console, start_new_session=True)

    def said(self) -> str:
        """All that Snakemake and its jobs have printed."""
        return self.console.read_text(errors="replace")

    def ended(self) -> bool:
        return self.snakemake.poll() is not None

    def fails(self) -> str:
        """Wait for Snakemake to stop because something failed; give what it printed."""
        status = self.snakemake.wait(PATIENCE)
        if status == 0:
            raise Over
        assert status == 1, self.said()
        return self.said()

    def processes(self) -> list[psutil.Process]:
        """What lives of Snakemake, its jobs, and the jobs that it left behind."""
        session = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.snakemake.pid and lives(process):
                    session.append(process)
            except ProcessLookupError:
                continue
        return session

    def jobs(self) -> list[psutil.Process]:
        """The steps at work: the programs, without their shells."""
        steps = []
        for process in self.processes():
            try:
                if process.cmdline()[1:3] == ["-m", "feel_steps"]:
                    steps.append(process)
            except psutil.NoSuchProcess:
                continue
        return steps

    def find_job(self, rng: random.Random) -> psutil.Process:
        """Let a job, perhaps, and a random share of the next one's life go by; give a job that is at work."""
        begun: set[psutil.Process] = set()
        passing, age = rng.randrange(2), rng.uniform(0, LIFE)

        def passed() -> bool:
            begun.update(self.jobs())
            return len(begun) > passing or self.ended()

        wait_until(passed, "a job to begin")
        chosen = next(iter(self.jobs()), None)
        if chosen:
            wait_until(lambda: not lives(chosen) or age_of(chosen) > age, "a job to grow old")
        wait_until(lambda: bool(self.jobs()) or self.ended(), "a job at work")
        if at_work := self.jobs():
            return chosen if chosen in at_work else at_work[0]
        raise Over

    def kill_snakemake(self) -> None:
        """Kill -9 of Snakemake and nothing else."""
        self.snakemake.kill()
        if self.snakemake.wait(PATIENCE) != -signal.SIGKILL:
            raise Over

    def kill(self) -> None:
        """Kill all that is left, at once."""
        for process in self.processes():
            process.kill()
        self.snakemake.wait(PATIENCE)
        wait_until(lambda: not self.processes(), "the killed to die")


def step_of(job: psutil.Process) -> str:
    """Name of the step that a job works on."""
    try:
        return job.cmdline()[3]
    except psutil.NoSuchProcess:
        return "step that has just ended"


def hangs(job: psutil.Process) -> bool:
    """Whether a job neither works nor ends."""
    try:
        return job.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


# Processes that die. Each is given a running Snakemake and leaves it dead or failed.


def kill_job(run: Run, rng: random.Random) -> str:
    """Kill -9 of a job: its program, its shell (the program goes on, and writes) or what writes its log."""
    job = run.find_job(rng)
    try:
        step, shell = step_of(job), job.parent()
        log = next(process for process in shell.children() if process != job)
        name, victim = rng.choice([("program", job), ("shell", shell), ("log", log)])
        victim.kill()
    except (psutil.NoSuchProcess, StopIteration, AttributeError):  # it ended by itself in this very moment
        return kill_job(run, rng)
    assert "CalledProcessError" in run.fails(), run.said()
    return f"kill -9 of the {name} of '{step}'"


def kill_snakemake(run: Run, rng: random.Random) -> str:
    """Kill -9 of Snakemake alone, amid a job or anywhere; its jobs go on."""
    if rng.random() < 0.5:
        run.find_job(rng)
    else:
        time.sleep(rng.uniform(0, 6))
    run.kill_snakemake()
    return f"kill -9 of Snakemake, {len(run.jobs())} jobs going on"


def lose_node(run: Run, rng: random.Random) -> str:
    """Everything dies at once."""
    job = run.find_job(rng)
    step = step_of(job)
    os.killpg(run.snakemake.pid, signal.SIGKILL)
    if run.snakemake.wait(PATIENCE) != -signal.SIGKILL:
        raise Over
    wait_until(lambda: not run.processes(), "the killed to die")
    return f"node gone during '{step}'"


def leave_orphan(run: Run, rng: random.Random) -> str:
    """Kill -9 of Snakemake while a job hangs, on a file system that does not answer, say: it wakes when all is over."""
    job = run.find_job(rng)
    step = step_of(job)
    with suppress(psutil.NoSuchProcess):
        job.suspend()
    wait_until(lambda: hangs(job) or not lives(job), "the job to hang")
    if not lives(job):  # it ended by itself in this very moment
        return leave_orphan(run, rng)
    run.kill_snakemake()
    assert hangs(job)
    return f"kill -9 of Snakemake while '{step}' hangs"


# What leaves Snakemake running: it repeats jobs that fail (--retries).


def _strike(run: Run, rng: random.Random, how: Callable[[psutil.Process, random.Random], None]) -> str:
    """Hit a job so that it fails."""

    def progress() -> tuple[int, int]:
        return run.said().count("Trying to restart job"), run.said().count("Finished jobid")

    job, before = run.find_job(rng), progress()
    with suppress(psutil.NoSuchProcess):
        step = step_of(job)
        how(job, rng)
        wait_until(lambda: progress() != before or run.ended(), "the job to end")
        if progress()[0] > before[0]:
            return step
    return _strike(run, rng, how)  # it ended by itself in this very moment


def terminate(run: Run, rng: random.Random) -> str:
    """Time is up: SIGTERM to all of a job, and SIGKILL to what is left a moment later."""

    def hit(job: psutil.Process, rng: random.Random) -> None:
        shell = job.parent()
        everyone = [shell, *shell.children(recursive=True)]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in everyone:
                if lives(process):
                    process.send_signal(number)
            time.sleep(rng.uniform(0, 0.2))

    return f"'{_strike(run, rng, hit)}' terminated"


def starve(run: Run, rng: random.Random) -> str:
    """No more memory than a job has at this moment, and a little (ulimit -v)."""

    def hit(job: psutil.Process, rng: random.Random) -> None:
        job.rlimit(psutil.RLIMIT_AS, (job.memory_info().vms + rng.randrange(2**20),) * 2)

    return f"'{_strike(run, rng, hit)}' out of memory"


def start_second(run: Run, rng: random.Random) -> str:
    """Another Snakemake on the same run has to refuse, also after the end of another run removed the locks of all."""
    run.find_job(rng)
    for reason in ("Directory cannot be locked", "another Snakemake works on this run"):
        other = subprocess.run(run.command, capture_output=True, text=True, timeout=PATIENCE)
        if run.ended():
            raise Over
        assert other.returncode == 1 and reason in other.stderr, other.stderr
        shutil.rmtree(Path(run.command[run.command.index("--directory") + 1], ".snakemake/locks"), ignore_errors=True)
    return "a second and a third Snakemake"


# Files that are damaged. None of it changes a file's times: a failing disk does not tell.


def _silently(file: Path, content: bytes) -> None:
    before, times = file.read_bytes(), file.stat()
    assert content != before
    with open(file, "r+b") as handle:
        handle.write(content)
        handle.truncate()
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def truncate(file: Path, rng: random.Random) -> str:
    """Cut a file off, anywhere."""
    content = file.read_bytes()
    size = rng.randrange(len(content))
    _silently(file, content[:size])
    return f"{file.name} truncated to {size} of {len(content)} bytes"


def flip_bit(file: Path, rng: random.Random) -> str:
    """Flip one bit, anywhere."""
    content = bytearray(file.read_bytes())
    place, bit = rng.randrange(len(content)), rng.randrange(8)
    content[place] ^= 1 << bit
    _silently(file, bytes(content))
    return f"{file.name}: bit {bit} of byte {place} flipped"


def erase_block(file: Path, rng: random.Random) -> str:
    """Zeros where data should be, as some file systems leave them after a power cut."""
    content = file.read_bytes()
    start = rng.randrange(len(content))
    block = content[start : start + 512]
    if not any(block):
        return erase_block(file, rng)
    _silently(file, content[:start] + bytes(len(block)) + content[start + 512 :])
    return f"{file.name}: {len(block)} bytes from {start} on are zeros"


def delete(file: Path, rng: random.Random) -> str:
    """A file that somebody or something removed."""
    file.unlink()
    return f"{file.name} deleted"


def move_time(file: Path, rng: random.Random) -> str:
    """A file from the future, or older than what it was made of: what a clock leaves that was wrong for a while."""
    shift = rng.choice([-1, 1]) * 10 ** rng.uniform(0, 8.5)
    time_ = file.stat().st_mtime + shift
    os.utime(file, (time_, time_))
    assert abs(file.stat().st_mtime - time_) < 1
    return f"{file.name}: time moved by {shift:.0f} s"


def swap(file: Path, rng: random.Random) -> str:
    """Two iterations' files of one name in each other's place: each is whole, and only where it lies is wrong."""
    iteration = rng.choice([place for place in sorted(file.parents[1].iterdir()) if place != file.parent])
    contents = file.read_bytes(), (iteration / file.name).read_bytes()
    _silently(file, contents[1])
    _silently(iteration / file.name, contents[0])
    return f"{file.name} of {file.parent.name} and {iteration.name} swapped"


def leave_half(file: Path, rng: random.Random) -> str:
    """What a job leaves beside its output that was killed while it wrote."""
    content = file.read_bytes()
    size = rng.randrange(len(content))
    with open(file.with_name(f".{file.name}.killed.tmp"), "xb") as leftover:
        leftover.write(content[:size])
    return f"{size} bytes of {file.name} in a temporary file beside it"


def set_clock_back(folder: Path, rng: random.Random) -> str:
    """All of a run moves into the future, which is what setting the clock back does; the user's files stay."""
    shift = 10 ** rng.uniform(0, 8.5)
    for part in ("results", ".snakemake"):
        for file in (folder / part).rglob("*"):
            times = file.stat()
            os.utime(file, (times.st_atime + shift, times.st_mtime + shift))
    return f"clock set back by {shift:.0f} s"
