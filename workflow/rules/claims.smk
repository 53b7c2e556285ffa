"""Verdicts: every claim of the sources, decided from the table of runs."""


rule claims:
    input:
        runs=RUN_TABLES,
        claims=sources("params/claims", "*.yaml"),
        lock=source("requirements.lock"),
    output:
        "tables/claims.csv",
        "tables/claims_evidence.json",
    log:
        "logs/claims.log",
    benchmark:
        "benchmarks/claims.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
        gpu=0,
    params:
        preset=params_file,
        claims=lambda wildcards, input: source("params/claims"),
        values=preset_values("confidence"),
        resolved=RESOLVED,
        code=fingerprint("palimpsest.analysis.tables", "palimpsest.analysis.claims"),
    shell:
        "python -m palimpsest claims --params {params.preset:q} --claims {params.claims:q} > {log:q} 2>&1"
