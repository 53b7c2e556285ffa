"""Commands of the two checks that are run by hand and committed: the search of learning rates, and fresh seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from palimpsest.cli.options import DEFAULT_PARAMS, HERE, RootOption, report

CHECKS, PIPELINE = "Checks of the paper (make search, make fresh)", "Pipeline (called by the rules, usable by hand)"
TablesOption = Annotated[Path, typer.Option("--tables", help="folder of the committed tables", metavar="DIR")]
app = typer.Typer(rich_markup_mode="rich")


@app.command(rich_help_panel=CHECKS)
def search(
    experiment: Annotated[
        str | None, typer.Argument(help="only this one; the rows of others stay; without it, all of the preset")
    ] = None,
    params: Annotated[Path, typer.Option("--params", help="preset of the search", metavar="FILE")] = Path(
        "params/search.yaml"
    ),
    used: Annotated[Path, typer.Option("--used", help="preset whose rates are compared", metavar="FILE")] = (
        DEFAULT_PARAMS
    ),
    root: RootOption = HERE,
) -> None:
    """Choose every learning rate on validation from a finished search, and write tables/search.csv.

    Says which grid of the default preset has another rate than the chosen one.
    """
    from palimpsest.analysis import search as analysis
    from palimpsest.foundation.files import write_text
    from palimpsest.planning.departures import AXIS
    from palimpsest.planning.presets import read_params

    preset = read_params(params)
    found = analysis.collect(preset, root / preset.workdir, experiment)
    if experiment is not None and (root / analysis.SEARCH).exists():
        found = analysis.replaced(analysis.read_search(root / analysis.SEARCH), experiment, found)
    write_text(root / analysis.SEARCH, found.to_csv(index=False, lineterminator="\n"))
    table = Table("experiment", "model", "cell", "learning rate", "validation", "loss", "chosen")
    for row in found.to_dict("records"):
        numbers = [f"{row[name]:.4f}" for name in ("validation", "validation_loss")]
        rate = f"{row[AXIS]:g}"
        table.add_row(row["experiment"], row["model"], row["cell"], rate, *numbers, row["chosen"])
    Console().print(table)
    different = analysis.differences(read_params(used).without(preset.omit), found)
    for one in different:
        chosen = "nothing: it was not searched" if one.chosen is None else f"{one.chosen:g}"
        report(f"{used}: {one.grid} {one.cell}: learning_rate {one.rate:g}; chosen: {chosen}")
    report(f"{root / analysis.SEARCH}: {len(found)} rows; {len(different)} cells of {used} have another rate")


@app.command(rich_help_panel=CHECKS)
def flips(
    params: Annotated[Path, typer.Option("--params", help="preset of the fresh seeds", metavar="FILE")] = Path(
        "params/fresh.yaml"
    ),
    root: RootOption = HERE,
) -> None:
    """Compare tables/claims.csv with the verdicts of fresh seeds, and write tables/flips.csv."""
    from palimpsest.analysis import flips as analysis
    from palimpsest.analysis.claims import read_verdicts
    from palimpsest.foundation.files import write_text
    from palimpsest.planning.presets import read_params

    file = Path("tables/claims.csv")
    fresh = root / read_params(params).workdir / file
    found = analysis.compare(read_verdicts(root / file), read_verdicts(fresh), fresh)
    write_text(root / analysis.FLIPS, found.to_csv(index=False, lineterminator="\n"))
    table = Table("claim", "track", "verdict", "with fresh seeds", "flips")
    for row in found.to_dict("records"):
        word = "opposite" if row["opposite"] == "yes" else row["flips"]
        table.add_row(row["claim"], row["track"], row["verdict"], row["fresh_verdict"], word)
    Console().print(table)
    counts = analysis.count(found)
    report(
        f"{root / analysis.FLIPS}: {counts.flips} of {counts.verdicts} verdicts flip ({100 * counts.share:.1f} %), "
        f"{counts.opposite} of them from holds to fails or back"
    )


@app.command(rich_help_panel=PIPELINE)
def checks(tables: TablesOption = Path("tables"), root: RootOption = HERE) -> None:
    """Render the committed tables of both checks: tables/search.tex and tables/flips.tex."""
    from palimpsest.rendering.checks import write_checks

    write_checks(tables, root)
