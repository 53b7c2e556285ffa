"""Columns of the tables that `python -m bench` writes: it takes them from here, and what renders them checks them."""

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
"""Of each measurement, by its name."""
TEXTS = {"method", "device", "axis", "track", "preset", "cell", "reference", "quantity", "unit"}
"""Columns of words."""
FLAGS = {"compiled"}
"""Columns of True and False; all others are of numbers."""
MAY_BE_EMPTY = {"ratio_to_process_per_run", "ratio_to_loop", "peak_memory_mb", "steps_to_pay", "unit"}
"""Columns of what may not have been measured, or does not exist."""
