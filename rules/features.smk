# From videos, or CoLA's folders, to snippet features. Ground truth goes its own way, to evaluation, report and studies.

DATASET = config["dataset"]
DEMO = f"{RUN}/demo"

if DATASET["layout"] == "demo":
    SOURCE, SPLIT, TRUTH = (
        f"{DEMO}/videos",
        f"{DEMO}/split.csv",
        f"{DEMO}/annotations.json",
    )
    LISTING = None  # rendered here: Snakemake watches the folder itself
else:
    # ancient: the listing tells what is new, and the folder's own time changes with every file that a file manager hides
    SOURCE, SPLIT, TRUTH = ancient(DATASET["path"]), DATASET["split"], DATASET["annotations"]
    LISTING = digest_inputs(DATASET["path"], DATASET["links"], DATASET["layout"])
TRUTH_FILES = list_annotation_files(TRUTH) if DATASET["layout"] != "demo" else [TRUTH]
if DATASET["videos"]:
    LISTING += digest_inputs(DATASET["videos"], DATASET["links"], "videos")

SNIPPETS = {key: config["features"][key] for key in ("fps", "window", "stride")}
ARRAYS = {key: DATASET[key] for key in ("streams", "key", "transposed")}  # how layout features reads them
LAYOUT = {**ARRAYS, "videos": DATASET["videos"]} if DATASET["layout"] == "features" else {}
EXTRACTOR = get_extractor(config)
EXTRACTION = {
    "extractor": EXTRACTOR,
    **SNIPPETS,
    "on_bad_video": DATASET["on_bad_video"],
    "settings": config["features"].get(EXTRACTOR, {}),
}
USED = list(config["features"]["streams"]) if EXTRACTOR == "streams" else [EXTRACTOR]
FILES = {"frames": ["weights"], "i3d": ["weights_rgb", "weights_flow"], "pose": ["detector", "landmarks"]}
WEIGHTS = [config["features"][name][key] for name in USED for key in FILES.get(name, [])]
WEIGHTS = [file for file in WEIGHTS if file]
NETWORK = bool({"frames", "i3d", "transformers"} & {*USED}) or ":" in EXTRACTOR  # computes on the device
PLACE = {"cache": config["features"]["cache"]} | ({"device": config["device"]} if NETWORK else {})
if EXTRACTOR == "streams":
    EXTRACTION["settings"] = {"extractors": {name: config["features"].get(name, {}) for name in USED}}
if EXTRACTOR == "arrays":
    EXTRACTION["settings"] = ARRAYS
if ":" in EXTRACTOR:
    EXTRACTION["settings"] = config["features"]["settings"]
    OWN = Path(*EXTRACTOR.partition(":")[0].split(".")).with_suffix(".py")
    WEIGHTS += [OWN] if OWN.is_file() else []  # of an installed one, the version says enough

# Where streams are brought to one scale, the features as extracted lie apart from those that the loop reads.
SCALED = scales(config)
EXTRACTED = f"{RUN}/raw" if SCALED else FEATURES


rule render_demo:
    output:
        videos=directory(f"{DEMO}/videos"),
        split=f"{DEMO}/split.csv",
        annotations=f"{DEMO}/annotations.json",
    log:
        f"{LOGS}/render_demo.log",
    benchmark:
        f"{BENCHMARKS}/render_demo.tsv"
    group:
        "import"
    conda:
        "../envs/feel.yaml"
    threads: THREADS
    params:
        folder=lambda wildcards, output: str(Path(output.split).parent),
        options=flags(config["demo"]),
        source=get_source("demo"),
    shell:
        "python -m feel_steps demo {params.options} --workers {threads} --out {params.folder:q} 2>&1 | tee {log:q}"


rule import_videos:
    input:
        folder=SOURCE,
        split=SPLIT or [],
    output:
        manifest=f"{RUN}/manifest.parquet",
        unreadable=f"{RUN}/unreadable.parquet",
    log:
        f"{LOGS}/import_videos.log",
    benchmark:
        f"{BENCHMARKS}/import_videos.tsv"
    group:
        "import"
    conda:
        "../envs/feel.yaml"
    params:
        layout=DATASET["layout"].replace("demo", "videos"),
        options=flags(
            {"split": SPLIT, **{key: DATASET[key] for key in ("parts", "on_bad_video", "links")}, **SNIPPETS, **LAYOUT}
        ),
        listing=LISTING,
        source=get_source("import"),
    shell:
        "python -m feel_steps import --layout {params.layout:q} --path {input.folder:q} {params.options}"
        " --out {output.manifest:q} --out-unreadable {output.unreadable:q} 2>&1 | tee {log:q}"


rule import_annotations:
    input:
        manifest=f"{RUN}/manifest.parquet",
        unreadable=f"{RUN}/unreadable.parquet",
        truth=TRUTH_FILES,
    output:
        annotations=f"{RUN}/annotations.parquet",
        dropped=f"{RUN}/annotations_dropped.parquet",
    log:
        f"{LOGS}/import_annotations.log",
    benchmark:
        f"{BENCHMARKS}/import_annotations.tsv"
    group:
        "import"
    conda:
        "../envs/feel.yaml"
    params:
        truth=flags({"annotations": TRUTH, **config["annotations"]}),
        source=get_source("import-annotations"),
    shell:
        "python -m feel_steps import-annotations --manifest {input.manifest:q} --unreadable {input.unreadable:q}"
        " {params.truth}"
        " --out {output.annotations:q} --out-dropped {output.dropped:q} 2>&1 | tee {log:q}"


if DATASET["labels"]:

    rule import_labels:
        input:
            manifest=f"{RUN}/manifest.parquet",
            labels=list_annotation_files(DATASET["labels"]),
        output:
            labels=f"{RUN}/labels.parquet",
        log:
            f"{LOGS}/import_labels.log",
        benchmark:
            f"{BENCHMARKS}/import_labels.tsv"
        group:
            "import"
        conda:
            "../envs/feel.yaml"
        params:
            labels=DATASET["labels"],
            clusters=min(numbers.values()),
            source=get_source("import-labels"),
        shell:
            "python -m feel_steps import-labels --manifest {input.manifest:q} --labels {params.labels:q}"
            " --clusters {params.clusters} --out {output.labels:q} 2>&1 | tee {log:q}"


rule extract_features:
    input:
        manifest=f"{RUN}/manifest.parquet",
        folder=SOURCE,
        weights=WEIGHTS,
    output:
        features=f"{EXTRACTED}/part-{{part}}.parquet",
    log:
        f"{LOGS}/extract_features/part-{{part}}.log",
    benchmark:
        f"{BENCHMARKS}/extract_features/part-{{part}}.tsv"
    conda:
        "../envs/feel.yaml"
    threads: THREADS if NETWORK and EXTRACTOR != "frames" else 1  # the others' parts run beside each other
    resources:
        gpu=GPU * NETWORK,
    params:
        options=flags(EXTRACTION),
        place=get_untracked(lambda wildcards: PLACE),
        listing=LISTING,
        source=get_source("extract"),
    shell:
        "python -m feel_steps extract --manifest {input.manifest:q} --part {wildcards.part} --root {input.folder:q}"
        " {params.options} {params.place} --threads {threads} --out {output.features:q} 2>&1 | tee {log:q}"


rule index_videos:
    input:
        manifest=f"{RUN}/manifest.parquet",
        unreadable=f"{RUN}/unreadable.parquet",
        parts=expand(f"{EXTRACTED}/part-{{part}}.parquet", part=PARTS),
    output:
        videos=f"{RUN}/videos.parquet",
        skipped=f"{RUN}/skipped.parquet",
    log:
        f"{LOGS}/index_videos.log",
    benchmark:
        f"{BENCHMARKS}/index_videos.tsv"
    conda:
        "../envs/feel.yaml"
    params:
        source=get_source("index"),
    shell:
        "python -m feel_steps index --manifest {input.manifest:q} --unreadable {input.unreadable:q}"
        " --out {output.videos:q} --out-skipped {output.skipped:q} {input.parts:q} 2>&1 | tee {log:q}"


if SCALED:

    rule scale_features:
        input:
            videos=f"{RUN}/videos.parquet",
            parts=expand(f"{EXTRACTED}/part-{{part}}.parquet", part=PARTS),
        output:
            parts=expand(f"{FEATURES}/part-{{part}}.parquet", part=PARTS),
            scaling=f"{RUN}/scaling.parquet",
        log:
            f"{LOGS}/scale_features.log",
        benchmark:
            f"{BENCHMARKS}/scale_features.tsv"
        conda:
            "../envs/feel.yaml"
        params:
            folder=lambda wildcards, output: str(Path(output.parts[0]).parent),
            weights=flags({"weights": config["features"]["streams"] if EXTRACTOR == "streams" else None}),
            source=get_source("scale"),
        shell:
            "python -m feel_steps scale --videos {input.videos:q} --out {params.folder:q} {params.weights}"
            " --out-scaling {output.scaling:q} {input.parts:q} 2>&1 | tee {log:q}"
