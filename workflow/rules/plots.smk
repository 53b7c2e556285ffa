"""Figures, a rule for each experiment: as PDF for the paper and as PNG for the screen."""

for drawn in [name for name in ACTIVE.experiments if FIGURES[name]]:

    rule:
        name:
            f"plot_{drawn}"
        input:
            runs="tables/runs/{experiment}.csv",
            summary="tables/summary/{experiment}.csv",
            dynamics=expand("results/{{experiment}}/{table}.csv", table=plan.EXPERIMENT_TABLES),
            data=files_of_data("card.json"),
            lock=source("requirements.lock"),
        output:
            report(
                expand("plots/{experiment}/{figure}.png", figure=FIGURES[drawn], allow_missing=True),
                caption="../report/figure.rst",
                category="{experiment}",
            ),
            expand("plots/{experiment}/{figure}.pdf", figure=FIGURES[drawn], allow_missing=True),
        log:
            "logs/plot/{experiment}.log",
        benchmark:
            "benchmarks/plot/{experiment}.tsv"
        wildcard_constraints:
            experiment=drawn,
        threads: 1
        resources:
            mem_mb=1500,
            runtime=10,
            gpu=0,
        params:
            preset=params_file,
            values=experiment_values,
            code=fingerprint("palimpsest.rendering.figures", *DRAWING, *MANIFESTS),
        shell:
            "python -m palimpsest plot --params {params.preset:q} {wildcards.experiment} > {log:q} 2>&1"
