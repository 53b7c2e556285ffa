"""The only door: the commands that people, rules and notebooks call; each calls one function and says what it did."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from palimpsest.foundation.errors import PalimpsestError, ParameterError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Do networks learn what to write, what to keep and what to forget?\n\n"
    "Start with [bold]plan[/bold] (what a preset asks for), [bold]train[/bold] (one run) and [bold]evaluate[/bold]. "
    "The whole paper is made by [bold]snakemake --cores all[/bold], which calls the commands under 'Pipeline'.",
)
PEOPLE, PIPELINE = "For people", "Pipeline (called by the rules, usable by hand)"
console = Console(stderr=True)

ParamsOption = Annotated[Path, typer.Option("--params", help="the preset", metavar="FILE")]
RootOption = Annotated[Path, typer.Option("--root", help="directory of the products", metavar="DIR")]
PublishedOption = Annotated[Path, typer.Option("--published", help="the sources' own numbers", metavar="FILE")]
ClaimsOption = Annotated[Path, typer.Option("--claims", help="the claims, as data", metavar="FILE")]
DEFAULT_PARAMS, HERE = Path("params/default.yaml"), Path()
DEFAULT_CLAIMS, DEFAULT_PUBLISHED = Path("params/claims.yaml"), Path("params/published.yaml")


def main() -> None:
    """Run the command line; an error that the user can mend is one line on stderr and exit status 2."""
    try:
        app()
    except PalimpsestError as error:
        sys.stderr.write(f"palimpsest: {error}\n")
        sys.exit(2)
    except OSError as error:
        sys.stderr.write(f"palimpsest: {error.filename or 'file'}: {error.strerror}\n")
        sys.exit(2)


# --- for people -------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=PEOPLE, context_settings={"ignore_unknown_options": True})
def train(
    model: Annotated[str, typer.Argument(help="a model of the experiment, e.g. nema_lite")],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(
            help="any parameter and its value; of a switch --NAME or --no-NAME", metavar="[--PARAMETER VALUE]..."
        ),
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="whose task and training to use; else the model's own, or the first that has it")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="T is short for --experiment MODEL_T, or the one with that task")
    ] = None,
    track: Annotated[str, typer.Option(help="published or repaired")] = "repaired",
    seed: Annotated[int, typer.Option(help="seed of initialisation, data order and noise", min=0)] = 0,
    params: ParamsOption = DEFAULT_PARAMS,
    root: RootOption = Path("build/train"),
) -> None:
    """Train one run, e.g. [bold]train nema_lite --mem-lambda 0.05 --write-threshold 0.7 --num-epochs 20[/bold].

    Every parameter of the model, of the training and of the task is an option; `describe MODEL` lists them. Nothing
    below results/ is touched. Another example: [bold]train nema_lc --task lra --use-memory --batch-size 4[/bold].
    """
    from palimpsest.cli import single

    where = single.find_experiment(params, model, experiment, task, track)
    chosen = single.preset(params, model, where, track, seed, single.options(parameters or []))
    with _leased(chosen.device, chosen.packing.packs_per_gpu):
        directory = single.train(chosen, root, params, console)
    console.print(f"trained: {directory}")
    _show_metrics(directory)


@app.command(rich_help_panel=PEOPLE)
def evaluate(
    run: Annotated[Path, typer.Argument(help="directory of a run, e.g. results/…/seed=0", metavar="RUN")],
) -> None:
    """Evaluate a run with its memory on, off, shuffled across the batch, and with its writes at random places."""
    from palimpsest.cli import single

    table = Table("control", "accuracy", "loss (nats)", title=str(run))
    for control, metrics in single.evaluate(run).items():
        table.add_row(control, f"{metrics['accuracy']:.4f}", f"{metrics['loss']:.4f}")
    Console().print(table)


@app.command(rich_help_panel=PEOPLE)
def plan(
    params: ParamsOption = DEFAULT_PARAMS,
    timing: Annotated[bool, typer.Option(help="time three steps of each architecture for the estimate")] = True,
    jobs: Annotated[bool, typer.Option("--jobs", help="list every pack")] = False,
) -> None:
    """Say what a preset asks for: jobs, runs, steps, and the time and disk that they should take. Runs nothing."""
    from palimpsest.cli import estimate
    from palimpsest.planning.parameters import read_params

    estimate.show(read_params(params), params, Console(), timing=timing, jobs=jobs)


@app.command(rich_help_panel=PEOPLE)
def sweep(
    experiment: Annotated[str, typer.Argument(help="an experiment of the preset")] = "nema_lite",
    params: ParamsOption = DEFAULT_PARAMS,
    root: RootOption = Path("build/sweep"),
) -> None:
    """Train every pack of one experiment in turn, without Snakemake; what is finished is not trained again."""
    from palimpsest.cli import single
    from palimpsest.planning.parameters import read_params

    preset = read_params(params)
    with _leased(preset.device, preset.packing.packs_per_gpu):
        single.sweep(preset, experiment, root, params, console)


@app.command(rich_help_panel=PEOPLE)
def summarise(params: ParamsOption = DEFAULT_PARAMS, root: RootOption = HERE) -> None:
    """Print the final-epoch means of every cell, from the runs that the grid asks for."""
    from palimpsest.analysis import runs, statistics
    from palimpsest.planning.parameters import read_params

    preset = read_params(params)
    summary = statistics.summarise(runs.collect(preset, root), runs.axes(preset), preset.confidence)
    shown = {
        "write ratio": "test_write_ratio_mean",
        "memory on": "test_accuracy_on_mean",
        "off": "test_accuracy_off_mean",
        "shuffled": "test_accuracy_shuffled_mean",
    }
    table = Table("track", "model", "cell", "n", *shown, title="test split, final epoch: mean over seeds")
    for row in summary.to_dict("records"):
        cell = " ".join(f"{axis}={_short(row[axis])}" for axis in runs.axes(preset) if _short(row[axis]))
        texts = [_short(row[name]) for name in ("n", *shown.values())]
        table.add_row(row["track"], row["model"], cell, *texts)
    Console().print(table)
    for directory in runs.stray(preset, root):
        console.print(f"not counted, for no grid asks for it: {directory}")


@app.command(rich_help_panel=PEOPLE)
def explain(
    name: Annotated[str, typer.Argument(help="a number of the paper, as in paper/numbers.json")],
    root: RootOption = HERE,
) -> None:
    """Say where a number of the paper came from: file, row, column, hashes of what it was made from, commit."""
    from palimpsest.rendering import numbers as rendering

    Console(soft_wrap=True).print(rendering.explain(name, root / "paper/numbers.json", root), markup=False)


@app.command(rich_help_panel=PEOPLE)
def describe(name: Annotated[str, typer.Argument(help="a model or a task")]) -> None:
    """List the parameters of a model or a task: default, range, meaning."""
    from palimpsest import models, tasks
    from palimpsest.planning.params_file import field_rows

    if name not in (*models.names(), *tasks.names()):
        raise ParameterError(f"describe: {name!r}: allowed: {', '.join((*models.names(), *tasks.names()))}")
    module = models.load(name) if name in models.names() else tasks.load(name)
    table = Table("parameter", "default", "allowed", "meaning", title=(module.__doc__ or name).splitlines()[0])
    for row in field_rows(module.Config):
        table.add_row(*row)
    Console().print(table)


@app.command("params", rich_help_panel=PEOPLE)
def params_(
    params: ParamsOption = DEFAULT_PARAMS,
    check: Annotated[bool, typer.Option("--check", help="write nothing; fail if the file would change")] = False,
) -> None:
    """Write the comments of a preset and params/schema.json anew from the models of the sections."""
    from palimpsest.foundation.files import write_text
    from palimpsest.planning import params_file, specs
    from palimpsest.planning.parameters import read_params

    preset = read_params(params)
    specs.check(preset, params)
    for path, text in ((params, params_file.render(preset)), (params.parent / "schema.json", params_file.schema())):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            raise ParameterError(f"{path}: differs from what its models say; allowed: what `palimpsest params` writes")
        write_text(path, text)
        console.print(f"written: {path}")


@app.command(rich_help_panel=PEOPLE)
def readme(
    file: Annotated[Path, typer.Argument(help="the file whose table of claims is written anew")] = Path("README.md"),
    claims: ClaimsOption = DEFAULT_CLAIMS,
    root: RootOption = HERE,
    check: Annotated[bool, typer.Option("--check", help="write nothing; fail if the file would change")] = False,
) -> None:
    """Write the table of claims in the README anew from tables/claims.csv."""
    from palimpsest.foundation.errors import DataError
    from palimpsest.foundation.files import write_text
    from palimpsest.rendering import readme as rendering

    text = rendering.render(file, claims, root)
    if file.read_text(encoding="utf-8") != text:
        if check:
            raise DataError(f"{file}: its table of claims is not that of tables/claims.csv; run `palimpsest readme`")
        write_text(file, text)
        console.print(f"written: {file}")


@app.command(rich_help_panel=PEOPLE, context_settings={"allow_interspersed_args": False})
def lease(
    command: Annotated[list[str] | None, typer.Argument(help="any command, behind --", metavar="COMMAND")] = None,
    packs_per_gpu: Annotated[int, typer.Option(help="how many may share a GPU", min=1)] = 1,
) -> None:
    """Run a command on a GPU of its own, or on a share of one; without a command, say who holds what.

    The command waits for a free place, sees its GPU as CUDA_VISIBLE_DEVICES, and gives it back by ending, however it
    ends. PALIMPSEST_GPUS=0,1 restricts the choice, and so does a CUDA_VISIBLE_DEVICES that is set already.
    """
    from palimpsest.runtime import lease as leases

    names, folder = leases.devices(os.environ), leases.lease_folder()
    if command:
        leases.run(command, names, packs_per_gpu, folder, _say)
    table = Table("device", "packs", "slots that are taken", title=f"leases in {folder}")
    for name, slots in leases.held_slots(names, folder).items():
        table.add_row(name, str(len(slots)), " ".join(map(str, slots)))
    Console().print(table)


# --- pipeline ---------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=PIPELINE)
def data(experiment: str, track: str, params: ParamsOption = DEFAULT_PARAMS, root: RootOption = HERE) -> None:
    """Generate the data set of one track, and its card."""
    from palimpsest.planning.parameters import read_params
    from palimpsest.training import datasets

    card = datasets.generate(read_params(params), experiment, track, root, params)
    console.print(
        f"{experiment}/{track}: {card['examples']}, chance {card['chance']:.4f}, ceiling {card['ceiling']:.4f}"
    )


@app.command("train-pack", rich_help_panel=PIPELINE)
def train_pack(
    model: Annotated[str, typer.Argument(help="results/EXPERIMENT/track=TRACK/model=MODEL", metavar="DIRECTORY")],
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="runs below it, e.g. mem_lambda=0/seed=1; all if none", metavar="[RUN]..."),
    ] = None,
    params: ParamsOption = DEFAULT_PARAMS,
    root: RootOption = HERE,
) -> None:
    """Train runs of one grid as one program; goes on from its checkpoint if it was interrupted."""
    from palimpsest.cli import single
    from palimpsest.planning import plan as planning
    from palimpsest.planning import specs
    from palimpsest.planning.parameters import read_params
    from palimpsest.training import job

    preset = read_params(params)
    found = planning.find_runs(preset, model, runs or [])
    epochs = specs.of_pack(preset, found, params)[0].training.num_epochs
    with _leased(preset.device, preset.packing.packs_per_gpu), single.progress(console, found.label, epochs) as show:
        job.train_pack(preset, found, root, file=params, progress=show, report=console.print)


@app.command(rich_help_panel=PIPELINE)
def aggregate(params: ParamsOption = DEFAULT_PARAMS, root: RootOption = HERE) -> None:
    """Write tables/runs.csv and tables/summary_final_epoch.csv from the runs that the grid asks for."""
    from palimpsest.analysis import runs, statistics
    from palimpsest.foundation.files import write_text
    from palimpsest.planning.parameters import read_params

    preset = read_params(params)
    table = runs.collect(preset, root)
    summary = statistics.summarise(table, runs.axes(preset), preset.confidence)
    write_text(root / "tables/runs.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(root / "tables/summary_final_epoch.csv", summary.to_csv(index=False, lineterminator="\n"))
    for directory in runs.stray(preset, root):
        console.print(f"not counted, for no grid asks for it: {directory}")
    diverged = sum(status != "completed" for status in table["status"])
    console.print(f"{len(table)} runs, {diverged} of them diverged, {len(summary)} cells")


@app.command(rich_help_panel=PIPELINE)
def dynamics(experiment: str, params: ParamsOption = DEFAULT_PARAMS, root: RootOption = HERE) -> None:
    """Write the tables of how the runs of one experiment went and of what their memories did."""
    from palimpsest.analysis import dynamics as analysis
    from palimpsest.analysis import runs, sequences, steps
    from palimpsest.foundation.files import write_text
    from palimpsest.planning.parameters import read_params

    preset = read_params(params)
    for name, table in (
        ("learning_curves", runs.histories(preset, root, experiment)),
        ("training_steps", steps.steps(preset, root, experiment)),
        ("write_positions", analysis.write_positions(preset, root, experiment)),
        ("lifecycle", analysis.lifecycle(preset, root, experiment)),
        ("within_sequence", analysis.within_sequence(preset, root, experiment)),
        ("generalisation", sequences.generalisation(preset, root, experiment)),
        ("said", sequences.said(preset, root, experiment)),
        ("weightings", sequences.weightings(preset, root, experiment)),
    ):
        path = root / f"results/{experiment}/{name}.csv"
        write_text(path, table.to_csv(index=False, lineterminator="\n"))
        console.print(f"{path}: {len(table)} rows")


@app.command(rich_help_panel=PIPELINE)
def claims(
    claims: ClaimsOption = DEFAULT_CLAIMS, params: ParamsOption = DEFAULT_PARAMS, root: RootOption = HERE
) -> None:
    """Decide every claim from tables/runs.csv; print the verdicts and write them with their evidence."""
    from palimpsest.analysis import claims as analysis
    from palimpsest.analysis import runs
    from palimpsest.foundation.files import write_json, write_text
    from palimpsest.planning.parameters import read_params

    preset = read_params(params)
    decided = analysis.decide(runs.read_runs(root / "tables/runs.csv"), analysis.read_claims(claims), preset.confidence)
    write_text(root / "tables/claims.csv", decided.table.to_csv(index=False, lineterminator="\n"))
    write_json(root / "tables/claims_evidence.json", decided.evidence)
    table = Table("claim", "track", "verdict", "reason")
    for row in decided.table.to_dict("records"):
        table.add_row(row["claim"], row["track"], row["verdict"], row["reason"])
    console.print(table)


@app.command(rich_help_panel=PIPELINE)
def tables(
    claims: ClaimsOption = DEFAULT_CLAIMS,
    published: PublishedOption = DEFAULT_PUBLISHED,
    params: ParamsOption = DEFAULT_PARAMS,
    root: RootOption = HERE,
) -> None:
    """Render the LaTeX tables, and the comparison with the sources' own numbers."""
    from palimpsest.planning.parameters import read_params
    from palimpsest.rendering import tables as rendering

    rendering.write_tables(read_params(params), root, claims=claims, published=published)


@app.command(rich_help_panel=PIPELINE)
def plot(
    experiment: Annotated[str, typer.Argument(help="an experiment of the preset")] = "nema_lite",
    params: ParamsOption = DEFAULT_PARAMS,
    root: RootOption = HERE,
) -> None:
    """Draw every figure of one experiment into plots/, as PDF and PNG."""
    from palimpsest.planning.parameters import read_params
    from palimpsest.rendering import figures as rendering

    rendering.write_figures(read_params(params), root, experiment)


@app.command(rich_help_panel=PIPELINE)
def numbers(
    published: PublishedOption = DEFAULT_PUBLISHED, params: ParamsOption = DEFAULT_PARAMS, root: RootOption = HERE
) -> None:
    """Write every number of the paper as a LaTeX macro, each with its origin."""
    from palimpsest.planning.parameters import read_params
    from palimpsest.rendering import numbers as rendering

    rendering.write_numbers(read_params(params), root, published=published)


@app.command(rich_help_panel=PIPELINE)
def notebook(source: Path, target: Path, root: RootOption = HERE) -> None:
    """Execute a notebook and strip from it what differs from one execution to the next."""
    from palimpsest.rendering import notebook as rendering

    rendering.execute(source, target, root)


@app.command(rich_help_panel=PIPELINE)
def paper(
    source: Annotated[Path, typer.Option(help="directory of templates and bibliography")] = Path("paper/source"),
    root: RootOption = HERE,
) -> None:
    """Typeset paper/paper.pdf from the templates, tables, figures and numbers."""
    from palimpsest.rendering import paper as rendering

    rendering.build(source, root)


@app.command(rich_help_panel=PIPELINE)
def bench(
    results: Annotated[Path, typer.Option(help="folder of the measurements", metavar="DIR")] = Path("bench/results"),
    root: RootOption = HERE,
) -> None:
    """Render what `python -m bench` measured: tables/bench.tex and plots/bench/."""
    from palimpsest.rendering import bench as rendering

    rendering.write_bench(results, root)


# --- how packs share GPUs ---------------------------------------------------------------------------------------------


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)


@contextmanager
def _leased(device: str, packs_per_gpu: int) -> Iterator[None]:
    """Hold a GPU while training on one; call it before anything of CUDA is touched."""
    from palimpsest.runtime import lease as leases

    if device == "cpu":
        yield
        return
    with leases.lease(leases.devices(os.environ), packs_per_gpu, leases.lease_folder(), _say):
        yield


# --- how results are shown --------------------------------------------------------------------------------------------


def _show_metrics(directory: Path) -> None:
    from palimpsest.foundation.files import read_json

    final = read_json(directory / "final.json")
    table = Table(
        "metric", "value", title=f"{final['status']}, chance {final['chance']:.3f}, ceiling {final['ceiling']:.3f}"
    )
    for name, value in sorted(final["metrics"].items()):
        table.add_row(name, _short(value))
    Console().print(table)


def _short(value: Any) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
