"""What every table, figure and notebook was made of, so that a build with `keep: true` can leave it as it is."""


rule record:
    input:
        tables=[*RUN_TABLES, *SUMMARY_TABLES],
        plots=PLOTS,
        notebooks=NOTEBOOK,
        lock=source("requirements.lock"),
    output:
        "tables/made_of.json",
    log:
        "logs/record.log",
    benchmark:
        "benchmarks/record.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
        gpu=0,
    params:
        preset=params_file,
        made_of=plain(kept.made_of(PRESET, SCHEDULE, PROJECT)),
        project=lambda wildcards, input: os.path.dirname(input.lock) or ".",
        code=fingerprint("palimpsest.rendering.kept"),
    shell:
        "python -m palimpsest record --params {params.preset:q} --project {params.project:q} > {log:q} 2>&1"
