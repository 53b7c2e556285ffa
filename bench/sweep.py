"""The NeMA-Lite grid trained with several methods: runs × steps a second, everything included."""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine, processes, workload
from bench.clock import bar
from bench.processes import Cost
from palimpsest.foundation.errors import ParameterError, ToolError
from palimpsest.foundation.files import write_json
from palimpsest.planning.specs import RunSpec
from palimpsest.rendering import bench_columns

COLUMNS = bench_columns.COLUMNS["sweep"]
PLAIN = str(Path(__file__).with_name("plain.py").relative_to(workload.ROOT))
Commands = list[list[str]]


@dataclass(frozen=True)
class Method:
    """One method of training a list of runs."""

    commands: Callable[[Sequence[RunSpec], Path], Commands]
    """Maps runs and an empty folder to the command of every process, without ``python``."""
    at_a_time: int
    one_thread: bool


def plain_settings(spec: RunSpec) -> dict[str, Any]:
    """Return the settings of :mod:`bench.plain` for the same run."""
    known = {**spec.task, **spec.config, **spec.training.model_dump()}
    content = {**known, "data_seed": spec.task["seed"], "seed": spec.seed, "device": spec.device}
    from bench import plain

    return {field.name: content[field.name] for field in dataclasses.fields(plain.Settings) if field.name in content}


def plain_commands(specs: Sequence[RunSpec], folder: Path) -> Commands:
    """Return the commands of one process for each run."""
    return [
        [
            PLAIN,
            f"--folder={folder / str(index)}",
            *(f"--{name.replace('_', '-')}={value}" for name, value in plain_settings(spec).items()),
        ]
        for index, spec in enumerate(specs)
    ]


def loop_commands(specs: Sequence[RunSpec], folder: Path) -> Commands:
    """Return the command of one process for all runs."""
    write_json(folder / "grid.json", [plain_settings(spec) for spec in specs])
    return [[PLAIN, f"--folder={folder}", f"--grid={folder / 'grid.json'}"]]


def pack_commands(specs: Sequence[RunSpec], folder: Path, size: int, *options: str) -> Commands:
    """Return the commands of one process for each pack of up to ``size`` runs."""
    commands = []
    for number, start in enumerate(range(0, len(specs), size)):
        file, root = folder / f"{number}.json", folder / str(number)
        part = [spec.model_dump(mode="json") for spec in specs[start : start + size]]
        write_json(file, {"specs": part, "root": str(root)})
        commands.append(["-m", "bench.worker", str(file), *options])
    return commands


def methods(packs: Sequence[int], at_a_time: int) -> dict[str, Method]:
    """Return every method by its name.

    Args:
        packs: sizes of packs.
        at_a_time: packs that are trained side by side.
    """

    def packed(size: int, *options: str) -> Callable[[Sequence[RunSpec], Path], Commands]:
        return lambda specs, folder: pack_commands(specs, folder, size, *options)

    return {
        "process_per_run": Method(plain_commands, 1, one_thread=False),
        "process_per_run_own": Method(packed(1, "--default-threads"), 1, one_thread=False),
        "two_processes": Method(plain_commands, 2, one_thread=True),
        "loop": Method(loop_commands, 1, one_thread=False),
        **{f"packed_{size}": Method(packed(size), at_a_time, one_thread=True) for size in packs},
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--runs", type=int, default=20, help="runs of the grid λ × τ × seeds (20)")
    parser.add_argument("--steps", type=int, default=400, help="optimiser steps of a run (400)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs in which they are taken: a divisor (2)")
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 8], help="batch sizes (32 8)")
    parser.add_argument("--pack", type=int, nargs="+", default=[5, 10, 20], help="sizes of packs (5 10 20)")
    parser.add_argument("--repeats", type=int, default=1, help="rounds; each method has its turn in each (1)")
    parser.add_argument("--cores", type=int, default=None, help="packs side by side (as many as cores; on a GPU 1)")
    parser.add_argument("--methods", nargs="+", default=None, help="only these (all)")


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train the grid with every method and return the rate of each.

    Raises:
        ParameterError: an option is out of range.
        ToolError: a method's process failed, or left runs out.
    """
    chosen = _chosen(options)
    published = workload.specs_of("default", "published")
    specs = {
        batch: [
            workload.sized(spec, device=options.device, batch=batch, steps=options.steps, epochs=options.epochs)
            for spec in workload.grid(published, options.runs)
        ]
        for batch in options.batch
    }
    warm = [workload.sized(spec, device=options.device, steps=1) for spec in workload.grid(published, 1)]
    costs: dict[tuple[int, str], list[Cost]] = {(batch, name): [] for batch in specs for name in chosen}
    progress, advance = bar("sweep", options.repeats * len(costs))
    with progress:
        for method in chosen.values():  # warm up the file cache, so that no method pays for it
            run(method, warm, options.device)
        for number in range(1, options.repeats + 1):
            for (batch, name), known in costs.items():
                known.append(run(chosen[name], specs[batch], options.device))
                advance(f"round {number}, batch {batch}, {name}: {known[-1].seconds:.1f} s")
    return table(costs, runs=options.runs, steps=options.steps, device=options.device)


def _chosen(options: argparse.Namespace) -> dict[str, Method]:
    for name in ("runs", "steps", "repeats", "cores"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ParameterError(f"--{name}: {value}; allowed: at least 1")
    if min([*options.pack, *options.batch]) < 1:
        raise ParameterError(f"--pack {options.pack} --batch {options.batch}; allowed: at least 1 each")
    known = methods(options.pack, options.cores or (machine.cores() if options.device == "cpu" else 1))
    for name in options.methods or []:
        if name not in known:
            raise ParameterError(f"--methods: {name!r}; allowed: {', '.join(known)}")
    return {name: method for name, method in known.items() if name in (options.methods or known)}


def run(method: Method, specs: Sequence[RunSpec], device: str) -> Cost:
    """Train runs in a temporary folder.

    Raises:
        ToolError: a process failed, or a run is missing afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="palimpsest-bench-") as folder:
        commands = method.commands(specs, Path(folder))
        cost = processes.run_all(commands, at_a_time=method.at_a_time, one_thread=method.one_thread, device=device)
        done = processes.finished(Path(folder))
    if done != len(specs):
        raise ToolError(f"bench: {' '.join(commands[0][:2])}: {done} of {len(specs)} runs were finished")
    return cost


def table(costs: dict[tuple[int, str], list[Cost]], *, runs: int, steps: int, device: str) -> list[dict[str, Any]]:
    """Return a row for each batch size and method, from medians over the rounds, with ratios of the rates."""
    rate = {key: runs * steps / statistics.median(cost.seconds for cost in known) for key, known in costs.items()}
    rows = []
    for (batch, name), known in costs.items():
        memory = [cost.peak_memory_mb for cost in known if cost.peak_memory_mb is not None]
        others = {other: rate.get((batch, other)) for other in ("process_per_run", "loop")}
        ratios = {f"ratio_to_{other}": value and rate[batch, name] / value for other, value in others.items()}
        rows.append(
            {
                "method": name,
                "device": device,
                "runs": runs,
                "batch": batch,
                "runs_steps_per_s": rate[batch, name],
                **ratios,
                "peak_memory_mb": statistics.median(memory) if memory else None,
            }
        )
    return rows
