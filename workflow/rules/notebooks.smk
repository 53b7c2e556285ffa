"""Notebooks: executed from their sources, without what differs between two executions."""


rule notebook:
    input:
        source=lambda wildcards: source(f"notebooks/source/{NOTEBOOKS[wildcards.name][0]}/{wildcards.name}.ipynb"),
        tables=TABLES,
        plots=lambda wildcards: [
            path
            for experiment in NOTEBOOKS[wildcards.name][1].experiments
            for path in files_of_figures(experiment, "png")
        ],
        dynamics=lambda wildcards: files_of_dynamics(*NOTEBOOKS[wildcards.name][1].experiments),
        lock=source("requirements.lock"),
    output:
        "notebooks/executed/{name}.ipynb",
    log:
        "logs/notebook/{name}.log",
    benchmark:
        "benchmarks/notebook/{name}.tsv"
    wildcard_constraints:
        name=one_of(NOTEBOOKS.keys() - KEPT.notebooks),
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        # the lines below the first: what notebooks themselves import
        code=fingerprint("palimpsest.rendering.notebook", "palimpsest.rendering.frames", *MANIFESTS)
        + fingerprint("palimpsest.analysis.claims", "palimpsest.analysis.tables")
        + fingerprint("palimpsest.analysis.dynamics", "palimpsest.analysis.steps", "palimpsest.analysis.sequences"),
    shell:
        "python -m palimpsest notebook {input.source:q} {output:q} > {log:q} 2>&1"
