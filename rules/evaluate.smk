# What each iteration is worth, what a person corrected in it, and the page that shows it. With the studies, the only rules
# that read ground truth.

SHOWN = ITERATION.format(**get_shown())
CORRECTED = f"{RUN}/{CORRECTIONS.variant}/seed-{CORRECTIONS.seed}/iter-{CORRECTIONS.iteration}" if CORRECTIONS else ""


rule evaluate_iteration:
    input:
        videos=f"{RUN}/videos.parquet",
        annotations=f"{RUN}/annotations.parquet",
        pooled=f"{ITERATION}/pooled.parquet",
        clusters=f"{ITERATION}/clusters.parquet",
        refined=f"{ITERATION}/refined.parquet",
        selected=f"{ITERATION}/selected.parquet",
        detections=f"{ITERATION}/detections.parquet",
        previous=get_previous("refined.parquet"),
    output:
        metrics=f"{ITERATION}/metrics.parquet",
        mapping=f"{ITERATION}/mapping.parquet",
    log:
        get_log("evaluate_iteration"),
    benchmark:
        get_benchmark("evaluate_iteration")
    group:
        GROUP
    conda:
        "../envs/feel.yaml"
    params:
        options=flags(config["evaluate"]),
        previous=get_given("previous"),
        cuts=give_parts,
        source=get_source("evaluate"),
    shell:
        "python -m feel_steps evaluate --videos {input.videos:q} --annotations {input.annotations:q}"
        " --pooled {input.pooled:q} --clusters {input.clusters:q} --refined {input.refined:q}"
        " --selected {input.selected:q} --detections {input.detections:q} {params.previous} {params.cuts}"
        " --variant {wildcards.variant:q} --seed {wildcards.seed} --iteration {wildcards.iteration} {params.options}"
        " --out {output.metrics:q} --out-mapping {output.mapping:q} 2>&1 | tee {log:q}"


rule gather_metrics:
    input:
        get_iterations("metrics.parquet"),
        get_segments("segment_metrics.parquet"),
    output:
        f"{RUN}/metrics.parquet",
    log:
        f"{LOGS}/gather_metrics.log",
    benchmark:
        f"{BENCHMARKS}/gather_metrics.tsv"
    group:
        "report"
    conda:
        "../envs/feel.yaml"
    params:
        source=get_source("gather"),
    shell:
        "python -m feel_steps gather --out {output:q} {input:q} 2>&1 | tee {log:q}"


rule correct_moments:
    input:
        videos=f"{RUN}/videos.parquet",
        moments=f"{SHOWN}/moments.parquet",
        refined=f"{SHOWN}/refined.parquet",
        embeddings=f"{SHOWN}/embeddings.parquet",
        corrections=config["corrections"] or [],
        centres=f"{CORRECTED}/centres.parquet" if CORRECTIONS else [],
        former=[f"{CORRECTED}/{name}.parquet" for name in ("refined", "embeddings", "moments") if CORRECTIONS],
        labels=f"{RUN}/labels.parquet" if config["dataset"]["labels"] else [],
    output:
        moments=f"{RUN}/moments.parquet",
        names=f"{RUN}/names.parquet",
        given=f"{RUN}/given.parquet",
    log:
        f"{LOGS}/correct_moments.log",
    benchmark:
        f"{BENCHMARKS}/correct_moments.tsv"
    group:
        "report"
    conda:
        "../envs/feel.yaml"
    params:
        given=get_given("corrections", "centres", "labels"),
        source=get_source("correct"),
    shell:
        "python -m feel_steps correct --moments {input.moments:q} --videos {input.videos:q} --refined {input.refined:q}"
        " --embeddings {input.embeddings:q} {params.given} --out {output.moments:q} --out-names {output.names:q}"
        " --out-given {output.given:q} 2>&1 | tee {log:q}"


# a person may have written it
NAMES = [file for file in [f"{RUN}/clusters.yaml"] if Path(file).is_file()]


if config["groups"]:

    rule compare_groups:
        input:
            videos=f"{RUN}/videos.parquet",
            corrected=[f"{RUN}/{name}.parquet" for name in ("moments", "names")],
            embeddings=f"{SHOWN}/embeddings.parquet",
            centres=f"{SHOWN}/centres.parquet",
            groups=config["groups"],
            names=NAMES,
        output:
            tables=expand(f"{RUN}/groups/{{table}}.parquet", table=GROUP_TABLES),
        log:
            f"{LOGS}/compare_groups.log",
        benchmark:
            f"{BENCHMARKS}/compare_groups.tsv"
        group:
            "report"
        conda:
            "../envs/feel.yaml"
        params:
            run=get_folder("videos"),
            shown=get_folder("centres"),
            out=f"{RUN}/groups",
            source=get_source("groups"),
        shell:
            "python -m feel_steps groups {params.run:q} {input.groups:q} --shown {params.shown:q} --out {params.out:q}"
            " 2>&1 | tee {log:q}"


rule write_report:
    input:
        get_iterations("mapping.parquet"),
        corrected=[f"{RUN}/{name}.parquet" for name in ("moments", "names", "given")],
        metrics=f"{RUN}/metrics.parquet",
        annotations=f"{RUN}/annotations.parquet",
        dropped=f"{RUN}/annotations_dropped.parquet",
        skipped=f"{RUN}/skipped.parquet",
        names=NAMES,
        corrections=config["corrections"] or [],
        labels=f"{RUN}/labels.parquet" if config["dataset"]["labels"] else [],
        segments=get_segments("segments.parquet"),
        compared=f"{RUN}/groups/tests.parquet" if config["groups"] else [],
    output:
        report(f"{RUN}/report.html", caption="../docs/captions/report.rst", category="What was found"),
    log:
        f"{LOGS}/write_report.log",
    benchmark:
        f"{BENCHMARKS}/write_report.tsv"
    group:
        "report"
    conda:
        "../envs/feel.yaml"
    params:
        run=get_folder("metrics"),
        # called, since Snakemake would look for wildcards in a string
        settings=lambda wildcards: flags({"settings": config}),
        given=get_given("names", "corrections", "labels"),
        groups=flags({"groups": f"{RUN}/groups" if config["groups"] else None}),
        source=get_source("report"),
    shell:
        "python -m feel_steps report --run {params.run:q} {params.settings} {params.given}"
        " {params.groups} --out {output:q} 2>&1 | tee {log:q}"
