"""Commands of the pipeline, one or more a rule: they read products of earlier rules and write their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from palimpsest.cli.options import (
    DEFAULT_CLAIMS,
    DEFAULT_PARAMS,
    DEFAULT_PUBLISHED,
    HERE,
    ClaimsOption,
    ParamsOption,
    PublishedOption,
    RootOption,
    console,
    report,
)

PANEL = "Pipeline (called by the rules, usable by hand)"
app = typer.Typer(rich_markup_mode="rich")


@app.command(rich_help_panel=PANEL)
def data(
    experiment: str,
    track: str,
    name: Annotated[str | None, typer.Argument(help="a name in the track's `data`; else the task's data set")] = None,
    params: ParamsOption = DEFAULT_PARAMS,
    root: RootOption = HERE,
) -> None:
    """Generate one data set of a track, and its card."""
    from palimpsest.planning.presets import read_params
    from palimpsest.training import datasets

    card = datasets.generate(read_params(params), experiment, track, root, params, name)
    console.print(
        f"{experiment}/{track}: {card['examples']}, chance {card['chance']:.4f}, "
        f"informed floor {card['floor']:.4f}, ceiling {card['ceiling']:.4f}"
    )


@app.command("train-pack", rich_help_panel=PANEL)
def train_pack(
    model: Annotated[str, typer.Argument(help="results/EXPERIMENT/track=TRACK/model=MODEL", metavar="DIRECTORY")],
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="runs below it, e.g. mem_lambda=0/seed=1; all if none", metavar="[RUN]..."),
    ] = None,
    params: ParamsOption = DEFAULT_PARAMS,
    root: RootOption = HERE,
) -> None:
    """Train runs of one grid as one program; an interrupted pack continues from its checkpoint."""
    from palimpsest.cli import single
    from palimpsest.planning import plan as planning
    from palimpsest.planning import specs
    from palimpsest.planning.presets import read_params
    from palimpsest.runtime import lease as leases
    from palimpsest.training import job

    preset = read_params(params)
    found = planning.find_runs(preset, model, runs or [])
    epochs = specs.of_pack(preset, found, params)[0].num_epochs
    lease = leases.for_training(preset.device, preset.packing.packs_per_gpu, report)
    with lease, single.progress(console, found.label, epochs) as show:
        job.train_pack(preset, found, root, file=params, progress=show, report=console.print)


@app.command("measure-cell", rich_help_panel=PANEL)
def measure_cell(
    cell: Annotated[str, typer.Argument(help="results/EXPERIMENT/track=TRACK/model=MODEL/…", metavar="DIRECTORY")],
    params: ParamsOption = DEFAULT_PARAMS,
    root: RootOption = HERE,
) -> None:
    """Measure the trained runs of one cell from their weights: test metrics under every control, and the trace."""
    from palimpsest.measuring import job
    from palimpsest.planning import plan as planning
    from palimpsest.planning.presets import read_params
    from palimpsest.runtime import lease as leases

    preset = read_params(params)
    found = planning.find_cell(preset, cell)
    pack = planning.Pack(found.label, tuple(planning.runs_of(found)))
    with leases.for_training(preset.device, preset.packing.packs_per_gpu, report):
        job.measure_pack(preset, pack, root, file=params, report=console.print)
    console.print(f"{found.label}: {len(pack.runs)} runs measured", soft_wrap=True)


@app.command(rich_help_panel=PANEL)
def aggregate(experiment: str, params: ParamsOption = DEFAULT_PARAMS, root: RootOption = HERE) -> None:
    """Write the table of runs and the table of means of one experiment, from the runs that its grids ask for."""
    from palimpsest.analysis import tables
    from palimpsest.planning.presets import read_params

    runs, summary = tables.write_experiment(read_params(params), root, experiment)
    diverged = sum(status != "completed" for status in runs["status"])
    console.print(f"{len(runs)} runs, {diverged} of them diverged, {len(summary)} cells")


@app.command(rich_help_panel=PANEL)
def index(params: ParamsOption = DEFAULT_PARAMS, root: RootOption = HERE) -> None:
    """Write the index of the tables of runs, tables/runs.csv, and all metrics as one table, tables/metrics.parquet."""
    from palimpsest.analysis import runs, tables
    from palimpsest.planning.presets import read_params

    preset = read_params(params)
    written = tables.write_index(preset, root)
    for directory in runs.stray(preset, root):
        console.print(f"not counted, because no grid asks for it: {directory}")
    console.print(f"{written['runs'].sum()} runs of {len(written)} experiments")


@app.command(rich_help_panel=PANEL)
def dynamics(experiment: str, params: ParamsOption = DEFAULT_PARAMS, root: RootOption = HERE) -> None:
    """Write the tables of one experiment: learning curves, training steps, and what the memories did."""
    from palimpsest.analysis import experiment_tables
    from palimpsest.planning.presets import read_params

    for path, rows in experiment_tables.write(read_params(params), root, experiment).items():
        console.print(f"{path}: {rows} rows")


@app.command(rich_help_panel=PANEL)
def claims(
    claims: ClaimsOption = DEFAULT_CLAIMS, params: ParamsOption = DEFAULT_PARAMS, root: RootOption = HERE
) -> None:
    """Decide every claim from the tables of runs; print the verdicts and write them with their evidence."""
    from palimpsest.analysis import claims as analysis
    from palimpsest.analysis.runs import resolved
    from palimpsest.analysis.tables import read_runs
    from palimpsest.foundation.files import write_json, write_text
    from palimpsest.planning.presets import read_params

    preset = read_params(params)
    asked = analysis.about(analysis.read_claims(claims), preset.experiments)
    decided = analysis.decide(read_runs(root), asked, preset.confidence, claims, resolved(preset), preset.looks)
    write_text(root / "tables/claims.csv", decided.table.to_csv(index=False, lineterminator="\n"))
    write_json(root / "tables/claims_evidence.json", decided.evidence)
    table = Table("claim", "track", "verdict", "reason")
    for row in decided.table.to_dict("records"):
        table.add_row(row["claim"], row["track"], row["verdict"], row["reason"])
    console.print(table)
    for ruling in decided.first if len(preset.looks) > 1 else []:
        if ruling.promising:
            console.print(f"undecided after the first look, the next may decide it: {ruling.claim} {ruling.track}")


@app.command(rich_help_panel=PANEL)
def tables(
    claims: ClaimsOption = DEFAULT_CLAIMS,
    published: PublishedOption = DEFAULT_PUBLISHED,
    params: ParamsOption = DEFAULT_PARAMS,
    root: RootOption = HERE,
) -> None:
    """Render the LaTeX tables, and the comparison with the sources' own numbers."""
    from palimpsest.planning.presets import read_params
    from palimpsest.rendering import tables as rendering

    rendering.write_tables(read_params(params), root, claims=claims, published=published)


@app.command(rich_help_panel=PANEL)
def plot(
    experiment: Annotated[str, typer.Argument(help="an experiment of the preset")],
    params: ParamsOption = DEFAULT_PARAMS,
    root: RootOption = HERE,
) -> None:
    """Draw every figure of one experiment into plots/, as PDF and PNG."""
    from palimpsest.planning.presets import read_params
    from palimpsest.rendering import figures as rendering

    rendering.write_figures(read_params(params), root, experiment)


@app.command(rich_help_panel=PANEL)
def numbers(
    published: PublishedOption = DEFAULT_PUBLISHED, params: ParamsOption = DEFAULT_PARAMS, root: RootOption = HERE
) -> None:
    """Write every number that the paper may print, each with its origin: paper/numbers.json."""
    from palimpsest.planning.presets import read_params
    from palimpsest.rendering import numbers as rendering

    rendering.write_numbers(read_params(params), root, published=published)


@app.command(rich_help_panel=PANEL)
def notebook(source: Path, target: Path, root: RootOption = HERE) -> None:
    """Execute a notebook and remove what differs between two executions."""
    from palimpsest.rendering import notebook as rendering

    rendering.execute(source, target, root)


@app.command(rich_help_panel=PANEL)
def paper(
    source: Annotated[Path, typer.Option(help="directory of templates and bibliography")] = Path("paper/source"),
    root: RootOption = HERE,
) -> None:
    """Typeset paper/paper.pdf and paper/supplement.pdf from the templates, tables, figures and numbers."""
    from palimpsest.rendering import paper as rendering

    rendering.build(source, root)


@app.command(rich_help_panel=PANEL)
def bench(
    results: Annotated[Path, typer.Option(help="folder of the measurements", metavar="DIR")] = Path("bench/results"),
    root: RootOption = HERE,
) -> None:
    """Render what `python -m bench` measured: tables/bench.tex and plots/bench/."""
    from palimpsest.rendering import bench as rendering

    rendering.write_bench(results, root)


@app.command(rich_help_panel=PANEL)
def render_study(
    studies: Annotated[Path, typer.Option(help="folder of the studies", metavar="DIR")] = Path("studies"),
    root: RootOption = HERE,
) -> None:
    """Render what `make lm` found: tables/study.tex and plots/study/."""
    from palimpsest.rendering import study as rendering

    rendering.write_studies(studies, root)


@app.command(rich_help_panel=PANEL)
def record(
    params: ParamsOption = DEFAULT_PARAMS,
    project: Annotated[Path, typer.Option(help="folder of the lock file and of the notebooks' sources")] = HERE,
    root: RootOption = HERE,
) -> None:
    """Write what every table, figure and notebook was made of: tables/made_of.json."""
    from palimpsest.planning import schedule
    from palimpsest.planning.presets import read_params
    from palimpsest.rendering import kept

    preset = read_params(params)
    kept.record(preset, schedule.read(preset, params, root / ".snakemake/palimpsest"), project, root)
