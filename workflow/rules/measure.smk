"""Measuring: a job a cell, which reads the weights of its runs and writes their test metrics and traces.

A new metric or a new field of the trace is measured from the weights that are there; nothing is trained for it. A job
is a cell and not a pack: the files that it reads must not depend on which runs were trained together, since Snakemake
compares them. There is a rule for each set of seeds, because the files that a rule writes cannot depend on a wildcard.
"""

for number, (seeds, places) in enumerate(CELLS_BY_SEEDS.items(), 1):

    rule:
        name:
            f"measure_{number}"
        input:
            data=lambda wildcards: [str(data_of_cell(wildcards) / file) for file in plan.DATA_FILES],
            runs=expand("results/{place}/seed={seed}/{file}", seed=seeds, file=plan.TRAINING_FILES, allow_missing=True),
            lock=source("requirements.lock"),
        output:
            expand("results/{place}/seed={seed}/{file}", seed=seeds, file=plan.MEASURED_FILES, allow_missing=True),
        log:
            "logs/measure/{place}.log",
        benchmark:
            "benchmarks/measure/{place}.tsv"
        wildcard_constraints:
            place="|".join(map(re.escape, places)),
        threads: 1
        resources:
            mem_mb=lambda wildcards: SCHEDULE.measuring_mb(cell_of(wildcards).base, len(cell_of(wildcards).seeds)),
            runtime=30,
            gpu=GPUS,
        params:
            preset=params_file,
            values=lambda wildcards: SCHEDULE.kind(cell_of(wildcards)).measuring_values,
            code=lambda wildcards: SCHEDULE.kind(cell_of(wildcards)).measuring_code,
        shell:
            "python -m palimpsest measure-cell --params {params.preset:q} results/{wildcards.place:q} > {log:q} 2>&1"
