"""Measuring: a job a cell, which reads the weights of its runs and writes their test metrics and traces.

A new metric or a new field of the trace is measured from the weights that are there; nothing is trained for it. A job
is a cell and not a pack: the files that it reads must not depend on which runs were trained together, since Snakemake
compares them.
"""


rule measure:
    input:
        data=expand("data/{experiment}/track={track}/{file}", file=plan.DATA_FILES, allow_missing=True),
        runs=expand(
            "results/{experiment}/track={track}/model={model}{cell}/seed={seed}/{file}",
            seed=PRESET.seeds,
            file=plan.TRAINING_FILES,
            allow_missing=True,
        ),
        lock=source("requirements.lock"),
    output:
        expand(
            "results/{experiment}/track={track}/model={model}{cell}/seed={seed}/{file}",
            seed=PRESET.seeds,
            file=plan.MEASURED_FILES,
            allow_missing=True,
        ),
    log:
        "logs/measure/{experiment}/track={track}/model={model}{cell}.log",
    benchmark:
        "benchmarks/measure/{experiment}/track={track}/model={model}{cell}.tsv"
    threads: 1
    resources:
        mem_mb=lambda wildcards: SCHEDULE.measuring_mb(cell_of(wildcards), len(PRESET.seeds)),
        runtime=30,
        gpu=GPUS,
    params:
        preset=params_file,
        values=lambda wildcards: SCHEDULE.kinds[cell_of(wildcards)].measuring_values,
        code=lambda wildcards: SCHEDULE.kinds[cell_of(wildcards)].measuring_code,
    shell:
        "python -m palimpsest measure-cell --params {params.preset:q}"
        " results/{wildcards.experiment}/track={wildcards.track}/model={wildcards.model}{wildcards.cell:q}"
        " > {log:q} 2>&1"
