"""Data sets: generated once a track, described by a card."""


rule data:
    input:
        lock=source("requirements.lock"),
    output:
        expand("data/{experiment}/track={track}/{file}", file=plan.DATA_FILES, allow_missing=True),
    log:
        "logs/data/{experiment}/track={track}.log",
    benchmark:
        "benchmarks/data/{experiment}/track={track}.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
        gpu=0,
    params:
        preset=params_file,
        values=lambda wildcards: data_of(wildcards).values,
        code=lambda wildcards: data_of(wildcards).code,
    shell:
        "python -m palimpsest data --params {params.preset:q} {wildcards.experiment} {wildcards.track} > {log:q} 2>&1"
