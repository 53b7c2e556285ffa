"""Training: a rule for each pack, which is a set of runs of one grid that are trained as one program.

A pack is not a wildcard, because the division into packs depends on which runs are complete. What Snakemake compares
about a run (inputs, `values`, `code`) does not depend on it, so that a run may change packs without becoming stale.
"""

for pack in PACKS:

    rule:
        name:
            f"train_{pack.name}"
        input:
            data=[str(folder / file) for folder in pack.first.data_directories for file in plan.DATA_FILES],
            lock=source("requirements.lock"),
        output:
            [str(run.directory / file) for run in pack.runs for file in run.cell.training_files],
        log:
            f"logs/train/{pack.first.experiment}/{pack.name}.log",
        benchmark:
            f"benchmarks/train/{pack.first.experiment}/{pack.name}.tsv"
        threads: 1
        resources:
            mem_mb=SCHEDULE.memory_mb(pack),
            runtime=240 if GPUS else 60,
            gpu=GPUS,
        params:
            preset=params_file,
            values=values_of(pack),
            code=SCHEDULE.kind(pack.first).code,
            runs=names_of(pack),
        shell:
            "python -m palimpsest train-pack --params {params.preset:q} {params.runs} > {log:q} 2>&1"
