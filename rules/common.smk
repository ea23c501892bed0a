# Validation, paths and helpers: what every rule file uses.
import copy
import hashlib
import json
import os
import re
import shlex
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))

from snakemake.utils import update_config

from feel_steps.tables import source
from feel_steps.config import check, get_base, get_extractor, resolve, retype, scales
from feel_steps.dataset.checks import check_dataset, list_inputs
from feel_steps.errors import InputError
from feel_steps.features.checks import check_extractor
from feel_steps.runtime.gpus import count
from feel_steps.selection import schedule
from feel_steps.studies import PROGRAMS, check_study, choose, get_owners, read_studies

given = {key: value for key, value in workflow.config_settings.config.items() if isinstance(value, (dict, list))}
update_config(config, retype(given))

SCHEMA = ROOT / "schemas/config.schema.yaml"
try:
    check(config, SCHEMA)
    check_dataset(config, max(resolve(config, variant)["clusters"] for variant in config["variants"]))
    check_extractor(config)
    STUDIES_FILE = config["studies_file"] or ROOT / "studies.yaml"
    STUDIES = read_studies(STUDIES_FILE, config, SCHEMA.parent)
    CHOSEN = choose(STUDIES, config["studies"], STUDIES_FILE)
except InputError as error:
    # One line is all a person needs here; Snakemake would add its own stack.
    sys.exit(f"error: {error}")

RUN = f"results/{config['name']}"
FEATURES = f"{RUN}/features"
ITERATION = f"{RUN}/{{variant}}/seed-{{seed}}/iter-{{iteration}}"
LOGS = f"{RUN}/logs"
GROUP = "{variant}-seed-{seed}-iter-{iteration}"  # one SLURM job an iteration; jobs that share a name and hang together join
BENCHMARKS = f"{RUN}/benchmarks"
PARTS = [f"{part:04d}" for part in range(config["dataset"]["parts"])]
THREADS = config["threads"]

# Variants of the config, run by "rule all", and after them those of the studies.
STUDIED = {
    setting.variant: setting
    for study in STUDIES.values()
    for setting in study.settings
    if setting.variant not in config["variants"]
}
OVERRIDES = config["variants"] | {name: setting.overrides for name, setting in STUDIED.items()}
SETTINGS = {name: resolve({**config, "variants": {name: own}}, name) for name, own in OVERRIDES.items()}
BASE = get_base(config)
# Tables of the studies' variants that another variant has, too.
OWNERS = get_owners(SETTINGS, {name: setting.true_labels for name, setting in STUDIED.items()})

# Jobs that may use a GPU ask for one. A scheduler gives it; on this machine no more of them run at once than there are
# GPUs, unless --resources gpu=N says otherwise, and where there is none, only their threads count.
GPU = int(config["device"] != "cpu")
if GPU and workflow.nodes is None and "gpu" not in workflow.global_resources:
    if gpus := count(config["device"]):
        workflow.register_resource("gpu", gpus)

# Jobs run the package of this folder, with the interpreter that runs Snakemake or, under --use-conda, the environment's.
# Snakemake removes PYTHONPATH when it activates an environment, and puts this prefix after the activation.
CONDA = any(method.name == "CONDA" for method in workflow.deployment_settings.deployment_method)
INTERPRETER = "" if CONDA else f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
# Strict bash is Snakemake's own prefix, which ours replaces: a step's failure must pass through "| tee".
STRICT = "set -euo pipefail; "
PREFIX = f"{STRICT}{INTERPRETER}export PYTHONPATH={shlex.quote(str(ROOT))}; "
shell.prefix(PREFIX.replace("{", "{{").replace("}", "}}"))


wildcard_constraints:
    variant=r"[A-Za-z0-9][\w.+-]*",
    seed=r"\d+",
    iteration=r"[1-9]\d*",
    part=r"\d{4}",


def get_settings(wildcards):
    """The config as the job's variant has it."""
    return copy.deepcopy(SETTINGS.get(getattr(wildcards, "variant", None), config))


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
    for name, (size, time) in list_inputs(folder, config["dataset"]["links"]).items():
        digest.update(os.fsencode(f"{name}\0{size}\0{time}\n"))
    return digest.hexdigest()[:16]


def get_options(stage):
    """Params function: the options of a stage, as the job's variant has them."""
    return lambda wildcards: flags(get_settings(wildcards)[stage])


def get_source(command):
    """Digest of all modules that a command runs, since Snakemake's code trigger does not see edits in imported ones."""
    return source.digest(command)


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


def get_selection(wildcards):
    """The share of each cluster that this iteration trains on."""
    return flags({"rate": schedule(int(wildcards.iteration), **get_settings(wildcards)["select"])})


def get_log(rule):
    """Log of one iteration's job."""
    return f"{ITERATION.replace(RUN, LOGS, 1)}/{rule}.log"


def get_benchmark(rule):
    """Snakemake's account of one iteration's job: time, memory, reading and writing."""
    return f"{ITERATION.replace(RUN, BENCHMARKS, 1)}/{rule}.tsv"


def get_attend_options(wildcards):
    """Attention looks at the videos as training did."""
    train = get_settings(wildcards)["train"]
    return flags({key: train[key] for key in ("length", "precision")})


def get_iterations(name, variants=tuple(config["variants"])):
    """One table of every iteration of every seed, of these variants or of all of the config's."""
    folders = [
        ITERATION.format(variant=variant, seed=seed, iteration=iteration)
        for variant in variants
        for seed in config["seeds"]
        for iteration in range(1, SETTINGS[variant]["iterations"] + 1)
    ]
    return [f"{folder}/{name}" for folder in folders]


def get_tables(variants=tuple(config["variants"])):
    """Every file of all iterations of these variants, or of all of the config's."""
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
        "metrics",
        "mapping",
    ]
    names = [*(f"{step}.parquet" for step in steps), "model.safetensors"]
    return [file for name in names for file in get_iterations(name, variants)]


def get_artifacts():
    """Every file of the run: a table that somebody deletes is made again, even where all that came of it is still there."""
    shared = ["manifest", "unreadable", "videos", "skipped", "annotations", "metrics"]
    features = expand(f"{FEATURES}/part-{{part}}.parquet", part=PARTS)
    if scales(config):
        shared.append("scaling")
    own = [f"{RUN}/{name}.parquet" for name in shared]
    return [*own, *features, *get_tables(), f"{RUN}/report.html"]


def get_custom_rules(file):
    """Path of a .smk file of the user's, as seen from where Snakemake runs (an include is relative to its includer)."""
    if not Path(file).is_file():
        sys.exit(f"error: config: key 'custom_rules': there is no '{file}' (relative to where snakemake runs)")
    return str(Path(file).resolve())


def get_pattern(names):
    """Wildcard constraint: one of these names, or nothing at all."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def get_shared_pattern():
    """Wildcard constraint: the tables, of any seed, that another variant has."""
    pieces = [file.split("/", 1) for file in OWNERS]
    return "|".join(rf"{re.escape(variant)}/seed-\d+/{re.escape(file)}" for variant, file in pieces) or "(?!)"


def get_owned(wildcards):
    """The same table of the variant that makes it."""
    variant, seed, file = re.fullmatch(r"(.+?)/seed-(\d+)/(.+)", wildcards.shared).groups()
    return f"{RUN}/{OWNERS[f'{variant}/{file}']}/seed-{seed}/{file}"


def get_study_metrics(wildcards):
    """Metrics of all runs of a study, whose settings are checked before any of them."""
    study = STUDIES[wildcards.study]
    try:
        check_study(study, config, SCHEMA, STUDIES_FILE)
    except InputError as error:
        sys.exit(f"error: {error}")
    return get_iterations("metrics.parquet", get_studied(wildcards.study))


def get_studied(*studies):
    """The variants of these studies, each once."""
    return list(dict.fromkeys(setting.variant for study in studies for setting in STUDIES[study].settings))


def get_study_settings(wildcards):
    """The study's settings, by label."""
    return flags({"settings": {one.label: one.place for one in STUDIES[wildcards.study].settings}})


def get_study_pooled(wildcards):
    """Pooled tables of the first variant, unless the program needs none."""
    return get_iterations("pooled.parquet", [BASE]) if PROGRAMS[wildcards.study].pooled else []


def get_program_options(wildcards):
    """K, and the program's own settings."""
    own = STUDIES[wildcards.study].about["program"]
    return flags({"clusters": SETTINGS[BASE]["clusters"], "settings": own})
