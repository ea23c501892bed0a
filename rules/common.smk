# Validation, paths and helpers: what every rule file uses.
import json
import re
import shlex
import sys
from pathlib import Path

from feel_steps.config import check, get_extractor, merge, read_yaml, resolve, scales, spread
from feel_steps.dataset.annotation_files import list_annotation_files
from feel_steps.dataset.checks import (
    check_annotations,
    check_dataset,
    check_groups,
    check_labels,
    digest_inputs,
    find_left_over,
    find_replaced,
    find_taken_back,
    settle_corrections,
    settle_layout,
)
from feel_steps.dataset.corrections import digest_constraints
from feel_steps.errors import InputError
from feel_steps.features.checks import check_extractor
from feel_steps.selection import schedule
from feel_steps.tables.source import digest as get_source  # Snakemake's code trigger sees no edits in imported modules

# A workflow that imports this one as a module may give a part of the config; the rest is as in config.yaml.
config = spread(merge(read_yaml(ROOT / "config.yaml"), config))
try:
    config, said = settle_layout(config)
    check(config, ROOT / "schemas/config.schema.yaml")
    SETTINGS = {variant: resolve(config, variant) for variant in config["variants"]}
    numbers = {variant: settings["clusters"] for variant, settings in SETTINGS.items()}
    check_dataset(config, numbers)
    CORRECTIONS = settle_corrections(config, SETTINGS)
    if workflow.is_main_process:
        check_annotations(config)
        check_labels(config, numbers)
        check_groups(config)
        folder = Path("results", config["name"])
        taken_back = [] if CORRECTIONS else find_taken_back(folder)
        left = [*find_replaced(folder, numbers), *find_left_over(folder, numbers), *taken_back]
        for line in filter(None, [said, *left]):
            logger.warning(f"warning: {line}")  # feel-steps run shows these lines
    check_extractor(config)
except InputError as error:
    # One line is all a person needs here; Snakemake would add its own stack.
    sys.exit(f"error: {error}")

RUN = f"results/{config['name']}"
hold(RUN)
FEATURES = f"{RUN}/features"
ITERATION = f"{RUN}/{{variant}}/seed-{{seed}}/iter-{{iteration}}"
LOGS = f"{RUN}/logs"
GROUP = "{variant}-seed-{seed}-iter-{iteration}"  # one SLURM job an iteration; jobs that share a name and hang together join
BENCHMARKS = f"{RUN}/benchmarks"
PARTS = [f"{part:04d}" for part in range(config["dataset"]["parts"])]
PARTED = [variant for variant, settings in SETTINGS.items() if settings["parts"]["cut"]]
GROUP_TABLES = ["videos", "means", "tests", "transitions"]
THREADS = config["threads"]
GPU = limit_gpus(config["device"])


wildcard_constraints:
    variant=r"[A-Za-z0-9][\w.+-]*",
    seed=r"\d+",
    iteration=r"[1-9]\d*",
    part=r"\d{4}",


def get_settings(wildcards):
    """The config as the job's variant has it."""
    return SETTINGS[wildcards.variant]


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


def get_options(stage):
    """Params function: the options of a stage, as the job's variant has them; a device is for get_untracked."""
    return lambda wildcards: flags(
        {key: value for key, value in get_settings(wildcards)[stage].items() if key != "device"}
    )


def get_untracked(get):
    """Params function: options that do not decide on results. A change of them plans no job again.

    Snakemake does not record what a params function derives from the job's resources. A shell command could name
    config itself, but where another workflow imports this one, Snakemake prints the command with that one's config.
    """
    return lambda wildcards, resources: flags(get(wildcards))


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


def is_corrected(wildcards):
    """Whether an iteration obeys corrections: it comes after the one that they were made for."""
    return bool(CORRECTIONS) and CORRECTIONS.holds_from(
        wildcards.variant, int(wildcards.seed), int(wildcards.iteration)
    )


def get_said(wildcards):
    """Input function: the tables of what a person said about videos, by labels and by corrections."""
    labels = [f"{RUN}/labels.parquet"] if config["dataset"]["labels"] else []
    return labels + ([f"{RUN}/constraints.parquet"] if is_corrected(wildcards) else [])


def get_numbering(wildcards):
    """Input function: the clusters whose numbers a corrected iteration keeps."""
    return get_previous("refined.parquet")(wildcards) if is_corrected(wildcards) else []


def get_given_tables(wildcards, input):
    """Params function: an option --given for each of the tables of :func:`get_said`."""
    return " ".join(flags({"given": file}) for file in get_said(wildcards))


def give_parts(wildcards, input):
    """Params function: the parts table and what comes with it, for jobs on parts of videos; nothing for others."""
    return flags({"parts": input.get("cuts") or None})


def get_selection(wildcards):
    """The share of each cluster that this iteration trains on."""
    return flags({"rate": schedule(int(wildcards.iteration), **get_settings(wildcards)["select"])})


def get_log(rule):
    """Log of one iteration's job."""
    return f"{ITERATION.replace(RUN, LOGS, 1)}/{rule}.log"


def get_benchmark(rule):
    """Snakemake's account of one iteration's job: time, memory, reading and writing."""
    return f"{ITERATION.replace(RUN, BENCHMARKS, 1)}/{rule}.tsv"


def get_threads(wildcards):
    """Threads of training and attention. A second one gains an eighth on 256 channels, and takes a core from other jobs."""
    return THREADS if get_settings(wildcards)["train"]["settings"].get("hidden", 2048) > 512 else 1


def get_attend_options(wildcards):
    """Attention has the length and the precision of the training."""
    settings = get_settings(wildcards)
    return flags({key: settings["train"][key] for key in ("length", "precision")} | settings["attend"])


def get_shown():
    """Variant, seed and iteration that the page shows: the first ones, and the last iteration."""
    variant = next(iter(config["variants"]))
    return {"variant": variant, "seed": config["seeds"][0], "iteration": SETTINGS[variant]["iterations"]}


def get_iterations(name, variants=tuple(config["variants"])):
    """One table of every iteration of every seed, of these variants or of all of the config's."""
    folders = [
        ITERATION.format(variant=variant, seed=seed, iteration=iteration)
        for variant in variants
        for seed in config["seeds"]
        for iteration in range(1, SETTINGS[variant]["iterations"] + 1)
    ]
    return [f"{folder}/{name}" for folder in folders]


def get_segments(name):
    """A table of the segmentation of every variant and seed, where there is one."""
    places = [(variant, seed) for variant in config["variants"] for seed in config["seeds"]]
    return [f"{RUN}/{variant}/seed-{seed}/{name}" for variant, seed in places if config["segments"]["find"]]


def list_tables(variant):
    """The tables of one iteration: with parts, those of the parts as well."""
    labels = ["pooled", "clusters", "refined", "selected"]
    own = ["centres", "training", "attention", "embeddings", "confidence"]
    own += ["detections", "moments", "metrics", "mapping"]
    if SETTINGS[variant]["parts"]["cut"]:
        return [*(f"parts/{name}" for name in [*labels, "embeddings"]), "pooled", "refined", "selected", *own]
    return [*labels, *own]


def get_tables(variants=tuple(config["variants"])):
    """Every file of all iterations of these variants, or of all of the config's."""
    files = {
        variant: [*(f"{name}.parquet" for name in list_tables(variant)), "model.safetensors"] for variant in variants
    }
    return [file for variant in variants for name in files[variant] for file in get_iterations(name, [variant])]


def get_artifacts():
    """Every file of the run: a table that somebody deletes is made again, even where all that came of it is still there."""
    shared = ["manifest", "unreadable", "videos", "skipped", "annotations", "annotations_dropped", "metrics"]
    features = expand(f"{FEATURES}/part-{{part}}.parquet", part=PARTS)
    if scales(config):
        shared.append("scaling")
    shared += ["names", "moments", "given"]
    shared += [f"groups/{table}" for table in GROUP_TABLES] if config["groups"] else []
    shared += ["labels"] if config["dataset"]["labels"] else []
    obeyed = CORRECTIONS and CORRECTIONS.iteration < SETTINGS[CORRECTIONS.variant]["iterations"]
    shared += ["constraints"] if obeyed else []
    own = [f"{RUN}/{name}.parquet" for name in shared]
    cuts = expand(f"{RUN}/{{variant}}/{{file}}", variant=PARTED, file=["parts.parquet", "description.safetensors"])
    segments = [file for name in ("segments", "segment_metrics") for file in get_segments(f"{name}.parquet")]
    return [*own, *features, *cuts, *segments, *get_tables(), f"{RUN}/report.html"]


def get_custom_rules(file):
    """Path of a .smk file of the user's, as seen from where Snakemake runs (an include is relative to its includer)."""
    if not Path(file).is_file():
        sys.exit(f"error: config: key 'custom_rules': there is no '{file}' (relative to where snakemake runs)")
    return str(Path(file).resolve())
