"""Tables as LaTeX, the comparison with the sources' own numbers, and every number that the paper may print."""


rule tables:
    input:
        data=files_of_data("card.json"),
        runs=RUN_TABLES,
        summary=SUMMARY_TABLES,
        verdicts="tables/claims.csv",
        evidence="tables/claims_evidence.json",
        published=sources("params/published", "*.yaml"),
        claims=sources("params/claims", "*.yaml"),
        lock=source("requirements.lock"),
    output:
        RENDERED,
    log:
        "logs/tables.log",
    benchmark:
        "benchmarks/tables.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
        gpu=0,
    params:
        preset=params_file,
        claims=lambda wildcards, input: source("params/claims"),
        published=lambda wildcards, input: source("params/published"),
        values=preset_values(),
        code=fingerprint("palimpsest.rendering.tables", *MANIFESTS),
    shell:
        "python -m palimpsest tables --params {params.preset:q}"
        " --published {params.published:q} --claims {params.claims:q} > {log:q} 2>&1"


rule numbers:
    input:
        data=files_of_data("card.json"),
        runs=RUN_TABLES,
        summary=SUMMARY_TABLES,
        verdicts="tables/claims.csv",
        evidence="tables/claims_evidence.json",
        generalisation="tables/generalisation.csv",
        published=sources("params/published", "*.yaml"),
        lock=source("requirements.lock"),
    output:
        "paper/numbers.json",
    log:
        "logs/numbers.log",
    benchmark:
        "benchmarks/numbers.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
        gpu=0,
    params:
        preset=params_file,
        published=lambda wildcards, input: source("params/published"),
        values=preset_values(),
        code=fingerprint("palimpsest.rendering.numbers", *MANIFESTS),
    shell:
        "python -m palimpsest numbers --params {params.preset:q} --published {params.published:q} > {log:q} 2>&1"
