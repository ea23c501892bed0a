from snakemake.utils import min_version

min_version("9.10")


configfile: f"{workflow.current_basedir}/config.yaml"


include: "rules/compat.smk"
include: "rules/common.smk"


if config["container"]:

    container: config["container"]


include: "rules/features.smk"
include: "rules/iterate.smk"
include: "rules/evaluate.smk"


if PARTED:

    include: "rules/parts.smk"


if config["segments"]["find"]:

    include: "rules/segments.smk"


for file in config["custom_rules"]:

    include: get_custom_rules(file)


rule all:
    default_target: True
    input:
        get_artifacts(),
