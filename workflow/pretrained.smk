"""The study of a pretrained model, by hand: its tables are committed, and the default build asks for none of this.

snakemake --snakefile workflow/pretrained.smk --cores all     from the project's folder; `make lm` does so
"""

import sys

sys.path.insert(0, "src")

from palimpsest.planning.provenance import fingerprint


rule all:
    default_target: True
    input:
        "studies/smollm2/recall.csv",


rule unpack:
    output:
        directory("models/smollm2"),
    log:
        "logs/unpack.log",
    benchmark:
        "benchmarks/unpack.tsv"
    threads: 1
    resources:
        mem_mb=3000,
    shell:
        "python -m palimpsest unpack {output:q} > {log:q} 2>&1"


rule study:
    input:
        base="models/smollm2",
        study="studies/smollm2.yaml",
        lock="requirements.lock",
    output:
        "studies/smollm2/recall.csv",
        "studies/smollm2/transcripts.csv",
    log:
        "logs/study.log",
    benchmark:
        "benchmarks/study.tsv"
    threads: 1
    resources:
        mem_mb=3000,
    params:
        folder=lambda wildcards, output: os.path.dirname(output[0]),
        code=fingerprint("palimpsest.language.study"),
    shell:
        "python -m palimpsest study --base {input.base:q} --study {input.study:q} --to {params.folder:q} > {log:q} 2>&1"
