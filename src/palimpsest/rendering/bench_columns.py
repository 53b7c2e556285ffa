"""Columns of the tables that `python -m bench` writes; the measurements and the renderer both import them."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "sweep": (
        "method",
        "device",
        "runs",
        "batch",
        "runs_steps_per_s",
        "ratio_to_process_per_run",
        "ratio_to_loop",
        "peak_memory_mb",
    ),
    "scaling": ("device", "axis", "value", "track", "runs", "batch", "sequence_length", "capacity", "ms_per_run_step"),
    "peak": (
        "device",
        "preset",
        "track",
        "runs",
        "batch",
        "gflop_per_step",
        "step_ms",
        "products_ms",
        "peak_gflops",
        "step_of_peak",
        "products_of_peak",
        "products_of_step",
    ),
    "compiled": (
        "device",
        "track",
        "runs",
        "batch",
        "eager_ms_per_run_step",
        "compiled_ms_per_run_step",
        "ratio",
        "seconds_to_compile",
        "steps_to_pay",
    ),
    "cells": (
        "cell",
        "device",
        "runs",
        "batch",
        "steps",
        "reference",
        "ours_ms",
        "reference_ms",
        "ratio",
        "compiled",
    ),
    "sparse_memory": (
        "device",
        "batch",
        "num_slots",
        "slot_dim",
        "num_read_heads",
        "top_k",
        "forward_ms",
        "step_ms",
        "exponent_forward",
        "exponent_step",
    ),
    "overhead": ("device", "quantity", "value", "unit"),
}
"""Columns of each measurement, by its name."""
TEXTS = {"method", "device", "axis", "track", "preset", "cell", "reference", "quantity", "unit"}
"""Columns that hold text."""
FLAGS = {"compiled"}
"""Columns that hold True and False; all other columns hold numbers."""
MAY_BE_EMPTY = {"ratio_to_process_per_run", "ratio_to_loop", "peak_memory_mb", "steps_to_pay", "unit"}
"""Columns whose values may be missing."""
