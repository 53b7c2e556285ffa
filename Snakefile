"""palimpsest, from parameters to a printed paper: the targets, and the files of the rules.

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
include: "workflow/rules/measure.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/plots.smk"
include: "workflow/rules/notebooks.smk"
include: "workflow/rules/bench.smk"
include: "workflow/rules/checks.smk"
include: "workflow/rules/paper.smk"
include: "workflow/rules/record.smk"


rule all:
    default_target: True
    input:
        DATA,
        RUNS,
        TABLES,
        PLOTS,
        NOTEBOOK,
        BENCH,
        STUDY,
        CHECKS,
        PAPER,
        kept.RECORD,
