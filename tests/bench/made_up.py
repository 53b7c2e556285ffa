"""Results of measurements that nobody made, for tests of what is rendered from them."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench import compiled, overhead, peak, record, scaling, sweep
from palimpsest.files import write_json

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
    for name, module, rows in (
        ("sweep", sweep, _sweep),
        ("scaling", scaling, _scaling),
        ("peak", peak, _peak),
        ("compiled", compiled, _compiled),
        ("overhead", overhead, _overhead),
    ):
        for device in devices:
            record.save(results, name, module.COLUMNS, rows(device), about(name, device), device)
    return results


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


def _overhead(device: str) -> list[record.Row]:
    return [
        {"device": device, "quantity": "wall time of the build", "value": 1234.5, "unit": "s"},
        {"device": device, "quantity": "runs that are planned", "value": 10_000, "unit": ""},
    ]
