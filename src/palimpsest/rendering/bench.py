"""Tables and figures of the measurements of `python -m bench`, for the paper's appendix; every ratio is in its CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from palimpsest.foundation.files import write_text
from palimpsest.rendering import style
from palimpsest.rendering.bench_memories import cells_table, goals_macro, growth_macro, sparse_memory_figure
from palimpsest.rendering.bench_parts import Measured, environment, read, sign, significant, times, whole
from palimpsest.rendering.coverage import coverage_table
from palimpsest.rendering.frames import records, select
from palimpsest.rendering.latex import escape, number, tabular

METHODS = {
    "process_per_run": "a process a run, plain PyTorch",
    "process_per_run_own": "a process a run, packs of one",
    "two_processes": "two processes at a time, plain PyTorch",
    "loop": "one process looping, plain PyTorch",
}
AXES = {
    "pack": "runs in the pack",
    "length": "tokens of a sequence",
    "slots": "slots of the memory",
}
_PLAIN, _OURS = style.SERIES[-1], style.SERIES[0]


def write_bench(results: Path, root: Path) -> list[Path]:
    """Write ``tables/{bench,coverage}.tex``, and ``plots/bench/{sweep,scaling,sparse_memory}`` as PDF and PNG.

    Args:
        results: folder of the CSVs, ``bench/results``.
        root: product directory.

    Returns:
        The files.

    Raises:
        DataError: a result is missing or broken; the message names the command that writes it.
    """
    measured = read(results)
    parts = (goals_macro, growth_macro, sweep_table, peak_table, compiled_table, cells_table, overhead_table)
    write_text(root / "tables/bench.tex", "\n".join(part(measured) for part in parts))
    write_text(root / "tables/coverage.tex", coverage_table(results / "coverage.csv"))
    written = [root / "tables/bench.tex", root / "tables/coverage.tex"]
    with style.sized_for_print():
        for name, draw in FIGURES.items():
            written += style.save(draw(measured), root / "plots/bench" / name)
    return written


# --- tables -----------------------------------------------------------------------------------------------------------


def sweep_table(measured: Measured) -> str:
    """Return the table of methods: rate, ratios, memory."""
    rows: list[Sequence[str] | None] = []
    last = None
    for row in records(_ordered(measured.tables["sweep"])):
        group = (row["device"], row["runs"], row["batch"])
        if last not in (None, group):
            rows.append(None)
        first = ["", "", ""] if last == group else [escape(row["device"]), whole(row["batch"]), whole(row["runs"])]
        last = group
        rows.append(
            [
                *first,
                escape(method_name(row["method"])),
                significant(row["runs_steps_per_s"]),
                times(row["ratio_to_process_per_run"]),
                times(row["ratio_to_loop"]),
                whole(row["peak_memory_mb"]),
            ]
        )
    header = [
        "device", "batch", "runs", "method", "run-steps/s", "a process a run", "looping", "memory, MB"
    ]  # fmt: skip
    spans = r"& & & & & \multicolumn{2}{c}{rate relative to} & \\ \cmidrule(lr){6-7}"
    caption = (
        "One grid of NeMA-Lite runs, trained with several methods: run-steps a second, with start-up, data and "
        "evaluation included, and the peak of the processes' total memory."
    )
    return environment(
        tabular("@{}lrrlrrrr@{}", header, rows, above=spans),
        caption,
        "bench-sweep",
        measured,
        "sweep",
    )


def peak_table(measured: Measured) -> str:
    """Return the table of the fraction of the machine's peak that a step reaches, and that its products allow."""
    rows: list[Sequence[str] | None] = []
    last = None
    for row in records(measured.tables["peak"]):
        group = (row["device"], row["preset"], row["track"])
        if last not in (None, group):
            rows.append(None)
        first = ["", "", ""] if last == group else [escape(name) for name in group]
        last = group
        numbers = ("gflop_per_step", "step_ms", "products_ms", "peak_gflops")
        shares = ("step_of_peak", "products_of_peak", "products_of_step")
        rows.append(
            [
                *first,
                whole(row["batch"]),
                whole(row["runs"]),
                *(significant(row[column]) for column in numbers),
                *(number(row[column], 2) for column in shares),
            ]
        )
    header = ["device", "preset", "track", "batch", "runs", "GFLOP", "step, ms", "products, ms"]
    header += ["peak, GFLOP/s", "of peak", "allowed", "in products"]
    caption = (
        "A training step compared with the machine's best large matrix product, in one thread. GFLOP counts the matrix "
        "products of the step. The step reaches a fraction of the peak (of peak); its products alone would reach the "
        "fraction that their shapes allow (allowed); the step spends a share of its time on them (in products)."
    )
    return environment(tabular("@{}lllrrrrrrrrr@{}", header, rows), caption, "bench-peak", measured, "peak")


def compiled_table(measured: Measured) -> str:
    """Return the table of the gain of torch.compile on a step, and of the steps after which it pays."""
    columns = ("eager_ms_per_run_step", "compiled_ms_per_run_step", "ratio", "seconds_to_compile", "steps_to_pay")
    rows = [
        [escape(row["device"]), escape(row["track"]), whole(row["batch"]), whole(row["runs"])]
        + [significant(row[column]) for column in columns[:-1]]
        + [whole(row["steps_to_pay"])]
        for row in records(measured.tables["compiled"])
    ]
    header = ["device", "track", "batch", "runs", "eager, ms", "compiled, ms", "gain", "compiling, s", "pays after"]
    caption = (
        "A run-step without and with \\texttt{torch.compile}, in one thread. Compiling is the extra time of the first "
        "steps; it pays after this number of steps of the pack, or never (--)."
    )
    return environment(tabular("@{}llrrrrrrr@{}", header, rows), caption, "bench-compiled", measured, "compiled")


def overhead_table(measured: Measured) -> str:
    """Return the table of the pipeline's cost beside training."""
    rows = [
        [escape(row["quantity"]), significant(row["value"]), "" if pd.isna(row["unit"]) else escape(row["unit"])]
        for row in records(measured.tables["overhead"])
    ]
    caption = "The cost of the pipeline beside training, and of commands that find nothing to do."
    return environment(
        tabular("@{}lrl@{}", ["quantity", "value", "unit"], rows), caption, "bench-overhead", measured, "overhead"
    )


def method_name(method: str) -> str:
    """Return the name of a method in tables and figures.

    >>> method_name("packed_5")
    'packs of 5'
    """
    kind, _, size = method.rpartition("_")
    return f"packs of {size}" if kind == "packed" else METHODS.get(method, method.replace("_", " "))


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Sort rows by device, runs and batch size, the largest batch first; methods keep their order."""
    order = table.assign(_row=range(len(table)), _batch=-table["batch"])
    return order.sort_values(["device", "runs", "_batch", "_row"]).drop(columns=["_row", "_batch"])


# --- figures ----------------------------------------------------------------------------------------------------------


def sweep_figure(measured: Measured) -> Figure:
    """Draw the rate of every method, a panel for each device and batch size; bars are labelled with rate and ratio."""
    table = _ordered(measured.tables["sweep"])
    groups = list(table[["device", "runs", "batch"]].drop_duplicates().itertuples(index=False, name=None))
    most = max(len(select(table, device=device, runs=runs, batch=batch)) for device, runs, batch in groups)
    figure, panels = style.panels(len(groups), 1, 0.35 + 0.19 * most)
    for (device, runs, batch), (panel,) in zip(groups, panels, strict=True):
        rows = records(select(table, device=device, runs=runs, batch=batch))
        rates = [row["runs_steps_per_s"] for row in rows]
        looks = [
            _OURS if row["method"].startswith("packed") or row["method"].endswith("_own") else _PLAIN for row in rows
        ]
        panel.barh(range(len(rows)), rates, height=0.62, color=[look.color for look in looks], alpha=0.75)
        for place, row in enumerate(rows):
            panel.annotate(
                _bar_label(row),
                (rates[place], place),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize="x-small",
            )
        panel.set_yticks(range(len(rows)), [method_name(row["method"]) for row in rows])
        panel.invert_yaxis()
        panel.tick_params(axis="y", length=0)
        panel.set_xlim(0, 1.25 * max(rates))
        panel.set_title(f"{device}, batch {batch}, {runs} runs", loc="left")
    panels[-1][0].set_xlabel("run-steps a second, start-up, data and evaluation included")
    sign(figure, measured, "sweep")
    return figure


def _bar_label(row: dict[str, Any]) -> str:
    rate = f"{row['runs_steps_per_s']:.3g}"
    ratio = row["ratio_to_process_per_run"]
    return rate if pd.isna(ratio) or row["method"] == "process_per_run" else f"{rate} ({ratio:.3g}×)"


def scaling_figure(measured: Measured) -> Figure:
    """Draw the cost of a run's step along each axis: a line for each batch size, a row of panels for each device."""
    table = measured.tables["scaling"]
    devices = sorted(table["device"].unique())
    figure, panels = style.panels(len(devices), len(AXES), 1.75)
    for device, row in zip(devices, panels, strict=True):
        for (axis, name), panel in zip(AXES.items(), row, strict=True):
            _scaling_panel(panel, select(table, device=device, axis=axis), name)
        row[0].set_ylabel(f"{device}: ms a run-step")
    sign(figure, measured, "scaling")
    return figure


def _scaling_panel(panel: Any, table: pd.DataFrame, name: str) -> None:
    batches = sorted(table["batch"].unique(), reverse=True)
    for look, batch in zip(style.SERIES, batches, strict=False):
        line = select(table, batch=batch).sort_values("value")
        x, y = line["value"].to_numpy(float), line["ms_per_run_step"].to_numpy(float)
        panel.plot(x, y, color=look.color, marker=look.marker, markersize=3.5, linewidth=1.1)
        panel.annotate(
            f"batch {batch}",
            (x[-1], y[-1]),
            (0, 4),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize="x-small",
            color=look.color,
        )
    panel.set_xscale("log", base=2)
    values = sorted(table["value"].unique())
    panel.xaxis.set_major_locator(FixedLocator(values))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xticks(values, [f"{value:g}" for value in values])
    panel.set_ylim(0, 1.15 * table["ms_per_run_step"].max() if len(table) else 1)
    panel.set_xlabel(name)


FIGURES = {"sweep": sweep_figure, "scaling": scaling_figure, "sparse_memory": sparse_memory_figure}
"""Figures below ``plots/bench``, by name."""
