"""Checks of the paper, rendered here; `make search` and `make fresh` run them by hand, and their tables are committed."""

CHECKS = expand("tables/{check}.tex", check=["search", "flips"])


rule checks:
    input:
        # Whoever has not run a check has no table of it, and a sentence in the supplement instead.
        tables=sources("tables", "search.csv", "flips.csv"),
        lock=source("requirements.lock"),
    output:
        CHECKS,
    log:
        "logs/checks.log",
    benchmark:
        "benchmarks/checks.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
        gpu=0,
    params:
        folder=lambda wildcards, input: source("tables"),
        code=fingerprint("palimpsest.rendering.checks", *MANIFESTS),
    shell:
        "python -m palimpsest checks --tables {params.folder:q} > {log:q} 2>&1"
