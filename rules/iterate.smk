# One iteration: pool, cluster, refine, rate, select, train, attend, localize. The wildcard "iteration" unrolls the loop; its
# edge is get_previous, which hands attention and embeddings of iteration i - 1 to the pooling of iteration i.


if CORRECTIONS:

    # The file itself is no input: names in it may change, and nothing trains again. The digest tells the rest.
    rule constrain_videos:
        input:
            videos=f"{RUN}/videos.parquet",
            centres=f"{RUN}/{CORRECTIONS.variant}/seed-{CORRECTIONS.seed}/iter-{CORRECTIONS.iteration}/centres.parquet",
        output:
            constraints=f"{RUN}/constraints.parquet",
        log:
            f"{LOGS}/constrain_videos.log",
        benchmark:
            f"{BENCHMARKS}/constrain_videos.tsv"
        conda:
            "../envs/feel.yaml"
        params:
            corrections=get_untracked(lambda wildcards: {"corrections": config["corrections"]}),
            constraints=digest_constraints(CORRECTIONS),
            source=get_source("constrain"),
        shell:
            "python -m feel_steps constrain {params.corrections} --videos {input.videos:q}"
            " --centres {input.centres:q} --out {output.constraints:q} 2>&1 | tee {log:q}"


rule pool_features:
    input:
        videos=f"{RUN}/videos.parquet",
        parts=expand(f"{FEATURES}/part-{{part}}.parquet", part=PARTS),
        attention=get_previous("attention.parquet"),
        embeddings=get_previous("embeddings.parquet"),
    output:
        pooled=f"{ITERATION}/pooled.parquet",
    log:
        get_log("pool_features"),
    benchmark:
        get_benchmark("pool_features")
    group:
        GROUP
    conda:
        "../envs/feel.yaml"
    params:
        features=get_folder("parts"),
        options=get_options("pool"),
        previous=get_given("attention", "embeddings"),
        cuts=give_parts,
        source=get_source("pool"),
    shell:
        "python -m feel_steps pool --videos {input.videos:q} --features {params.features:q} {params.options}"
        " {params.previous} {params.cuts} --out {output.pooled:q} 2>&1 | tee {log:q}"


rule cluster_videos:
    input:
        pooled=f"{ITERATION}/pooled.parquet",
        said=get_said,
        previous=get_numbering,
    output:
        clusters=f"{ITERATION}/clusters.parquet",
        centres=f"{ITERATION}/centres.parquet",
    log:
        get_log("cluster_videos"),
    benchmark:
        get_benchmark("cluster_videos")
    group:
        GROUP
    conda:
        "../envs/feel.yaml"
    params:
        clusters=lambda wildcards: get_settings(wildcards)["clusters"],
        options=get_options("cluster"),
        said=get_given_tables,
        previous=get_given("previous"),
        cuts=give_parts,
        source=get_source("cluster"),
    shell:
        "python -m feel_steps cluster --pooled {input.pooled:q} --clusters {params.clusters} --seed {wildcards.seed}"
        " {params.options} {params.cuts} {params.said} {params.previous} --out-clusters {output.clusters:q}"
        " --out-centres {output.centres:q} 2>&1 | tee {log:q}"


rule refine_clusters:
    input:
        pooled=f"{ITERATION}/pooled.parquet",
        clusters=f"{ITERATION}/clusters.parquet",
        centres=f"{ITERATION}/centres.parquet",
        said=get_said,
    output:
        refined=f"{ITERATION}/refined.parquet",
    log:
        get_log("refine_clusters"),
    benchmark:
        get_benchmark("refine_clusters")
    group:
        GROUP
    conda:
        "../envs/feel.yaml"
    threads: lambda wildcards: 1 if get_settings(wildcards)["refine"]["method"] == "none" else THREADS
    resources:
        gpu=lambda wildcards: int(get_settings(wildcards)["refine"]["device"] not in ("cpu", "mps")),
    params:
        options=get_options("refine"),
        device=get_untracked(lambda wildcards: {"device": get_settings(wildcards)["refine"]["device"]}),
        said=get_given_tables,
        source=get_source("refine"),
    shell:
        "python -m feel_steps refine --pooled {input.pooled:q} --clusters {input.clusters:q} --centres {input.centres:q}"
        " {params.options} {params.device} {params.said} --out {output.refined:q} 2>&1 | tee {log:q}"


rule select_instances:
    input:
        refined=f"{ITERATION}/refined.parquet",
        said=get_said,
    output:
        selected=f"{ITERATION}/selected.parquet",
    log:
        get_log("select_instances"),
    benchmark:
        get_benchmark("select_instances")
    group:
        GROUP
    conda:
        "../envs/feel.yaml"
    params:
        options=get_selection,
        said=get_given_tables,
        source=get_source("select"),
    shell:
        "python -m feel_steps select --refined {input.refined:q} {params.options} {params.said}"
        " --out {output.selected:q} 2>&1 | tee {log:q}"


rule train_localizer:
    input:
        videos=f"{RUN}/videos.parquet",
        parts=expand(f"{FEATURES}/part-{{part}}.parquet", part=PARTS),
        selected=f"{ITERATION}/selected.parquet",
    output:
        model=f"{ITERATION}/model.safetensors",
        training=f"{ITERATION}/training.parquet",
    log:
        get_log("train_localizer"),
    benchmark:
        get_benchmark("train_localizer")
    group:
        GROUP
    conda:
        "../envs/feel.yaml"
    threads: get_threads
    resources:
        gpu=GPU,
    params:
        clusters=lambda wildcards: get_settings(wildcards)["clusters"],
        features=get_folder("parts"),
        device=get_untracked(lambda wildcards: {"device": config["device"]}),
        options=get_options("train"),
        cuts=give_parts,
        source=get_source("train"),
    shell:
        "python -m feel_steps train --videos {input.videos:q} --features {params.features:q} --selected {input.selected:q}"
        " --clusters {params.clusters} --seed {wildcards.seed} {params.options} {params.cuts} {params.device}"
        " --threads {threads} --out {output.model:q} --out-training {output.training:q} 2>&1 | tee {log:q}"


rule attend_videos:
    input:
        videos=f"{RUN}/videos.parquet",
        parts=expand(f"{FEATURES}/part-{{part}}.parquet", part=PARTS),
        model=f"{ITERATION}/model.safetensors",
    output:
        attention=f"{ITERATION}/attention.parquet",
        embeddings=f"{ITERATION}/embeddings.parquet",
    log:
        get_log("attend_videos"),
    benchmark:
        get_benchmark("attend_videos")
    group:
        GROUP
    conda:
        "../envs/feel.yaml"
    threads: get_threads
    resources:
        gpu=GPU,
    params:
        features=get_folder("parts"),
        device=get_untracked(lambda wildcards: {"device": config["device"]}),
        options=get_attend_options,
        cuts=give_parts,
        source=get_source("attend"),
    shell:
        "python -m feel_steps attend --videos {input.videos:q} --features {params.features:q} --model {input.model:q}"
        " {params.options} {params.cuts} {params.device} --threads {threads}"
        " --out {output.attention:q} --out-embeddings {output.embeddings:q} 2>&1 | tee {log:q}"


# Rating is a part of this job: a job of its own would run beside the training, and SLURM would add up the memory of both.
rule localize_actions:
    input:
        videos=f"{RUN}/videos.parquet",
        pooled=f"{ITERATION}/pooled.parquet",
        refined=f"{ITERATION}/refined.parquet",
        attention=f"{ITERATION}/attention.parquet",
        embeddings=f"{ITERATION}/embeddings.parquet",
    output:
        confidence=f"{ITERATION}/confidence.parquet",
        detections=f"{ITERATION}/detections.parquet",
        moments=f"{ITERATION}/moments.parquet",
    log:
        get_log("localize_actions"),
    benchmark:
        get_benchmark("localize_actions")
    group:
        GROUP
    conda:
        "../envs/feel.yaml"
    params:
        clusters=lambda wildcards: get_settings(wildcards)["clusters"],
        options=get_options("localize"),
        cuts=give_parts,
        source=[get_source("rate"), get_source("localize")],
    shell:
        "(python -m feel_steps rate --pooled {input.pooled:q} --refined {input.refined:q} --clusters {params.clusters} {params.cuts}"
        " --seed {wildcards.seed} --out {output.confidence:q}"
        " && python -m feel_steps localize --videos {input.videos:q} --attention {input.attention:q}"
        " --embeddings {input.embeddings:q} --confidence {output.confidence:q} {params.options}"
        " --out {output.detections:q} --out-moments {output.moments:q}) 2>&1 | tee {log:q}"
