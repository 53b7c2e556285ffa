"""Runs outside the pipeline: train one run from command-line options, sweep an experiment, evaluate a trained run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from palimpsest import models, tasks
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import read_json
from palimpsest.foundation.sections import checked, per_run_fields
from palimpsest.measuring import job as measuring
from palimpsest.planning import footprint, plan, specs
from palimpsest.planning.parameters import Experiment, Grid, Params, Task, Track, Training
from palimpsest.planning.presets import read_whole
from palimpsest.planning.specs import RunSpec
from palimpsest.runtime import machine
from palimpsest.training import datasets, job, loop

Options = dict[str, Any]


def parse_options(words: Sequence[str]) -> Options:
    """Read ``--mem-lambda 0.05 --width=64 --use-memory`` as {"mem_lambda": 0.05, "width": 64, "use_memory": True}.

    An option without a value is a switch: true, or false if its name begins with ``no-``.

    Raises:
        ParameterError: a word is not an option.
    """
    found: Options = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--"):
            raise ParameterError(f"command line: {word!r}: not an option; allowed: --name value")
        name, equals, text = word[2:].partition("=")
        if not equals and (not waiting or waiting[0].startswith("--")):
            found[name.removeprefix("no-").replace("-", "_")] = not name.startswith("no-")
            continue
        value = text if equals else waiting.pop(0)
        found[name.replace("-", "_")] = yaml.safe_load(value)
    return found


def find_experiment(file: Path, model: str, experiment: str | None, task: str | None, track: str) -> str:
    """Find the experiment whose task and training a single run uses.

    Args:
        file: the preset.
        model: the model that is trained.
        experiment: name of the experiment, if given.
        task: T stands for the experiment MODEL_T, or for the first one whose task on the track is named T.
        track: published or repaired.

    Returns:
        The experiment that is named; else the one that fits ``task``; else the one named after the model; else the
        first one that trains the model; else the first of the preset.

    Raises:
        ParameterError: both experiment and task are given, or no experiment has the task.
    """
    known = read_whole(file).experiments
    if experiment is not None and task is not None:
        raise ParameterError(f"command line: --experiment {experiment!r} and --task {task!r}; allowed: one of them")
    if experiment is not None:
        return experiment
    if task is not None:
        with_task = [name for name, one in known.items() if track in one.tracks and one.tracks[track].task.name == task]
        fitting = [name for name in known if name == f"{model}_{task}"] or with_task
        if not fitting:
            short = {name.removeprefix(f"{model}_") for name in known if name.startswith(f"{model}_")}
            names = sorted(short | {one.tracks[track].task.name for one in known.values() if track in one.tracks})
            raise ParameterError(f"{file}: --task {task!r}: no such task; allowed: {', '.join(names)}")
        return fitting[0]
    with_model = [
        name
        for name, one in known.items()
        if any(g.model == model for t in one.tracks.values() for g in t.grids.values())
    ]
    return model if model in known else next(iter([*with_model, *known]))


def preset(file: Path, model: str, experiment: str, track: str, seed: int, chosen: Options) -> Params:
    """Build a preset of one run: task and training of an experiment, with some parameters replaced.

    Raises:
        ParameterError: no such experiment, track, model or parameter.
    """
    params = read_whole(file)
    for name, given, allowed in (
        ("experiment", experiment, sorted(params.experiments)),
        ("track", track, sorted(params.experiments[experiment].tracks) if experiment in params.experiments else []),
    ):
        if given not in allowed:
            raise ParameterError(f"{file}: {name}: {given!r}: not in this preset; allowed: {', '.join(allowed)}")
    base = params.experiments[experiment].tracks[track]  # type: ignore[index]
    fields = models.load(model, "command line: model").Config.model_fields
    task_fields = tasks.load(base.task.name).Config.model_fields
    every = {**task_fields, **Training.model_fields, **fields}
    config, axes, training, task = {}, {}, {}, {}
    for name, value in chosen.items():
        option = f"--{name.replace('_', '-')}"
        if name in every and isinstance(value, bool) and every[name].annotation is not bool:
            raise ParameterError(f"command line: {option}: has no value; allowed: {option} VALUE")
        if name in fields:
            (axes if name in per_run_fields(models.load(model).Config) else config)[name] = value
        elif name in Training.model_fields:
            training[name] = value
        elif name in task_fields:
            task[name] = value
        else:
            raise ParameterError(f"command line: {option}: unknown parameter; allowed: {', '.join(sorted(every))}")
    known = next((grid.config for grid in base.grids.values() if grid.model == model), {})
    grid = Grid(model=model, config={**known, **config}, axes={axis: [value] for axis, value in axes.items()})
    others = {name: entry for name, entry in base.grids.items() if entry.model != model}
    track_of_one = Track(
        task=Task(name=base.task.name, seed=base.task.seed, config={**base.task.config, **task}),
        training=checked(Training, {**base.training.model_dump(), **training}, "command line", "training"),
        data=base.data,
        method=base.method,
        phases=base.phases,
        shared=base.shared,
        grids={**others, "single": grid},
    )
    entry = params.experiments[experiment]
    whole = Experiment(source=entry.source, title=entry.title, tracks={track: track_of_one})  # type: ignore[dict-item]
    return params.model_copy(update={"seeds": (seed,), "experiments": {experiment: whole}})


def train(params: Params, root: Path, file: Path, console: Console) -> Path:
    """Generate the data set of a single run's preset, train and measure the run, and return its directory."""
    cell = next(cell for cell in plan.cells(params) if cell.grid == "single")
    spec = specs.resolve(params, cell, "command line")[0]
    for name in (None, *params.experiments[cell.experiment].tracks[cell.track].data):  # type: ignore[index]
        datasets.generate(params, cell.experiment, cell.track, root, file, name)
    pack = plan.Pack(cell.label, tuple(plan.runs_of(cell)))
    with progress(console, pack.label, spec.num_epochs) as show:
        job.train_pack(params, pack, root, file="command line", progress=show, report=console.print)
    measuring.measure_pack(params, pack, root, file="command line", report=console.print)
    return root / cell.directory(spec.seed)


def sweep(params: Params, experiment: str, root: Path, file: Path, console: Console) -> None:
    """Train and measure every pack of an experiment in turn; skip packs whose runs are complete.

    Raises:
        ParameterError: no such experiment, or a parameter is wrong.
    """
    if experiment not in params.experiments:
        raise ParameterError(f"{file}: experiments: no {experiment!r}; allowed: {', '.join(params.experiments)}")
    resolved = specs.check(params, file)
    for owner, track, name in plan.data_sets(params):
        if owner == experiment:
            datasets.generate(params, experiment, track, root, file, name)

    def largest(cell: plan.Cell) -> int:
        return footprint.runs_per_pack(footprint.bytes_per_run(resolved[cell.base][0]), params.packing)

    def is_complete(run: plan.Run) -> bool:
        spec = next(spec for spec in resolved[run.cell.base] if spec.seed == run.seed)
        return is_finished(root / run.directory, spec)

    asked = [pack for pack in plan.packs(params, largest, is_complete) if pack.first.experiment == experiment]
    for number, pack in enumerate(asked, 1):
        if is_complete(pack.runs[0]):
            console.print(f"[{number}/{len(asked)}] {pack.label}: finished before")
            continue
        epochs = resolved[pack.first.base][0].num_epochs
        with progress(console, f"({number}/{len(asked)}) {pack.label}", epochs) as show:
            job.train_pack(params, pack, root, file=file, progress=show, report=console.print)
        measuring.measure_pack(params, pack, root, file=file, report=console.print)


def is_finished(directory: Path, spec: RunSpec) -> bool:
    """Whether all files of a run exist and ``final.json`` has its specification."""
    names = plan.RUN_FILES if len(spec.stages) == 1 else (*plan.RUN_FILES, plan.MATRIX_FILE)
    if not all((directory / name).is_file() for name in names):
        return False
    return read_json(directory / "final.json").get("spec") == spec.model_dump(mode="json")


def evaluate(directory: Path) -> dict[str, dict[str, float]]:
    """Compute the metrics of a trained run on its test split under every control.

    Returns:
        Control → metric → value.

    Raises:
        DataError: the directory holds no run, or its files are corrupt.
    """
    final = read_json(directory / "final.json")
    try:
        spec = RunSpec.model_validate(final["spec"])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{directory / 'final.json'}: spec: missing or malformed; allowed: what a run writes") from None
    machine.prepare(spec.device)
    pack = measuring.load_pack([spec], [directory])
    config = {key: value for key, value in spec.task.items() if key not in ("name", "seed")}
    splits = tasks.load(spec.task["name"]).Config.model_validate(config).build(spec.task["seed"])
    splits = tasks.on_device(splits, spec.device)
    return {
        control: {name: float(value) for name, value in measured.items()}
        for control, measured in loop.evaluate_pack(pack, splits.test, models.CONTROLS).items()
    }


@contextmanager
def progress(console: Console, label: str, epochs: int) -> Iterator[Callable[[int, dict[str, Tensor]], None]]:
    """Show loss, accuracy and write ratio as means over a pack: a bar on a terminal, one line an epoch in a log."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=epochs)

        def show(epoch: int, metrics: dict[str, Tensor]) -> None:
            shown = {
                "loss": "train_loss",
                "accuracy": "validation_accuracy_on",
                "write ratio": "validation_write_ratio",
            }
            values = ", ".join(f"{k} {metrics[v].mean().item():.3f}" for k, v in shown.items() if v in metrics)
            if console.is_terminal:
                bar.update(task, completed=epoch, description=f"{label}: {values}")
            else:
                console.print(f"{label}: epoch {epoch}/{epochs}: {values}", soft_wrap=True)

        yield show
