"""What is measured by hand and committed, rendered here: speed (`python -m bench`), and a pretrained model (`make lm`)."""

MEASUREMENTS = ["sweep", "scaling", "peak", "compiled", "cells", "sparse_memory", "overhead"]
BENCH = ["tables/bench.tex", "tables/coverage.tex"] + expand(
    "plots/bench/{figure}.{kind}", figure=["sweep", "scaling", "sparse_memory"], kind=["pdf", "png"]
)


rule bench:
    input:
        notes=source("bench/results/machine.json"),
        results=[source(f"bench/results/{name}.csv") for name in [*MEASUREMENTS, "coverage"]],
        lock=source("requirements.lock"),
    output:
        BENCH,
    log:
        "logs/bench.log",
    benchmark:
        "benchmarks/bench.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
        gpu=0,
    params:
        folder=lambda wildcards, input: os.path.dirname(input.notes),
        code=fingerprint("palimpsest.rendering.bench"),
    shell:
        "python -m palimpsest bench --results {params.folder:q} > {log:q} 2>&1"


STUDY = ["tables/study.tex", "plots/study/recall.pdf", "plots/study/recall.png"]


rule study:
    input:
        studies=sources("studies", "*.yaml", "*/*.csv"),
        lock=source("requirements.lock"),
    output:
        STUDY,
    log:
        "logs/study.log",
    benchmark:
        "benchmarks/study.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
        gpu=0,
    params:
        folder=lambda wildcards, input: source("studies"),
        code=fingerprint("palimpsest.rendering.study"),
    shell:
        "python -m palimpsest render-study --studies {params.folder:q} > {log:q} 2>&1"
