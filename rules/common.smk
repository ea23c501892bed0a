# Validation, paths and helpers: what every rule file uses.
import hashlib
import json
import shlex
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

from feel_steps.config import resolve, check
from feel_steps.errors import InputError
from feel_steps.selection import schedule

try:
    check(config, ROOT / "schemas/config.schema.yaml")
except InputError as error:
    # One line is all a person needs here; Snakemake would add its own stack.
    sys.exit(f"error: {error}")

RUN = f"results/{config['name']}"
FEATURES = f"{RUN}/features"
ITERATION = f"{RUN}/{{variant}}/seed-{{seed}}/iter-{{iteration}}"
LOGS = f"{RUN}/logs"
PARTS = [f"{part:04d}" for part in range(config["dataset"]["parts"])]
THREADS = config["threads"]

# Jobs run the package of this folder, with the interpreter that runs Snakemake or, under --use-conda, the environment's.
# Snakemake removes PYTHONPATH when it activates an environment, and puts this prefix after the activation.
CONDA = any(method.name == "CONDA" for method in workflow.deployment_settings.deployment_method)
INTERPRETER = "" if CONDA else f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
# Strict bash is Snakemake's own prefix, which ours replaces: a step's failure must pass through "| tee".
STRICT = "set -euo pipefail; "
PREFIX = f"{STRICT}{INTERPRETER}export PYTHONPATH={shlex.quote(str(ROOT))}; "
shell.prefix(PREFIX.replace("{", "{{").replace("}", "}}"))


wildcard_constraints:
    variant=r"[A-Za-z0-9][\w.-]*",
    seed=r"\d+",
    iteration=r"[1-9]\d*",
    part=r"\d{4}",


def get_settings(wildcards):
    """The config as the job's variant has it."""
    return resolve(config, getattr(wildcards, "variant", None))


def flags(values):
    """Command-line options for a mapping of settings, quoted for the shell; null settings are left out."""
    words = []
    for key, value in values.items():
        name = f"--{key.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(name if value else name.replace("--", "--no-", 1))
        elif isinstance(value, (list, tuple)):
            words += [name, ",".join(str(item) for item in value)]
        elif isinstance(value, dict):
            words += [name, json.dumps(value)]
        elif value is not None:
            words += [name, str(value)]
    return shlex.join(words)


def get_listing(folder):
    """Digest of the names, sizes and times of all files in a folder: a folder's own time says little about them."""
    digest = hashlib.sha256()
    for file in sorted(Path(folder).rglob("*")):
        if file.is_file():
            status = file.stat()
            digest.update(f"{file.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def get_options(stage):
    """Params function: the options of a stage, as the job's variant has them."""
    return lambda wildcards: flags(get_settings(wildcards)[stage])


def get_source(*modules):
    """SHA-256 of a job's modules, since Snakemake's code trigger does not see edits in imported ones."""
    digest = hashlib.sha256()
    for module in modules:
        place = ROOT / "feel_steps" / module
        for file in sorted(place.rglob("*.*")) if place.is_dir() else [place]:
            if "__pycache__" not in file.parts:
                digest.update(file.name.encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def get_given(*names):
    """Params function: an option for each of these inputs that the job has (iteration 1 has none of the one before)."""
    return lambda wildcards, input: flags({name: input.get(name) or None for name in names})


def get_folder(name):
    """Params function: the folder in which an input lies, or the first of several."""

    def folder(wildcards, input):
        files = input[name]
        return str(Path(files if isinstance(files, str) else files[0]).parent)

    return folder


def get_previous(name):
    """Input function, the loop's edge: a table of the iteration before, nothing at the first."""

    def table(wildcards):
        before = int(wildcards.iteration) - 1
        folder = ITERATION.format(variant=wildcards.variant, seed=wildcards.seed, iteration=before)
        return [f"{folder}/{name}"] if before else []

    return table


def get_rate(wildcards):
    """The share of each cluster that this iteration trains on."""
    return schedule(int(wildcards.iteration), **get_settings(wildcards)["select"])


def get_log(rule):
    """Log of one iteration's job."""
    return f"{ITERATION.replace(RUN, LOGS, 1)}/{rule}.log"


def get_attend_options(wildcards):
    """Attention looks at the videos as training did."""
    train = get_settings(wildcards)["train"]
    return flags({key: train[key] for key in ("length", "precision")})


def get_iterations(name):
    """One table of every iteration of every variant and seed."""
    folders = [
        ITERATION.format(variant=variant, seed=seed, iteration=iteration)
        for variant in config["variants"]
        for seed in config["seeds"]
        for iteration in range(1, resolve(config, variant)["iterations"] + 1)
    ]
    return [f"{folder}/{name}" for folder in folders]


def get_artifacts():
    """Every file of the run: a table that somebody deletes is made again, even where all that came of it is still there."""
    shared = ["manifest", "unreadable", "videos", "skipped", "annotations", "metrics"]
    steps = [
        "pooled",
        "clusters",
        "centres",
        "refined",
        "selected",
        "training",
        "attention",
        "embeddings",
        "detections",
    ]
    tables = [table for step in [*steps, "metrics", "mapping"] for table in get_iterations(f"{step}.parquet")]
    features = expand(f"{FEATURES}/part-{{part}}.parquet", part=PARTS)
    own = [f"{RUN}/{name}.parquet" for name in shared]
    return [*own, *features, *tables, *get_iterations("model.safetensors"), f"{RUN}/report.html"]


def get_custom_rules(file):
    """Path of a .smk file of the user's, as seen from where Snakemake runs (an include is relative to its includer)."""
    if not Path(file).is_file():
        sys.exit(f"error: config: key 'custom_rules': there is no '{file}' (relative to where snakemake runs)")
    return str(Path(file).resolve())
