# Parts of videos in the place of videos, for variants with parts.cut: the same jobs on other rows. Their tables lie in parts/;
# join_parts gives each video the clusters of its parts, so that what comes after the loop reads the same tables.

CUTS = f"{RUN}/{{variant}}/parts.parquet"
ROWS = f"{ITERATION}/parts"
ONLY = "|".join(map(re.escape, PARTED))


rule cut_videos:
    input:
        videos=f"{RUN}/videos.parquet",
        parts=expand(f"{FEATURES}/part-{{part}}.parquet", part=PARTS),
    output:
        cuts=CUTS,
        description=f"{RUN}/{{variant}}/description.safetensors",
    log:
        f"{LOGS}/{{variant}}/cut_videos.log",
    benchmark:
        f"{BENCHMARKS}/{{variant}}/cut_videos.tsv"
    wildcard_constraints:
        variant=ONLY,
    conda:
        "../envs/feel.yaml"
    params:
        features=get_folder("parts"),
        options=lambda wildcards: flags({k: v for k, v in get_settings(wildcards)["parts"].items() if k != "cut"}),
        source=get_source("cut"),
    shell:
        "python -m feel_steps cut --videos {input.videos:q} --features {params.features:q} {params.options}"
        " --out {output.cuts:q} --out-description {output.description:q} 2>&1 | tee {log:q}"


use rule pool_features as pool_parts with:
    input:
        videos=f"{RUN}/videos.parquet",
        parts=expand(f"{FEATURES}/part-{{part}}.parquet", part=PARTS),
        attention=get_previous("attention.parquet"),
        embeddings=get_previous("parts/embeddings.parquet"),
        cuts=CUTS,
    output:
        pooled=f"{ROWS}/pooled.parquet",
    log:
        get_log("pool_parts"),
    benchmark:
        get_benchmark("pool_parts")


use rule cluster_videos as cluster_parts with:
    input:
        pooled=f"{ROWS}/pooled.parquet",
        cuts=CUTS,
    output:
        clusters=f"{ROWS}/clusters.parquet",
        centres=f"{ITERATION}/centres.parquet",
    log:
        get_log("cluster_parts"),
    benchmark:
        get_benchmark("cluster_parts")
    wildcard_constraints:
        variant=ONLY,


use rule refine_clusters as refine_parts with:
    input:
        pooled=f"{ROWS}/pooled.parquet",
        clusters=f"{ROWS}/clusters.parquet",
        centres=f"{ITERATION}/centres.parquet",
    output:
        refined=f"{ROWS}/refined.parquet",
    log:
        get_log("refine_parts"),
    benchmark:
        get_benchmark("refine_parts")


use rule select_instances as select_parts with:
    input:
        refined=f"{ROWS}/refined.parquet",
    output:
        selected=f"{ROWS}/selected.parquet",
    log:
        get_log("select_parts"),
    benchmark:
        get_benchmark("select_parts")


rule join_parts:
    input:
        parts=CUTS,
        refined=f"{ROWS}/refined.parquet",
        selected=f"{ROWS}/selected.parquet",
    output:
        refined=f"{ITERATION}/refined.parquet",
        selected=f"{ITERATION}/selected.parquet",
    log:
        get_log("join_parts"),
    benchmark:
        get_benchmark("join_parts")
    wildcard_constraints:
        variant=ONLY,
    group:
        GROUP
    conda:
        "../envs/feel.yaml"
    params:
        source=get_source("join"),
    shell:
        "python -m feel_steps join --parts {input.parts:q} --refined {input.refined:q} --selected {input.selected:q}"
        " --out {output.refined:q} --out-selected {output.selected:q} 2>&1 | tee {log:q}"


use rule train_localizer as train_on_parts with:
    input:
        videos=f"{RUN}/videos.parquet",
        parts=expand(f"{FEATURES}/part-{{part}}.parquet", part=PARTS),
        selected=f"{ROWS}/selected.parquet",
        cuts=CUTS,
    log:
        get_log("train_on_parts"),
    benchmark:
        get_benchmark("train_on_parts")
    wildcard_constraints:
        variant=ONLY,


use rule attend_videos as attend_parts with:
    input:
        videos=f"{RUN}/videos.parquet",
        parts=expand(f"{FEATURES}/part-{{part}}.parquet", part=PARTS),
        model=f"{ITERATION}/model.safetensors",
        cuts=CUTS,
    output:
        attention=f"{ITERATION}/attention.parquet",
        embeddings=f"{ITERATION}/embeddings.parquet",
        part_embeddings=f"{ROWS}/embeddings.parquet",
    log:
        get_log("attend_parts"),
    benchmark:
        get_benchmark("attend_parts")
    wildcard_constraints:
        variant=ONLY,
    params:
        features=get_folder("parts"),
        device=get_untracked(lambda wildcards: {"device": config["device"]}),
        options=get_attend_options,
        cuts=lambda wildcards, input, output: flags(
            {"parts": input.cuts, "out_part_embeddings": output.part_embeddings}
        ),
        source=get_source("attend"),


use rule localize_actions as localize_parts with:
    input:
        videos=f"{RUN}/videos.parquet",
        pooled=f"{ROWS}/pooled.parquet",
        refined=f"{ROWS}/refined.parquet",
        attention=f"{ITERATION}/attention.parquet",
        embeddings=f"{ITERATION}/embeddings.parquet",
        cuts=CUTS,
    log:
        get_log("localize_parts"),
    benchmark:
        get_benchmark("localize_parts")
    wildcard_constraints:
        variant=ONLY,


use rule evaluate_iteration as evaluate_parts with:
    input:
        videos=f"{RUN}/videos.parquet",
        annotations=f"{RUN}/annotations.parquet",
        pooled=f"{ROWS}/pooled.parquet",
        clusters=f"{ROWS}/clusters.parquet",
        refined=f"{ROWS}/refined.parquet",
        selected=f"{ROWS}/selected.parquet",
        detections=f"{ITERATION}/detections.parquet",
        previous=get_previous("parts/refined.parquet"),
        cuts=CUTS,
        shown=[f"{ITERATION}/{name}.parquet" for name in ("pooled", "refined", "selected")],  # the page needs them
    log:
        get_log("evaluate_parts"),
    benchmark:
        get_benchmark("evaluate_parts")
    wildcard_constraints:
        variant=ONLY,


ruleorder: cluster_parts > cluster_videos
ruleorder: join_parts > refine_clusters
ruleorder: join_parts > select_instances
ruleorder: train_on_parts > train_localizer
ruleorder: attend_parts > attend_videos
ruleorder: localize_parts > localize_actions
ruleorder: evaluate_parts > evaluate_iteration
