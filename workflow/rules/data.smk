"""Data sets: one a track, or several for phases that differ in their data; each has a card."""


rule data:
    input:
        lock=source("requirements.lock"),
    output:
        expand("data/{experiment}/track={track}{part}/{file}", file=plan.DATA_FILES, allow_missing=True),
    log:
        "logs/data/{experiment}/track={track}{part}.log",
    benchmark:
        "benchmarks/data/{experiment}/track={track}{part}.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
        gpu=0,
    params:
        preset=params_file,
        values=lambda wildcards: data_of(wildcards).values,
        code=lambda wildcards: data_of(wildcards).code,
        name=lambda wildcards: wildcards.part.rpartition("=")[2],  # empty for the data of the track itself
    shell:
        "python -m palimpsest data --params {params.preset:q} {wildcards.experiment} {wildcards.track} {params.name}"
        " > {log:q} 2>&1"
