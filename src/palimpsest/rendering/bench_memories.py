"""Cost of a memory's step: NTM and DNC compared with naive and public code, the sparse memory against its slots."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from palimpsest.rendering import style
from palimpsest.rendering.bench_parts import Measured, environment, sign, significant, times, whole
from palimpsest.rendering.frames import records, select
from palimpsest.rendering.latex import escape, tabular

# Goals for speed, at the sizes of `python -m bench cells`: an NTM with 128 slots of 20 and an LSTM of 100; a DNC with
# 16 slots of 16, an LSTM of 64 and 4 read heads. One run alone, and five in a pack.
GOALS = {
    ("pytorch-ntm", 1, 1): 6.0,
    ("pytorch-ntm", 1, 16): 9.0,
    ("pytorch-ntm", 5, 1): 19.0,
    ("pytorch-ntm", 5, 16): 14.0,
    ("pytorch-dnc", 1, 1): 4.0,
    ("pytorch-dnc", 1, 16): 3.5,
    ("pytorch-dnc", 5, 1): 16.0,
    ("pytorch-dnc", 5, 16): 8.0,
}
"""Least ratio of a reference's time to ours, by reference, runs and batch size."""
GROWTH_GOAL = 0.3
"""Goal: the time of a sparse memory's step grows with a smaller power of its number of slots than this."""
_PACK = ("device", "cell", "batch", "runs", "compiled")
_LINES = {"step": "forward and backward", "forward": "forward alone"}

# --- NTM and DNC ------------------------------------------------------------------------------------------------------


def cells_table(measured: Measured) -> str:
    """Return the table of our step, each reference's step and their ratio, with the goals: a row for each pack."""
    table = measured.tables["cells"]
    families = _families(table)
    rows: list[list[str] | None] = []
    last = None
    for pack, beside in _packs(table).items():
        device, cell, batch, runs, compiled = pack
        if last not in (None, pack[:3]):
            rows.append(None)
        named = [escape(device), escape(style.label(cell)), whole(batch)]
        first = ["", "", ""] if last == pack[:3] else named
        last = pack[:3]
        ours = next(iter(beside.values()))["ours_ms"]
        cells = [whole(runs), "compiled" if compiled else "eager", significant(ours)]
        for family in families:
            row = beside.get(family, {})
            cells += [significant(row.get("reference_ms")), times(row.get("ratio"))]
        rows.append([*first, *cells, *_goal_cells(beside)])
    header = ["device", "cell", "batch", "runs", "run as", "ours, ms", *["ms", r"$\times$"] * len(families)]
    header += ["at least", "reached"]
    return environment(
        tabular(f"@{{}}llrrlr{'rr' * len(families)}rl@{{}}", header, rows, above=_spans(families)),
        _cells_caption(table),
        "bench-cells",
        measured,
        "cells",
    )


def _cells_caption(table: pd.DataFrame) -> str:
    steps = " and ".join(whole(steps) for steps in sorted(table["steps"].unique()))
    others = "; ".join(f"{escape(family)}: {escape(', '.join(names))}" for family, names in _families(table).items())
    return (
        f"A training step on the copy task with sequences of {steps} steps, in one thread: the time for each run of "
        r"a pack of our model, without (eager) or with \texttt{torch.compile} (compiled), and the time of "
        rf"other code ({others}), also as a multiple of ours ($\times$). On a CPU, times are CPU times. "
        "At least: the goal for the multiple."
    )


def _spans(families: dict[str, list[str]]) -> str:
    """Return the line above the header, which names the code of each pair of columns."""
    cells, rules = [], []
    for place, family in enumerate([*families, "goal"]):
        cells.append(rf"\multicolumn{{2}}{{c}}{{{escape(family)}}}")
        rules.append(rf"\cmidrule(lr){{{7 + 2 * place}-{8 + 2 * place}}}")
    return "& " * 6 + " & ".join(cells) + r" \\ " + "".join(rules)


def _family(row: dict[str, Any]) -> str:
    """Return the name of a reference without that of the cell; references of one family share columns."""
    return str(row["reference"]).removesuffix(f"-{row['cell']}")


def _families(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the names of the references in each pair of columns, in the order of measurement."""
    found: dict[str, list[str]] = {}
    for row in records(table):
        names = found.setdefault(_family(row), [])
        if row["reference"] not in names:
            names.append(row["reference"])
    return found


def _packs(table: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, dict[str, Any]]]:
    """Group the rows by pack and family of the reference; cells in the order of measurement, then by size."""
    order = {cell: place for place, cell in enumerate(table["cell"].unique())}
    found: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in records(table):
        found.setdefault(tuple(row[column] for column in _PACK), {})[_family(row)] = row
    return {key: found[key] for key in sorted(found, key=lambda key: (key[0], order[key[1]], *key[2:]))}


def _goal(row: dict[str, Any]) -> float | None:
    """Return the goal of a row; goals are for the CPU, where all of the public code runs."""
    return GOALS.get((row["reference"], row["runs"], row["batch"])) if row["device"] == "cpu" else None


def _goal_cells(beside: dict[str, dict[str, Any]]) -> list[str]:
    for row in beside.values():
        if (goal := _goal(row)) is not None:
            return [f"${goal:g}$", "yes" if row["ratio"] >= goal else "no"]
    return ["--", "--"]


def goals_macro(measured: Measured) -> str:
    r"""Return ``\benchgoals``: the number of goals reached, eager and compiled, for use in a sentence."""
    parts = []
    modes = {False: "as PyTorch runs our models", True: r"after \texttt{torch.compile}"}
    for compiled, mode in modes.items():
        rows = [(row, _goal(row)) for row in records(select(measured.tables["cells"], compiled=compiled))]
        reached = [row["ratio"] >= goal for row, goal in rows if goal is not None]
        if reached:
            parts.append(f"${sum(reached)}$ of ${len(reached)}$ {mode}")
    return rf"\newcommand{{\benchgoals}}{{{' and '.join(parts) or 'none was measured'}}}" + "\n"


# --- sparse memory ----------------------------------------------------------------------------------------------------


def growth_macro(measured: Measured) -> str:
    r"""Return ``\benchgrowth``: the powers of N with which time grows, and their goal, for a caption."""
    parts = []
    for device, table in measured.tables["sparse_memory"].groupby("device"):
        step, forward = (_exponent(table, kind) for kind in _LINES)
        verdict = "reached" if step < GROWTH_GOAL else "missed"
        parts.append(
            f"{escape(device)}: ${_power(step)}$ forward and backward, ${_power(forward)}$ forward alone; "
            f"goal: less than ${_power(GROWTH_GOAL)}$, {verdict}"
        )
    return rf"\newcommand{{\benchgrowth}}{{{'. '.join(parts)}}}" + "\n"


def _exponent(table: pd.DataFrame, kind: str) -> float:
    """Return the exponent of a device; every row of the device holds it."""
    return float(table[f"exponent_{kind}"].iloc[0])


def _power(exponent: float) -> str:
    """Format a power of N in the mathematics of LaTeX and Matplotlib.

    >>> _power(0.02707)
    'N^{0.027}'
    """
    return f"N^{{{exponent:.2g}}}"


def sparse_memory_figure(measured: Measured) -> Figure:
    """Draw the time of a step over N on two logarithmic axes, a panel for each device, with the growth of the goal."""
    groups = list(measured.tables["sparse_memory"].groupby("device"))
    figure, panels = style.panels(1, len(groups), 1.9)
    for (device, table), panel in zip(groups, panels[0], strict=True):
        _growth_panel(panel, table.sort_values("num_slots"))
        panel.set_title(str(device), loc="left")
    panels[0][0].set_ylabel("ms a step")
    sign(figure, measured, "sparse_memory")
    return figure


def _growth_panel(panel: Any, table: pd.DataFrame) -> None:
    slots = table["num_slots"].to_numpy(float)
    for (kind, name), look in zip(_LINES.items(), style.SERIES, strict=False):
        label = f"{name}, ${_power(_exponent(table, kind))}$"
        panel.plot(
            slots, table[f"{kind}_ms"], color=look.color, marker=look.marker, markersize=3.5, linewidth=1.1, label=label
        )
    first = float(table["step_ms"].iloc[0])
    bound = first * (slots / slots[0]) ** GROWTH_GOAL
    panel.plot(
        slots, bound, color="#777777", linestyle="--", linewidth=0.9, label=f"goal: below ${_power(GROWTH_GOAL)}$"
    )
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter(LogFormatter())
    panel.yaxis.set_minor_formatter(LogFormatter())
    panel.set_xlabel("slots of the memory, $N$")
    panel.legend(loc="upper left", fontsize="x-small")
