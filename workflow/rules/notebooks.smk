"""Notebooks: executed from their sources, stripped of all that differs from one execution to the next."""


rule notebook:
    input:
        source=source("notebooks/source/01_NeMA_Lite_Results_Summary.ipynb"),
        tables=TABLES,
        plots=PLOTS,
        lock=source("requirements.lock"),
    output:
        NOTEBOOK,
    log:
        "logs/notebook.log",
    benchmark:
        "benchmarks/notebook.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
        gpu=0,
    params:
        # the second line: what the notebook itself imports
        code=fingerprint("palimpsest.rendering.notebook", "palimpsest.rendering.frames")
        + fingerprint("palimpsest.analysis.claims", "palimpsest.analysis.runs", "palimpsest.analysis.statistics"),
    shell:
        "python -m palimpsest notebook {input.source:q} {output:q} > {log:q} 2>&1"
