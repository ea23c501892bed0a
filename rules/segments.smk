# A segmentation of every video, which needs nothing of the loop, and what it is worth.

SEEDED = f"{RUN}/{{variant}}/seed-{{seed}}"


rule segment_videos:
    input:
        videos=f"{RUN}/videos.parquet",
        parts=expand(f"{FEATURES}/part-{{part}}.parquet", part=PARTS),
    output:
        f"{SEEDED}/segments.parquet",
    log:
        f"{LOGS}/{{variant}}/seed-{{seed}}/segment_videos.log",
    benchmark:
        f"{BENCHMARKS}/{{variant}}/seed-{{seed}}/segment_videos.tsv"
    conda:
        "../envs/feel.yaml"
    params:
        features=get_folder("parts"),
        clusters=lambda wildcards: get_settings(wildcards)["clusters"],
        window=config["segments"]["window"],
        source=get_source("segment"),
    shell:
        "python -m feel_steps segment --videos {input.videos:q} --features {params.features:q}"
        " --clusters {params.clusters} --seed {wildcards.seed} --window {params.window} --out {output:q} 2>&1 | tee {log:q}"


rule evaluate_segments:
    input:
        videos=f"{RUN}/videos.parquet",
        annotations=f"{RUN}/annotations.parquet",
        segments=f"{SEEDED}/segments.parquet",
    output:
        f"{SEEDED}/segment_metrics.parquet",
    log:
        f"{LOGS}/{{variant}}/seed-{{seed}}/evaluate_segments.log",
    benchmark:
        f"{BENCHMARKS}/{{variant}}/seed-{{seed}}/evaluate_segments.tsv"
    conda:
        "../envs/feel.yaml"
    params:
        iteration=lambda wildcards: get_settings(wildcards)["iterations"],
        source=get_source("evaluate-segments"),
    shell:
        "python -m feel_steps evaluate-segments --videos {input.videos:q} --annotations {input.annotations:q}"
        " --segments {input.segments:q} --variant {wildcards.variant:q} --seed {wildcards.seed}"
        " --iteration {params.iteration} --out {output:q} 2>&1 | tee {log:q}"
