"""Aggregation: tables of runs and cells, of learning curves, and of the memories' dynamics."""


rule aggregate:
    input:
        runs=lambda wildcards: files_of_runs("final.json", experiment=wildcards.experiment),
        lock=source("requirements.lock"),
    output:
        "tables/runs/{experiment}.csv",
        "tables/summary/{experiment}.csv",
    log:
        "logs/aggregate/{experiment}.log",
    benchmark:
        "benchmarks/aggregate/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(ACTIVE.experiments),
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
        gpu=0,
    params:
        preset=params_file,
        values=experiment_values,
        code=fingerprint("palimpsest.analysis.tables"),
    shell:
        "python -m palimpsest aggregate --params {params.preset:q} {wildcards.experiment} > {log:q} 2>&1"


rule index:
    input:
        expand("tables/{table}/{experiment}.csv", table=["runs", "summary"], experiment=EXPERIMENTS),
        lock=source("requirements.lock"),
    output:
        "tables/runs.csv",
        "tables/metrics.parquet",
    log:
        "logs/index.log",
    benchmark:
        "benchmarks/index.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
        gpu=0,
    params:
        preset=params_file,
        values=preset_values(),
        code=fingerprint("palimpsest.analysis.tables"),
    shell:
        "python -m palimpsest index --params {params.preset:q} > {log:q} 2>&1"


rule dynamics:
    input:
        runs=lambda wildcards: files_of_runs(
            "final.json", "history.csv", "steps.csv", "trace.safetensors", experiment=wildcards.experiment
        ),
        lock=source("requirements.lock"),
    output:
        expand("results/{experiment}/{table}.csv", table=plan.EXPERIMENT_TABLES, allow_missing=True),
    log:
        "logs/dynamics/{experiment}.log",
    benchmark:
        "benchmarks/dynamics/{experiment}.tsv"
    wildcard_constraints:
        experiment=one_of(ACTIVE.experiments),
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
        gpu=0,
    params:
        preset=params_file,
        values=experiment_values,
        code=fingerprint("palimpsest.analysis.experiment_tables"),
    shell:
        "python -m palimpsest dynamics --params {params.preset:q} {wildcards.experiment} > {log:q} 2>&1"
