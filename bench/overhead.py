"""Cost of the pipeline beside training: wall time of a build, and of commands that find nothing to do."""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bench import machine, processes, workload
from bench.clock import bar
from palimpsest.foundation.errors import DataError, ParameterError, ToolError
from palimpsest.foundation.files import write_text
from palimpsest.planning.presets import read_params
from palimpsest.rendering import bench_columns

COLUMNS = bench_columns.COLUMNS["overhead"]
SEEDS, CELLS_A_SIDE = 100, 10
SNAKEMAKE = ("snakemake", "--cores", "all")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--no-build", action="store_true", help="build nothing: use this project's products")
    parser.add_argument("--wall", type=float, default=None, help="seconds that their build took, with --no-build")
    parser.add_argument("--repeats", type=int, default=3, help="times that a short command is run; the median (3)")


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Build the default preset in a fresh clone of HEAD, or use the existing build, and time no-op commands after it.

    Raises:
        ParameterError: an option is out of range.
        DataError: the products are missing or out of date.
        ToolError: a command failed.
    """
    if options.repeats < 1 or (options.wall is not None and options.wall <= 0):
        raise ParameterError(f"--repeats {options.repeats} --wall {options.wall}; allowed: at least 1, more than 0")
    if options.wall is not None and not options.no_build:
        raise ParameterError(f"--wall {options.wall}: the build is measured; allowed: with --no-build")
    progress, advance = bar("overhead", 4 - options.no_build)
    with progress, tempfile.TemporaryDirectory(prefix="palimpsest-bench-") as folder:
        project, wall = workload.ROOT, options.wall
        if not options.no_build:
            project = Path(folder) / "project"
            run(["git", "clone", "--quiet", "--no-hardlinks", str(workload.ROOT), str(project)], workload.ROOT)
            wall = run(SNAKEMAKE, project)
            run(["dvc", "repro", "--quiet"], project)  # nothing is left to build; it records the bytes
            advance(f"build: {wall:.0f} s")
        rows = build_rows(project, wall)
        check_up_to_date(project)
        for quantity, command in (("no-op snakemake", SNAKEMAKE), ("no-op dvc repro", ("dvc", "repro"))):
            rows.append({"quantity": quantity, "value": median(command, project, options.repeats), "unit": "s"})
            advance(f"{quantity}: {rows[-1]['value']:.1f} s")
        rows += plan_rows(Path(folder), options.repeats)
        advance(f"plan: {rows[-1]['value']:.1f} s")
    return [{"device": options.device, **row} for row in rows]


def build_rows(project: Path, wall: float | None) -> list[dict[str, Any]]:
    """Compare the wall time of the build with the training time of its jobs, spread evenly over the cores.

    Raises:
        DataError: no job has recorded its time.
    """
    training, cores = training_seconds(project / "benchmarks/train"), machine.cores()
    rows = [
        {"quantity": "training time of all jobs", "value": training, "unit": "s"},
        {"quantity": "cores", "value": cores, "unit": ""},
        {"quantity": "training time / cores", "value": training / cores, "unit": "s"},
    ]
    if wall is not None:
        rows.insert(0, {"quantity": "wall time of the build", "value": wall, "unit": "s"})
        rows.append({"quantity": "wall time / (training time / cores)", "value": wall * cores / training, "unit": ""})
    return rows


def training_seconds(folder: Path) -> float:
    """Sum the wall times that Snakemake recorded for the training jobs.

    Raises:
        DataError: there are none, or one is broken.
    """
    total, files = 0.0, sorted(folder.rglob("*.tsv"))
    if not files:
        raise DataError(f"{folder}: no *.tsv; allowed: what `snakemake --cores all` writes, from scratch")
    for file in files:
        with file.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                try:
                    total += float(row["s"])
                except (KeyError, TypeError, ValueError):
                    raise DataError(f"{file}: s: {row.get('s')!r}; allowed: seconds") from None
    return total


def check_up_to_date(project: Path) -> None:
    """Check that the timed commands will find nothing to do.

    Raises:
        DataError: they would build something.
    """
    for command, sign in (((*SNAKEMAKE, "--dry-run"), "Nothing to be done"), (("dvc", "status"), "up to date")):
        if sign not in output(command, project):
            raise DataError(f"{' '.join(command)}: something is out of date; allowed: after `make paper`")


def plan_rows(folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Time the planning of ten thousand runs."""
    file = folder / "many.yaml"
    runs = write_many(file)
    command = ["-m", "palimpsest", "plan", "--params", str(file)]
    seconds = [processes.run_all([command], at_a_time=1, one_thread=True).seconds for _ in range(repeats)]
    return [
        {"quantity": "runs that are planned", "value": runs, "unit": ""},
        {"quantity": "palimpsest plan", "value": statistics.median(seconds), "unit": "s"},
    ]


def write_many(file: Path) -> int:
    """Write the default preset's published grid with more λ, τ and seeds; return the number of runs."""
    content = read_params(workload.ROOT / "params/default.yaml").model_dump(mode="json")
    experiment = content["experiments"][workload.MODEL]
    track = experiment["tracks"]["published"]
    sweep = next(grid for grid in track["grids"].values() if grid["model"] == workload.MODEL)
    sweep["axes"] = {
        "mem_lambda": [round(0.01 * step, 2) for step in range(CELLS_A_SIDE)],
        "write_threshold": [round(0.05 + 0.09 * step, 2) for step in range(CELLS_A_SIDE)],
    }
    experiment["tracks"] = {"published": {**track, "grids": {"sweep": sweep}}}
    content |= {"seeds": list(range(SEEDS)), "experiments": {workload.MODEL: experiment}, "omit": []}
    write_text(file, yaml.safe_dump(content, sort_keys=False))
    return SEEDS * CELLS_A_SIDE**2


def median(command: Sequence[str], project: Path, repeats: int) -> float:
    """Return the median seconds of a command."""
    return statistics.median(run(command, project) for _ in range(repeats))


def run(command: Sequence[str], project: Path) -> float:
    """Run a command of this interpreter's environment and return its seconds.

    Raises:
        ToolError: it failed.
    """
    start = time.perf_counter()
    output(command, project)
    return time.perf_counter() - start


def output(command: Sequence[str], project: Path) -> str:
    """Run a command and return its output on both streams.

    Raises:
        ToolError: it is not installed, or failed.
    """
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PATH": programs}
    try:
        done = subprocess.run(command, cwd=project, env=settings, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ToolError(f"bench: {command[0]}: no such program") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise ToolError(f"bench: {' '.join(command)}: exit status {done.returncode}: {lines[-1]}")
    return done.stdout + done.stderr
