"""palimpsest, from parameters to a printed paper: what there is to make, and where its rules stand.

snakemake --cores all                                    the default preset, into this directory
snakemake --cores all --configfile params/smoke.yaml     another preset, into the workdir that it names
"""

from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/common.smk"


container: "docker://python:3.11-slim"


workdir: PROJECT / PRESET.workdir


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/plots.smk"
include: "workflow/rules/notebooks.smk"
include: "workflow/rules/bench.smk"
include: "workflow/rules/paper.smk"


onstart:
    # Jobs on a GPU, in a container or on another machine start by themselves: they must not run where they were forked.
    elsewhere = GPUS or workflow.deployment_settings.deployment_method or not workflow.local_exec
    if workflow.is_main_process and not elsewhere:
        prefork.start(JOB_VARIABLES)


rule all:
    default_target: True
    input:
        DATA,
        RUNS,
        TABLES,
        PLOTS,
        NOTEBOOK,
        BENCH,
        PAPER,
