"""Gain of torch.compile on a training step, its cost at the start, and the number of steps after which it pays."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from typing import Any

from bench import workload
from bench.clock import interleaved
from bench.scaling import STEPS, epoch_of
from palimpsest.foundation.errors import ParameterError
from palimpsest.planning.specs import RunSpec
from palimpsest.rendering import bench_columns
from palimpsest.runtime import machine

COLUMNS = bench_columns.COLUMNS["compiled"]
TRACKS = ("published", "repaired")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--runs", type=int, default=10, help="runs of a pack (10)")
    parser.add_argument("--batch", type=int, default=32, help="batch size (32)")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved rounds, of which the median is taken (5)")


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time a step of each track, eager and compiled, in turn, with an empty cache of compiled code.

    Raises:
        ParameterError: an option is out of range.
    """
    if min(options.runs, options.batch, options.repeats) < 1:
        raise ParameterError("compiled: a number is below 1; allowed: at least 1 each")
    machine.prepare(options.device)
    with tempfile.TemporaryDirectory(prefix="palimpsest-bench-") as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        packs = {(track, kind): _pack(track, kind == "compiled", options) for track in TRACKS for kind in KINDS}
        epochs = {key: epoch_of(specs) for key, specs in packs.items()}
        once = {}
        for key, epoch in epochs.items():
            start = time.perf_counter()
            epoch()
            once[key] = time.perf_counter() - start
        seconds = interleaved(epochs, options.repeats, "compiled", options.device)
    return [row(track, options, once, seconds) for track in TRACKS]


KINDS = ("eager", "compiled")


def _pack(track: str, compiled: bool, options: argparse.Namespace) -> list[RunSpec]:
    specs = workload.grid(workload.specs_of("default", track), options.runs)
    sized = [workload.sized(spec, device=options.device, batch=options.batch, steps=STEPS) for spec in specs]
    return [spec.model_copy(update={"compiled": compiled}) for spec in sized]


def row(
    track: str,
    options: argparse.Namespace,
    once: dict[tuple[str, str], float],
    seconds: dict[tuple[str, str], float],
) -> dict[str, Any]:
    """Return the row of a track, from seconds of the first epoch (``once``) and a later one, by track and kind."""
    eager, compiled = (seconds[track, kind] / STEPS for kind in KINDS)
    cost = once[track, "compiled"] - seconds[track, "compiled"]
    return {
        "device": options.device,
        "track": track,
        "runs": options.runs,
        "batch": options.batch,
        "eager_ms_per_run_step": 1e3 * eager / options.runs,
        "compiled_ms_per_run_step": 1e3 * compiled / options.runs,
        "ratio": eager / compiled,
        "seconds_to_compile": cost,
        "steps_to_pay": cost / (eager - compiled) if eager > compiled else None,
    }
