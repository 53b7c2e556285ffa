"""Cost of a run's training step against pack size, sequence length and number of memory slots."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import Any

from bench import workload
from bench.clock import interleaved
from palimpsest.foundation.errors import ParameterError
from palimpsest.planning.specs import RunSpec
from palimpsest.rendering import bench_columns
from palimpsest.runtime import machine
from palimpsest.training import loop
from palimpsest.training.pack import build_pack

COLUMNS = bench_columns.COLUMNS["scaling"]
LENGTHS = SLOTS = (16, 32, 64, 128, 256)
STEPS = 4
"""Steps of the timed epoch, which is repeated until the measurement is long enough."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--pack", type=int, nargs="+", default=[1, 2, 5, 10, 20], help="sizes of packs (1 2 5 10 20)")
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 8], help="batch sizes (32 8)")
    parser.add_argument("--length", type=int, nargs="+", default=list(LENGTHS), help="sequence lengths (16 … 256)")
    parser.add_argument("--slots", type=int, nargs="+", default=list(SLOTS), help="memory slots (16 … 256)")
    parser.add_argument("--runs", type=int, default=5, help="runs of a pack where another axis varies (5)")
    parser.add_argument("--repeats", type=int, default=7, help="interleaved rounds, of which the median is taken (7)")


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time a training step along each axis; all else is as in the default preset.

    Raises:
        ParameterError: an option is out of range.
    """
    if min([options.repeats, options.runs, *options.pack, *options.batch, *options.length, *options.slots]) < 1:
        raise ParameterError("scaling: a number is below 1; allowed: at least 1 each")
    machine.prepare(options.device)
    packs = cases(options)
    epochs = {key: epoch_of(specs) for key, specs in packs.items()}
    seconds = interleaved(epochs, options.repeats, "scaling", options.device)
    return [
        {
            "device": options.device,
            "axis": axis,
            "value": value,
            "track": specs[0].track,
            "runs": len(specs),
            "batch": batch,
            "sequence_length": specs[0].task["sequence_length"],
            "capacity": specs[0].config["capacity"],
            "ms_per_run_step": 1e3 * seconds[axis, value, batch] / STEPS / len(specs),
        }
        for (axis, value, batch), specs in packs.items()
    ]


def cases(options: argparse.Namespace) -> dict[tuple[str, int, int], list[RunSpec]]:
    """Return the timed packs by axis, value and batch size."""
    published, repaired = (workload.specs_of("default", track) for track in ("published", "repaired"))
    found = {}
    for batch in options.batch:
        sized = functools.partial(workload.sized, device=options.device, batch=batch, steps=STEPS)
        for size in options.pack:
            found["pack", size, batch] = [sized(spec) for spec in workload.grid(published, size)]
        for length in options.length:
            change = {"sequence_length": length}
            specs = workload.grid(published, options.runs)
            found["length", length, batch] = [sized(spec, task=change) for spec in specs]
        for slots in options.slots:
            specs = workload.grid(repaired, options.runs)
            found["slots", slots, batch] = [sized(spec, config={"capacity": slots}) for spec in specs]
    return found


def epoch_of(specs: list[RunSpec]) -> Callable[[], Any]:
    """Return a function that trains a pack for one epoch; the data are on the device, the parameters initialised."""
    pack, splits = build_pack(specs), workload.build(specs[0])
    return lambda: loop.train_epoch(pack, splits.train, 0)
