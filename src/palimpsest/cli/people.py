"""Commands for people: train and evaluate one run, look at a preset, explain a number, keep generated text up to date.

Each command imports what it needs when it is called, so that ``--help`` does not load torch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from palimpsest.cli.options import (
    DEFAULT_CLAIMS,
    DEFAULT_PARAMS,
    HERE,
    ClaimsOption,
    ParamsOption,
    RootOption,
    console,
    report,
)
from palimpsest.foundation.errors import ParameterError

PANEL = "For people"
app = typer.Typer(rich_markup_mode="rich")


@app.command(rich_help_panel=PANEL, context_settings={"ignore_unknown_options": True})
def train(
    model: Annotated[str, typer.Argument(help="a model of the experiment, e.g. nema_lite")],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(
            help="any parameter and its value; a switch is --NAME or --no-NAME", metavar="[--PARAMETER VALUE]..."
        ),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            help="whose task and training to use; default: the one named after the model, or the first that has it"
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="--task T means --experiment MODEL_T, or the experiment with that task")
    ] = None,
    track: Annotated[str, typer.Option(help="published or repaired")] = "repaired",
    seed: Annotated[int, typer.Option(help="seed of initialisation, data order and noise", min=0)] = 0,
    params: ParamsOption = DEFAULT_PARAMS,
    root: RootOption = Path("build/train"),
) -> None:
    """Train one run, e.g. [bold]train nema_lite --mem-lambda 0.05 --write-threshold 0.7 --num-epochs 20[/bold].

    Every parameter of the model, of the training and of the task is an option; `describe MODEL` lists them. The files
    go below --root. Another example: [bold]train nema_lc --task lra --use-memory --batch-size 4[/bold].
    """
    from palimpsest.cli import single
    from palimpsest.runtime import lease as leases

    where = single.find_experiment(params, model, experiment, task, track)
    chosen = single.preset(params, model, where, track, seed, single.parse_options(parameters or []))
    with leases.for_training(chosen.device, chosen.packing.packs_per_gpu, report):
        directory = single.train(chosen, root, params, console)
    console.print(f"trained: {directory}")
    _show_metrics(directory)


@app.command(rich_help_panel=PANEL)
def evaluate(
    run: Annotated[Path, typer.Argument(help="directory of a run, e.g. results/…/seed=0", metavar="RUN")],
) -> None:
    """Evaluate a run with its memory on, off, shuffled across the batch, and with its writes at random places."""
    from palimpsest.cli import single

    table = Table("control", "accuracy", "loss (nats)", title=str(run))
    for control, metrics in single.evaluate(run).items():
        table.add_row(control, f"{metrics['accuracy']:.4f}", f"{metrics['loss']:.4f}")
    Console().print(table)


@app.command(rich_help_panel=PANEL)
def plan(
    params: ParamsOption = DEFAULT_PARAMS,
    timing: Annotated[bool, typer.Option(help="time three steps of each architecture for the estimate")] = True,
    jobs: Annotated[bool, typer.Option("--jobs", help="list every pack")] = False,
) -> None:
    """Print what a preset asks for: jobs, runs, steps, and the estimated time and disk space. Runs nothing."""
    from palimpsest.cli import estimate
    from palimpsest.planning.presets import read_params

    estimate.show(read_params(params), params, Console(), timing=timing, jobs=jobs)


@app.command(rich_help_panel=PANEL)
def sweep(
    experiment: Annotated[str, typer.Argument(help="an experiment of the preset")],
    params: ParamsOption = DEFAULT_PARAMS,
    root: RootOption = Path("build/sweep"),
) -> None:
    """Train every pack of one experiment in turn, without Snakemake; finished packs are skipped."""
    from palimpsest.cli import single
    from palimpsest.planning.presets import read_params
    from palimpsest.runtime import lease as leases

    preset = read_params(params)
    with leases.for_training(preset.device, preset.packing.packs_per_gpu, report):
        single.sweep(preset, experiment, root, params, console)


@app.command(rich_help_panel=PANEL)
def summarise(params: ParamsOption = DEFAULT_PARAMS, root: RootOption = HERE) -> None:
    """Print the final-epoch means of every cell, over the runs that the grid asks for."""
    from palimpsest.analysis import runs, summary
    from palimpsest.planning.presets import read_params

    preset = read_params(params)
    cells = summary.summarise(runs.collect(preset, root), runs.axes(preset), preset.confidence)
    shown = {
        "write ratio": "test_write_ratio_mean",
        "memory on": "test_accuracy_on_mean",
        "off": "test_accuracy_off_mean",
        "shuffled": "test_accuracy_shuffled_mean",
    }
    table = Table("track", "model", "cell", "n", *shown, title="test split, final epoch: mean over seeds")
    for row in cells.to_dict("records"):
        cell = " ".join(f"{axis}={_short(row[axis])}" for axis in runs.axes(preset) if _short(row[axis]))
        texts = [_short(row[name]) for name in ("n", *shown.values())]
        table.add_row(row["track"], row["model"], cell, *texts)
    Console().print(table)
    for directory in runs.stray(preset, root):
        console.print(f"not counted, because no grid asks for it: {directory}")


@app.command(rich_help_panel=PANEL)
def explain(
    name: Annotated[str, typer.Argument(help="a number of the paper, as in paper/numbers.json")],
    root: RootOption = HERE,
) -> None:
    """Print where a number of the paper came from: file, row, column, commit, and hashes of the inputs."""
    from palimpsest.rendering import numbers as rendering

    Console(soft_wrap=True).print(rendering.explain(name, root / "paper/numbers.json", root), markup=False)


@app.command(rich_help_panel=PANEL)
def describe(
    name: Annotated[str, typer.Argument(help="a model or a task")],
    authors: Annotated[
        Path, typer.Option(help="preset whose published track has the authors' settings", metavar="FILE")
    ] = Path("params/paper.yaml"),
) -> None:
    """List the parameters of a model or a task: default, range, meaning; of a model also its source's settings."""
    from palimpsest import models, tasks
    from palimpsest.planning.params_file import field_rows

    if name not in (*models.names(), *tasks.names()):
        raise ParameterError(f"describe: {name!r}: allowed: {', '.join((*models.names(), *tasks.names()))}")
    module = models.load(name) if name in models.names() else tasks.load(name)
    table = Table("parameter", "default", "allowed", "meaning", title=(module.__doc__ or name).splitlines()[0])
    for row in field_rows(module.Config):
        table.add_row(*row)
    if name in tasks.names():
        table.caption = _levels(name)
    Console().print(table)
    if name in models.names():
        _show_settings(name, authors)


def _show_settings(model: str, file: Path) -> None:
    """Print what the published track of a preset gives to a model, one column an experiment, if there is any."""
    from palimpsest.planning import settings
    from palimpsest.planning.presets import read_whole

    if not file.is_file():
        report(f"{file}: no such file, so that the authors' settings are not shown")
        return
    found = settings.of_model(read_whole(file), model, "published")
    if not found:
        return
    table = Table("of the", "parameter", *found, title=f"{file}, track published")
    table.caption = "settings of the source's authors, and ours where they give none"
    for part in ("model", "training", "task"):
        for parameter in dict.fromkeys(key for one in found.values() for key in one[part]):
            values = (one[part].get(parameter, ()) for one in found.values())
            table.add_row(part, parameter, *(", ".join(map(_setting, each)) for each in values))
        table.add_section()
    Console().print(table)


def _setting(value: Any) -> str:
    """A value as a params file has it."""
    from palimpsest.foundation.sections import format_value

    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_setting, value))}]"
    return "null" if value is None else format_value(value)


def _levels(task: str) -> str:
    """Chance, informed floor and ceiling of a task with its default parameters."""
    from palimpsest import tasks
    from palimpsest.tasks.shared.floors import informed_floor

    module = tasks.load(task)
    config = module.Config()
    test = config.build(0).test if config.generated else config.sample(1)
    floor = informed_floor(module, config, test, 0)["floor"]
    chance, ceiling = module.chance(config), module.ceiling(config)
    return f"with these defaults: chance {chance:.3f}, informed floor {floor:.3f}, ceiling {ceiling:.3f}"


@app.command("params", rich_help_panel=PANEL)
def params_(
    params: ParamsOption = DEFAULT_PARAMS,
    check: Annotated[bool, typer.Option("--check", help="write nothing; fail if the file would change")] = False,
) -> None:
    """Write the comments of a preset and params/schema*.json again, from the classes of its sections."""
    from palimpsest.foundation.files import write_text
    from palimpsest.planning import params_file, specs
    from palimpsest.planning.presets import read_whole

    preset = read_whole(params)
    specs.check(preset, params)
    files = params_file.files(preset, params)
    files |= {params.parent / name: text for name, text in params_file.schemas().items()}
    for path, text in files.items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            raise ParameterError(f"{path}: out of date; allowed: what `palimpsest params` writes")
        write_text(path, text)
        console.print(f"written: {path}")


@app.command(rich_help_panel=PANEL)
def readme(
    file: Annotated[Path, typer.Argument(help="file to update")] = Path("README.md"),
    claims: ClaimsOption = DEFAULT_CLAIMS,
    root: RootOption = HERE,
    check: Annotated[bool, typer.Option("--check", help="write nothing; fail if the file would change")] = False,
) -> None:
    """Update the table of claims and the sentences about runs in the README from tables/."""
    from palimpsest.foundation.errors import DataError
    from palimpsest.foundation.files import write_text
    from palimpsest.rendering import readme as rendering

    text = rendering.render(file, claims, root)
    if file.read_text(encoding="utf-8") != text:
        if check:
            raise DataError(f"{file}: differs from what tables/ say; run `palimpsest readme`")
        write_text(file, text)
        console.print(f"written: {file}")


@app.command(rich_help_panel=PANEL, context_settings={"allow_interspersed_args": False})
def lease(
    command: Annotated[list[str] | None, typer.Argument(help="any command, after --", metavar="COMMAND")] = None,
    packs_per_gpu: Annotated[int, typer.Option(help="how many leases may share a GPU", min=1)] = 1,
) -> None:
    """Run a command on a GPU of its own, or on a share of one; without a command, list the leases of every device.

    The command waits for a free slot and sees its GPU as CUDA_VISIBLE_DEVICES. The lease ends when the command ends,
    in whatever way. PALIMPSEST_GPUS=0,1 restricts the choice, and so does a CUDA_VISIBLE_DEVICES that is already set.
    """
    from palimpsest.runtime import lease as leases

    names, folder = leases.devices(os.environ), leases.lease_folder()
    if command:
        leases.run(command, names, packs_per_gpu, folder, report)
    table = Table("device", "packs", "slots in use", title=f"leases in {folder}")
    for name, slots in leases.held_slots(names, folder).items():
        table.add_row(name, str(len(slots)), " ".join(map(str, slots)))
    Console().print(table)


def _show_metrics(directory: Path) -> None:
    from palimpsest.foundation.files import read_json

    final = read_json(directory / "final.json")
    levels = (("chance", "chance"), ("informed floor", "floor"), ("ceiling", "ceiling"))
    title = ", ".join([final["status"], *(f"{name} {final[key]:.3f}" for name, key in levels)])
    table = Table("metric", "value", title=title)
    for name, value in sorted(final["metrics"].items()):
        table.add_row(name, _short(value))
    Console().print(table)


def _short(value: Any) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
