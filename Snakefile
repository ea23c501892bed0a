from snakemake.utils import min_version

min_version("9.10")


configfile: f"{workflow.basedir}/config.yaml"


include: "rules/common.smk"
include: "rules/slurm.smk"
include: "rules/features.smk"
include: "rules/iterate.smk"
include: "rules/evaluate.smk"
include: "rules/studies.smk"


for file in config["custom_rules"]:

    include: get_custom_rules(file)


rule all:
    default_target: True
    input:
        get_artifacts(),


onstart:
    # On this machine nothing needs Snakemake's limit of jobs a second. With one, it sets itself an alarm a second after
    # each look at what to start, and has one more with every job that ends: after some hundred jobs it does little else.
    if workflow.nodes is None:
        workflow.scheduler.job_rate_limiter = None
