"""Training: one job a pack, which is all seeds of one cell trained as one program."""


rule train:
    input:
        data=expand("data/{experiment}/track={track}/{file}", file=plan.DATA_FILES, allow_missing=True),
        lock=source("requirements.lock"),
    output:
        expand(
            "results/{experiment}/track={track}/model={model}{cell}/seed={seed}/{file}",
            seed=PRESET.seeds,
            file=plan.RUN_FILES,
            allow_missing=True,
        ),
    log:
        "logs/train/{experiment}/track={track}/model={model}{cell}.log",
    benchmark:
        "benchmarks/train/{experiment}/track={track}/model={model}{cell}.tsv"
    threads: 1
    resources:
        mem_mb=3000 if GPUS else 1500,
        runtime=240 if GPUS else 60,
        gpu=GPUS,
    params:
        preset=params_file,
        pack=pack_values,
        code=pack_code,
    shell:
        "python -m palimpsest train-pack --params {params.preset:q}"
        " results/{wildcards.experiment}/track={wildcards.track}/model={wildcards.model}{wildcards.cell:q}"
        " > {log:q} 2>&1"
