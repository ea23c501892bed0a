# Every hook into Snakemake's insides, each with what it mends and the version in which that was seen. In a
# module, workflow.basedir is the folder of the workflow that imports it, so paths start from the file that is being read.
import os
import re
import shlex
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import psutil
from snakemake.benchmark import BenchmarkTimer
from snakemake.logging import logger
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from feel_steps.config import retype_given
from feel_steps.runtime.forkserver import ADDRESS, find_fork, serving
from feel_steps.runtime.gpus import count

ROOT = Path(str(workflow.current_basedir)).parent

# 9.27.1: values in braces after --config, 'select={alpha: 0.5}', arrive as text, and a folder called 2024_05_12 as a number.
# A module's config has them from its importer.
GIVEN = workflow.config_settings
config = retype_given(config, GIVEN.config, GIVEN.config_args, ROOT / "schemas/config.schema.yaml")


def find_package(root):
    """Folders from which jobs import: a clone's own or, installed, the workflow's and one that holds only a link.

    The whole of site-packages must not reach the interpreter of a conda environment.
    """
    if (root / "feel_steps").is_dir():
        return [root]
    link = Path(".snakemake/feel-steps/feel_steps").absolute()
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink() or link.resolve() != root.parent:
        link.unlink(missing_ok=True)
        link.symlink_to(root.parent, target_is_directory=True)
    return [root, link.parent]


# 9.27.1: removes PYTHONPATH when it activates an environment, and puts this prefix after the activation. Jobs run the package of
# this folder, with the interpreter that runs Snakemake or, under --use-conda, the environment's. In a module workflow.basedir is
# the importer's folder. Strict bash is Snakemake's own prefix, which ours replaces: failures must pass through "| tee".
CONDA = any(method.name == "CONDA" for method in workflow.deployment_settings.deployment_method)
INTERPRETER = "" if CONDA else f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
PREFIX = (
    f"set -euo pipefail; {INTERPRETER}export PYTHONPATH={shlex.quote(os.pathsep.join(map(str, find_package(ROOT))))}; "
)
shell.prefix(PREFIX.replace("{", "{{").replace("}", "}}"))

LOCAL = workflow.nodes is None
ASKED = ["slurm_account", "slurm_partition", "gpu", "gpu_model", "gres", "mem_mb", "runtime"]
ERROR = re.compile(r"((slurmstepd\S*|srun): )?(error|fatal): ")  # a step's own, and SLURM's: out of memory or time


def limit_gpus(device):
    """Tell Snakemake how many GPUs this machine has, and say how many a job asks for.

    9.27.1: "resources: gpu=1" limits nothing on this machine unless somebody gives --resources gpu=N. A scheduler counts
    GPUs itself. Where there is none, only the jobs' threads count.
    """
    if device not in ("cpu", "mps") and LOCAL and "gpu" not in workflow.global_resources and (gpus := count(device)):
        workflow.register_resource("gpu", gpus)
    return int(device not in ("cpu", "mps"))


def explain(executor, job_info, msg=None, print_job_error=RemoteExecutor.print_job_error, **kwargs):
    """Print a failed job's error in a few lines, then as Snakemake does.

    9.27.1 and snakemake-executor-plugin-slurm 2.8.0 (its issue 456): what the scheduler says to a group that it refuses is
    dropped, and quiet hides all failures. So this says which job it was, why, what it had asked for, and where its log lies.
    """
    job = job_info.job
    name = job.groupid if job.is_group() else " ".join([job.name, *job.wildcards])
    asked = ", ".join(f"{key}={job.resources.get(key)}" for key in ASKED if job.resources.get(key))
    lines = [f"{name} failed: {(msg or '').partition(chr(10))[0]}", f"asked for: {asked}"]
    for file in filter(Path.is_file, map(Path, filter(None, kwargs.get("aux_logs") or []))):
        lines += [f"log: {file}"]
        lines += [line for line in file.read_text(errors="replace").splitlines() if ERROR.match(line)]
    logger.error("\n    ".join(lines))
    print_job_error(executor, job_info, msg, **kwargs)


RemoteExecutor.print_job_error = explain


def hold(run, schedule=JobScheduler.schedule):
    """Let one Snakemake at a time work on a run, from its first job to its last.

    9.27.1: when a Snakemake ends, it removes the locks of all others in its folder. So after the end of another run, a second
    Snakemake could start on a run that is still going. The operating system releases this lock when its process ends, however
    it ends. Jobs that a scheduler starts run Snakemake again; they belong to the one that holds the lock. An onstart hook
    would not do: in a module it is never called.
    """
    file = Path(run).with_name(f".{Path(run).name}.lock")

    def works(scheduler):
        jobs = scheduler.workflow.dag.needrun_jobs()
        return not workflow.dryrun and any(output.startswith(f"{run}/") for job in jobs for output in job.output)

    def schedule_alone(scheduler):
        if scheduler.workflow is not workflow or not works(scheduler):
            return schedule(scheduler)
        try:
            lock = acquire(file)
        except BlockingIOError:
            scheduler._executor.shutdown()
            # One line is all a person needs here; Snakemake would add its own stack.
            logger.error(f"error: {run}: another Snakemake works on this run; wait until it ends, or give another name")
            sys.exit(1)
        with lock, start_quickly(scheduler.workflow.dag.needrun_jobs()):
            return schedule(scheduler)

    if workflow.is_main_process:
        JobScheduler.schedule = schedule_alone


def start_quickly(jobs):
    """Fork the jobs on this machine from one process that has loaded the libraries, where there are enough to earn that back.

    The interpreter of a conda environment or of a container is another one. Processes of macOS cannot go on after a fork.
    """
    enough = len(list(jobs)) >= 8  # those of one iteration
    here = LOCAL and not workflow.deployment_settings.deployment_method and sys.platform == "linux"
    first = ADDRESS not in os.environ  # where a workflow imports this one twice, one server is for both
    return serving() if enough and here and first else nullcontext()


class WithForks(psutil.Process):
    """A job's shell, for Snakemake's account of a job: the forks that run its commands count as its children.

    9.27.1: counts the processes that descend from the shell. A fork descends from the server.
    """

    def children(self, recursive=False):
        children = super().children(recursive)
        for number in filter(None, [find_fork(child.pid) for child in children]):
            with suppress(psutil.NoSuchProcess):
                fork = psutil.Process(number)
                children += [fork, *fork.children(recursive)]
        return children


def watch(timer, *arguments, start=BenchmarkTimer.__init__):
    """Start to measure a job."""
    start(timer, *arguments)
    timer.main = WithForks(timer.pid)


BenchmarkTimer.__init__ = watch


def acquire(file):
    """Lock a file; where that cannot be done, say so and go on.

    Raises
    ------
    BlockingIOError
        Another process has locked it.
    """
    try:
        from filelock import FileLock, Timeout  # with --use-conda, the environment of Snakemake may lack it
    except ImportError:
        logger.warning("there is no filelock in the environment of Snakemake, so do not start this run twice")
        return nullcontext()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(file).acquire(blocking=False)
    except Timeout:
        raise BlockingIOError from None
    except (OSError, NotImplementedError) as error:  # a full or read-only disk, or a file system without locks
        logger.warning(f"{file}: cannot be locked ({error}), so do not start this run twice")
        return nullcontext()


onstart:
    # 9.27.1: with a limit of jobs a second, which nothing needs on this machine, the scheduler sets itself an alarm a second
    # after each look at what to start, and has one more with every job that ends: after some hundred jobs it does little else.
    # A workflow that imports this one calls it from its own onstart.
    if LOCAL:
        workflow.scheduler.job_rate_limiter = None
