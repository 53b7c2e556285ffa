"""The paper and its supplement: templates, tables, figures and numbers, typeset."""


rule paper:
    input:
        sources=sources("paper/source", "**/*.tex.j2", "**/*.bib"),
        tables=TABLES,
        plots=[path for path in PLOTS if path.endswith(".pdf")],
        by_hand=[path for path in [*BENCH, *STUDY] if not path.endswith(".png")],
        checks=CHECKS,
        numbers="paper/numbers.json",
        lock=source("requirements.lock"),
    output:
        tex="paper/paper.tex",
        supplement_tex="paper/supplement.tex",
        numbers="paper/numbers.tex",
        pdf=report("paper/paper.pdf", caption="../report/paper.rst", category="paper"),
        supplement=report("paper/supplement.pdf", caption="../report/supplement.rst", category="paper"),
    log:
        "logs/paper.log",
    benchmark:
        "benchmarks/paper.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
        gpu=0,
    params:
        folder=lambda wildcards, input: source("paper/source"),
        code=fingerprint("palimpsest.rendering.paper", *MANIFESTS),
    shell:
        "python -m palimpsest paper --source {params.folder:q} > {log:q} 2>&1"
