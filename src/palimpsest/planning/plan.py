"""From parameters to runs: the cells of a preset, the directory of each run, and the packs of runs trained together.

A *run* is (experiment, track, model, cell, seed); a *cell* is one point of a grid; a *pack* is a set of runs of one
grid that are trained together as one program. This module does not import torch: Snakemake reads it at every start.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import Scalar, format_value
from palimpsest.planning.parameters import Params, Track

TRAINING_FILES = ("history.csv", "steps.csv", "training.json", "model.safetensors")
"""Files of a run that the rule ``train`` writes."""
MATRIX_FILE = "phases.csv"
"""The accuracy matrix of a run with more than one phase, which the rule ``train`` writes, too."""
MEASURED_FILES = ("final.json", "trace.safetensors")
"""Files of a run that the rule ``measure`` writes, from the weights."""
RUN_FILES = TRAINING_FILES + MEASURED_FILES
DATA_FILES = ("examples.safetensors", "card.json")
EXPERIMENT_TABLES = (
    "learning_curves",
    "training_steps",
    "write_positions",
    "lifecycle",
    "within_sequence",
    "generalisation",
    "outputs",
    "weightings",
    "survival",
    "accuracy_matrices",
)
"""Names of the tables of an experiment; :mod:`palimpsest.analysis.experiment_tables` makes and reads them."""


@dataclass(frozen=True)
class Cell:
    """One point of a grid: its runs differ only in their seed."""

    experiment: str
    track: str
    model: str
    grid: str
    values: dict[str, Scalar]
    seeds: tuple[int, ...]
    phases: tuple[str | None, ...] = (None,)
    """For each phase of a run the name of its data set; ``None``: that of the track's task."""

    @property
    def data_directories(self) -> list[Path]:
        """Directories, below the product directory, of the task's data set and of those of all phases."""
        names = dict.fromkeys((None, *self.phases))
        return [data_directory(self.experiment, self.track, name) for name in names]

    @property
    def training_files(self) -> tuple[str, ...]:
        """Files of a run that training writes."""
        return TRAINING_FILES if len(self.phases) == 1 else (*TRAINING_FILES, MATRIX_FILE)

    @property
    def model_base(self) -> str:
        """Directory of all cells of the model, relative to the product directory."""
        return f"results/{self.experiment}/track={self.track}/model={self.model}"

    @property
    def path(self) -> str:
        """``axis=value/`` for every axis: the part of a path between model and seed; empty without axes."""
        return "".join(f"{axis}={format_value(value)}/" for axis, value in self.values.items())

    @property
    def base(self) -> str:
        """Directory of the cell, relative to the product directory."""
        return f"{self.model_base}/{self.path}".rstrip("/")

    @property
    def label(self) -> str:
        """One line for logs and progress."""
        return self.base.removeprefix("results/")

    def directory(self, seed: int) -> Path:
        """Return the directory of one run's files, relative to the product directory."""
        return Path(self.base) / f"seed={seed}"


@dataclass(frozen=True)
class Run:
    """One seed of one cell."""

    cell: Cell
    seed: int

    @property
    def directory(self) -> Path:
        """Where its files live, below the product directory."""
        return self.cell.directory(self.seed)

    @property
    def name(self) -> str:
        """Path below the directory of the model, e.g. ``mem_lambda=0.1/write_threshold=0.5/seed=3``."""
        return f"{self.cell.path}seed={self.seed}"


@dataclass(frozen=True)
class Pack:
    """Runs of one grid that are trained together, with a name for rules and logs."""

    name: str
    runs: tuple[Run, ...]

    @property
    def first(self) -> Cell:
        """Cell of the first run; experiment, track, model and grid are the same for all runs."""
        return self.runs[0].cell

    @property
    def label(self) -> str:
        """One line for logs and progress."""
        first, *others = self.runs
        also = f" and {len(others)} more" if others else ""
        return f"{first.cell.label}/seed={first.seed}{also}"


def data_directory(experiment: str, track: str, name: str | None = None) -> Path:
    """Return the directory of a data set, relative to the product directory.

    Args:
        experiment: of the preset.
        track: name of the track.
        name: of one of the track's further data sets; ``None``: the data set of its task.
    """
    directory = Path(f"data/{experiment}/track={track}")
    return directory if name is None else directory / f"data={name}"


def data_sets(params: Params) -> Iterator[tuple[str, str, str | None]]:
    """Yield every data set as (experiment, track name, name); the name is ``None`` for that of the track's task."""
    for experiment, track_name, track in tracks(params):
        for name in (None, *track.data):
            yield experiment, track_name, name


def tracks(params: Params) -> Iterator[tuple[str, str, Track]]:
    """Yield every (experiment, track name, track) of a preset, sorted by name."""
    for name in sorted(params.experiments):
        for track_name, track in sorted(params.experiments[name].tracks.items()):
            yield name, track_name, track


def cells(params: Params, file: Path | str = "params") -> list[Cell]:
    """List every cell that a preset asks for, sorted by path.

    Raises:
        ParameterError: two grids of a track ask for the same run.
    """
    found: dict[str, Cell] = {}
    for experiment, track_name, track in tracks(params):
        for grid_name, grid in track.grids.items():
            axes = dict(sorted(grid.axes.items()))
            for values in itertools.product(*axes.values()):
                point = dict(zip(axes, values, strict=True))
                phases = tuple(phase.data for phase in (grid.phases or track.phases).values()) or (None,)
                seeds = grid.seeds or track.seeds or params.seeds
                cell = Cell(experiment, track_name, grid.model, grid_name, point, seeds, phases)
                if cell.base in found:
                    raise ParameterError(
                        f"{file}: experiments.{experiment}.tracks.{track_name}.grids: "
                        f"{found[cell.base].grid!r} and {grid_name!r} both ask for {cell.label}; allowed: one of them"
                    )
                found[cell.base] = cell
    return [found[base] for base in sorted(found)]


def packs(
    params: Params, largest: Callable[[Cell], int], is_complete: Callable[[Run], bool] = lambda run: False
) -> list[Pack]:
    """Divide every run that a preset asks for into packs.

    Runs of one pack belong to one grid, have the same values on every axis that ``packing.axes`` does not name, and are
    either all complete or all missing. So a grid that grows trains its new runs only, and its old runs are stale or up
    to date as before. On a CPU no result depends on the division.

    Args:
        params: the preset.
        largest: how many runs of a cell's kind fit into a pack; ``packing.max_runs`` unless that is ``auto``.
        is_complete: whether the files of a run exist.
    """
    groups: dict[tuple[str, ...], list[Run]] = {}
    for cell in cells(params):
        apart = [f"{axis}={value}" for axis, value in cell.values.items() if axis not in params.packing.axes]
        for seed in cell.seeds:
            run = Run(cell, seed)
            alone = [] if "seed" in params.packing.axes else [str(seed)]
            key = (cell.model_base, cell.grid, *apart, *alone, str(is_complete(run)))
            groups.setdefault(key, []).append(run)
    found: list[Pack] = []
    count: Counter[str] = Counter()
    for runs in groups.values():
        for part in _parts(runs, largest(runs[0].cell)):
            cell = part[0].cell
            count[cell.model_base] += 1
            found.append(Pack(f"{cell.experiment}_{cell.track}_{cell.model}_{count[cell.model_base]:02d}", part))
    return found


def _parts(runs: list[Run], largest: int) -> Iterable[tuple[Run, ...]]:
    """Split runs, in order, into as few parts as possible, with sizes as equal as possible."""
    number = -(-len(runs) // largest)
    bounds = [len(runs) * part // number for part in range(number + 1)]
    return (tuple(runs[start:stop]) for start, stop in itertools.pairwise(bounds))


def find_runs(params: Params, base: str, names: Iterable[str]) -> Pack:
    """Find the runs ``names`` below the directory ``base`` of a model; all of its runs if no name is given.

    Raises:
        ParameterError: the preset asks for no such run.
    """
    asked = {run.name: run for cell in cells(params) if cell.model_base == base for run in runs_of(cell)}
    if not asked:
        raise ParameterError(f"params: no grid of preset {params.preset!r} asks for {base!r}; see `palimpsest plan`")
    chosen = list(names) or list(asked)
    for name in chosen:
        if name not in asked:
            raise ParameterError(
                f"params: no grid of preset {params.preset!r} asks for {name!r} below {base}; "
                f"allowed: {', '.join(list(asked)[:3])}, …"
            )
    return Pack(base, tuple(asked[name] for name in chosen))


def find_cell(params: Params, base: str) -> Cell:
    """The cell whose directory is ``base``.

    Raises:
        ParameterError: the preset asks for no such cell.
    """
    found = [cell for cell in cells(params) if cell.base == base]
    if not found:
        raise ParameterError(f"params: no grid of preset {params.preset!r} asks for {base!r}; see `palimpsest plan`")
    return found[0]


def runs_of(cell: Cell) -> list[Run]:
    """List every run of a cell, in the order of its seeds."""
    return [Run(cell, seed) for seed in cell.seeds]
