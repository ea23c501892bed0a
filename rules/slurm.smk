# On a cluster, say of a failed job which one it was, why, what it had asked for, and where its log lies. Snakemake drops the
# scheduler's answer to a group that it refuses (snakemake-executor-plugin-slurm, issue 456), and quiet hides all failures.
import re

from snakemake.logging import logger
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

ASKED = ["slurm_account", "slurm_partition", "gpu", "gpu_model", "gres", "mem_mb", "runtime"]
ERROR = re.compile(r"((slurmstepd\S*|srun): )?(error|fatal): ")  # a step's own, and SLURM's: out of memory or time


def explain(executor, job_info, msg=None, print_job_error=RemoteExecutor.print_job_error, **kwargs):
    """Print a failed job's error in a few lines, then as Snakemake does."""
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
