"""Results of measurements that nobody made, for tests of what is rendered from them."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench import compiled, peak, record, scaling
from palimpsest.foundation.files import write_json, write_text
from palimpsest.rendering.bench_columns import COLUMNS

METHODS = ("process_per_run", "process_per_run_own", "two_processes", "loop", "packed_5", "packed_20")
MACHINE = {
    "cpu": "Abacus 2000",
    "cores": 2,
    "memory_gb": 8,
    "torch": "9.9",
    "blas": "mkl",
    "onednn": "3.0",
    "python": "3.11.0",
    "system": "Linux",
}


def write(results: Path, devices: tuple[str, ...] = ("cpu",)) -> Path:
    """Write all tables and their notes as `python -m bench` would; returns the folder."""
    for name, rows in (
        ("sweep", _sweep),
        ("scaling", _scaling),
        ("peak", _peak),
        ("compiled", _compiled),
        ("cells", _cells),
        ("sparse_memory", _sparse_memory),
        ("overhead", _overhead),
    ):
        for device in devices:
            record.save(results, name, COLUMNS[name], rows(device), about(name, device), device)
    write_text(results / "coverage.csv", COVERAGE)
    return results


COVERAGE = (
    "quantity,seeds,n,truth,coverage,median_width,coverage_student,zero_width_student\n"
    "share 0.9,alike,5,0.9,0.971,0.05,0.94,0.0\n"
    "share 0.9,alike,10,0.9,0.962,0.04,0.93,0.0\n"
    "share 0.9,a fifth fail,5,0.82,0.67,0.5,0.66,0.33\n"
)
"""How often intervals hold the truth, as `python -m bench.coverage` writes it."""


def about(name: str, device: str) -> dict[str, object]:
    """The notes of a measurement."""
    gpu = {} if device == "cpu" else {"gpu": "Loom 1"}
    return {"command": f"python -m bench {name} --device {device}", "commit": None, "machine": MACHINE | gpu}


def notes(results: Path, content: object) -> None:
    """Replace the notes."""
    write_json(results / "machine.json", content)


def _sweep(device: str) -> list[record.Row]:
    return [
        {
            "method": method,
            "device": device,
            "runs": 20,
            "batch": batch,
            "runs_steps_per_s": 100.0 * (place + 1) + batch,
            "ratio_to_process_per_run": 1.0 + place,
            "ratio_to_loop": None if place == 1 else 0.5 + place,
            "peak_memory_mb": 300.0 * (place + 1),
        }
        for batch in (32, 8)
        for place, method in enumerate(METHODS)
    ]


def _scaling(device: str) -> list[record.Row]:
    values = {"pack": (1, 2, 5, 10, 20), "length": scaling.LENGTHS, "slots": scaling.SLOTS}
    return [
        {
            "device": device,
            "axis": axis,
            "value": value,
            "track": "published",
            "runs": 5,
            "batch": batch,
            "sequence_length": 64,
            "capacity": 64,
            "ms_per_run_step": batch / 8 + value / 100,
        }
        for axis, places in values.items()
        for value in places
        for batch in (32, 8)
    ]


def _peak(device: str) -> list[record.Row]:
    return [
        {"device": device, "batch": 32, **peak.row((preset, track, runs), 10**9, 0.04, 0.02, 1e11)}
        for preset in peak.PRESETS
        for track in peak.TRACKS
        for runs in (1, 5)
    ]


def _compiled(device: str) -> list[record.Row]:
    options = argparse.Namespace(device=device, runs=10, batch=32)
    seconds = {("published", "eager"): 0.4, ("published", "compiled"): 0.8}
    seconds |= {("repaired", "eager"): 0.3, ("repaired", "compiled"): 0.2}
    once = {(track, "compiled"): 30.0 for track in compiled.TRACKS}
    return [compiled.row(track, options, once, seconds) for track in compiled.TRACKS]


def _cells(device: str) -> list[record.Row]:
    """Of public code on a CPU only, as where it is measured; eager first, as if compiled had been measured later."""
    references = {"naive": 100.0} if device == "cuda" else {"naive": 100.0, "pytorch": 150.0}
    return [
        {
            "cell": cell,
            "device": device,
            "runs": runs,
            "batch": batch,
            "steps": 41,
            "compiled": compiled,
            "reference": f"{name}-{cell}",
            "ours_ms": theirs * batch / ratio,
            "reference_ms": theirs * batch,
            "ratio": ratio,
        }
        for compiled in (False, True)
        for cell in ("ntm", "dnc")
        for batch in (1, 16)
        for runs in (1, 5)
        for name, theirs in references.items()
        for ratio in [theirs / 50 * runs * (1 + compiled)]
    ]


def _sparse_memory(device: str) -> list[record.Row]:
    """Growth below the goal on a CPU, above it on a GPU."""
    power = 0.1 if device == "cpu" else 0.4
    return [
        {
            "device": device,
            "batch": 1,
            "num_slots": slots,
            "slot_dim": 32,
            "num_read_heads": 4,
            "top_k": 4,
            "forward_ms": 2.0 * slots**0.05,
            "step_ms": 3.0 * slots**power,
            "exponent_forward": 0.05,
            "exponent_step": power,
        }
        for slots in (1000, 100_000, 10_000)
    ]


def _overhead(device: str) -> list[record.Row]:
    return [
        {"device": device, "quantity": "wall time of the build", "value": 1234.5, "unit": "s"},
        {"device": device, "quantity": "runs that are planned", "value": 10_000, "unit": ""},
    ]
