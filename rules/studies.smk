# The studies: each a set of variants, run by the ordinary rules, or a program; then one page. With evaluation and report,
# these are the only rules that read ground truth.


localrules:
    share_work,  # a copy


rule studies:
    input:
        get_tables(get_studied(*CHOSEN)),
        f"{RUN}/studies.html",


rule share_work:
    input:
        get_owned,
    output:
        f"{RUN}/{{shared}}",
    log:
        f"{LOGS}/share_work/{{shared}}.log",
    wildcard_constraints:
        shared=get_shared_pattern(),
    conda:
        "../envs/feel.yaml"
    params:
        temporary=lambda wildcards, output: str(Path(output[0]).with_name(f".{Path(output[0]).name}.copy.tmp")),
    shell:
        "(cp {input:q} {params.temporary:q} && mv {params.temporary:q} {output:q}) 2>&1 | tee {log:q}"


rule label_classes:
    input:
        pooled=f"{ITERATION}/pooled.parquet",
        annotations=f"{RUN}/annotations.parquet",
    output:
        refined=f"{ITERATION}/refined.parquet",
        selected=f"{ITERATION}/selected.parquet",
    log:
        get_log("label_classes"),
    wildcard_constraints:
        variant=get_pattern(name for name, setting in STUDIED.items() if setting.true_labels),
    group:
        GROUP
    conda:
        "../envs/feel.yaml"
    params:
        clusters=lambda wildcards: get_settings(wildcards)["clusters"],
        source=get_source("label-classes"),
    shell:
        "python -m feel_steps label-classes --pooled {input.pooled:q} --annotations {input.annotations:q}"
        " --clusters {params.clusters} --out {output.refined:q} --out-selected {output.selected:q} 2>&1 | tee {log:q}"


ruleorder: share_work > label_classes > refine_clusters
ruleorder: share_work > pool_features
ruleorder: share_work > cluster_videos
ruleorder: share_work > label_classes > select_instances
ruleorder: share_work > train_localizer
ruleorder: share_work > attend_videos
ruleorder: share_work > localize_actions


rule gather_study:
    input:
        get_study_metrics,
    output:
        f"{RUN}/studies/{{study}}.parquet",
    log:
        f"{LOGS}/studies/{{study}}.log",
    wildcard_constraints:
        study=get_pattern(name for name, study in STUDIES.items() if not study.program),
    conda:
        "../envs/feel.yaml"
    params:
        settings=get_study_settings,
        source=get_source("gather-study"),
    shell:
        "python -m feel_steps gather-study {params.settings} --out {output:q} {input:q} 2>&1 | tee {log:q}"


rule run_study:
    input:
        pooled=get_study_pooled,
        annotations=f"{RUN}/annotations.parquet",
    output:
        f"{RUN}/studies/{{study}}.parquet",
    log:
        f"{LOGS}/studies/{{study}}.log",
    wildcard_constraints:
        study=get_pattern(name for name, study in STUDIES.items() if study.program),
    conda:
        "../envs/feel.yaml"
    threads: THREADS
    params:
        options=get_program_options,
        source=get_source("study"),
    shell:
        "python -m feel_steps study {wildcards.study:q} --annotations {input.annotations:q} {params.options}"
        " --out {output:q} {input.pooled:q} 2>&1 | tee {log:q}"


rule write_studies:
    input:
        expand(f"{RUN}/studies/{{study}}.parquet", study=CHOSEN),
    output:
        report(f"{RUN}/studies.html", caption="../docs/captions/report.rst", category="What was found"),
    log:
        f"{LOGS}/write_studies.log",
    group:
        "studies"
    conda:
        "../envs/feel.yaml"
    params:
        run=config["name"],
        about=lambda wildcards: flags(
            {"studies": {name: {**STUDIES[name].about, "reference": STUDIES[name].reference} for name in CHOSEN}}
        ),
        source=get_source("studies-page"),
    shell:
        "python -m feel_steps studies-page {params.about} --name {params.run:q} --out {output:q} {input:q}"
        " 2>&1 | tee {log:q}"
