"""Training: a rule a pack, which is runs of one grid that are trained as one program.

A pack is no wildcard: which runs are together depends on what is there already. What Snakemake compares about a run
(inputs, `values`, `code`) does not, so that runs may change company without becoming stale.
"""

for pack in PACKS:

    rule:
        name:
            f"train_{pack.name}"
        input:
            data=expand(
                "data/{experiment}/track={track}/{file}",
                experiment=pack.first.experiment,
                track=pack.first.track,
                file=plan.DATA_FILES,
            ),
            lock=source("requirements.lock"),
        output:
            [str(run.directory / file) for run in pack.runs for file in plan.TRAINING_FILES],
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
