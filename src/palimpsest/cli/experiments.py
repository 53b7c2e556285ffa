"""The commands of source 004 that run its experiments: each trains and aggregates the experiments that stand for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from palimpsest.cli.options import DEFAULT_PARAMS, ParamsOption, RootOption, console, report
from palimpsest.foundation.errors import ParameterError

NUMBER, ALL = "004", "all"
STANDS_FOR = {
    "copy": "copy",
    "associative": "associative_recall",
    "continual": "continual_learning",
    "logical": "reasoning",
    "temporal": "temporal",
    "knowledge": "knowledge_graph",
}
"""Word of the source's command → the manifest of source 004 whose experiments stand for it, or else one of them."""
app = typer.Typer(rich_markup_mode="rich")


def experiments_of(word: str, file: Path, known: tuple[str, ...]) -> list[str]:
    """Return the experiments of a preset that stand for a command of the source, in the order of their manifests.

    Args:
        word: one of ``STANDS_FOR``, or ``all``.
        file: the preset, for messages.
        known: its experiments.

    Raises:
        ParameterError: there is no such command, or the preset has no experiment for it.
    """
    if word not in (*STANDS_FOR, ALL):
        raise ParameterError(f"experiment: {word!r}; allowed: {', '.join((*STANDS_FOR, ALL))}")
    found = {each: [name for name in _named(target) if name in known] for each, target in STANDS_FOR.items()}
    chosen = [name for each, names in found.items() if word in (each, ALL) for name in names]
    if not chosen:
        there = ", ".join((*(each for each, names in found.items() if names), ALL)) if any(found.values()) else "none"
        raise ParameterError(f"{file}: experiment {word!r}: no experiment of this preset; allowed: {there}")
    return list(dict.fromkeys(chosen))


def _named(target: str) -> tuple[str, ...]:
    """All experiments of the manifest of that name, or the experiment of that name; none if there is neither."""
    from palimpsest import sources

    own = {name: manifest for name, manifest in sources.manifests().items() if manifest.number == NUMBER}
    if target in own:
        return own[target].experiment_names
    return tuple(name for manifest in own.values() for name in manifest.experiment_names if name == target)


@app.command(rich_help_panel="For people")
def experiment(
    word: Annotated[str, typer.Argument(help=f"{', '.join(STANDS_FOR)} or {ALL}", metavar="NAME")],
    params: ParamsOption = DEFAULT_PARAMS,
    root: RootOption = Path("build/experiment"),
) -> None:
    """Train and aggregate what stands for a command of source 004, e.g. [bold]experiment copy[/bold]; print the means.

    The source has `python main.py --experiment NAME`. Runs that are finished below --root are not trained again.
    """
    from palimpsest.analysis import tables
    from palimpsest.cli import single
    from palimpsest.planning.presets import read_params
    from palimpsest.runtime import lease as leases

    preset = read_params(params)
    asked = experiments_of(word, params, tuple(preset.experiments))
    preset = preset.model_copy(update={"experiments": {name: preset.experiments[name] for name in asked}})
    with leases.for_training(preset.device, preset.packing.packs_per_gpu, report):
        for name in asked:
            single.sweep(preset, name, root, params, console)
    for name in asked:
        _, summary = tables.write_experiment(preset, root, name)
        table = Table("track", "model", "n", "accuracy", "memory off", title=preset.experiments[name].title)
        for row in summary.to_dict("records"):
            values = (row.get(f"test_accuracy_{control}_mean") for control in ("on", "off"))
            table.add_row(row["track"], row["model"], str(row["n"]), *(_short(value) for value in values))
        Console().print(table)


def _short(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.4f}"
