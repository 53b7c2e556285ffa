"""What a step of a memory costs: NTM and DNC beside naive and public code, the sparse memory against its slots."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from palimpsest.rendering import style
from palimpsest.rendering.bench_parts import Measured, environment, sign, significant, times, whole
from palimpsest.rendering.frames import records, select
from palimpsest.rendering.latex import escape, tabular

# The goals that were set for speed, at the sizes that `python -m bench cells` measures: an NTM with 128 slots of 20 and
# an LSTM of 100; a DNC with 16 slots of 16, an LSTM of 64 and 4 read heads. One run alone, and five in a pack.
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
"""The least ratio of a reference's time to ours, by reference, runs and batch size."""
GROWTH_GOAL = 0.3
"""The time of a sparse memory's step is to grow with a smaller power of its number of slots than this."""
_PACK = ("device", "cell", "batch", "runs", "compiled")
_LINES = {"step": "forward and backward", "forward": "forward alone"}

# --- NTM and DNC ------------------------------------------------------------------------------------------------------


def cells_table(measured: Measured) -> str:
    """Our step, each reference's and their ratio, a row a pack, a group a cell and batch size, with the goals."""
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
        said = [whole(runs), "compiled" if compiled else "eager", significant(ours)]
        for family in families:
            row = beside.get(family, {})
            said += [significant(row.get("reference_ms")), times(row.get("ratio"))]
        rows.append([*first, *said, *_goal_cells(beside)])
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
        f"A training step on the copy task with sequences of {steps} steps, in one thread: what it costs for each run "
        r"of a pack, as PyTorch runs our model (eager) or after \texttt{torch.compile} (compiled), and the time of "
        rf"other code ({others}), also as a multiple of ours ($\times$). On a CPU, time is that of the processor. "
        "At least: the multiple that was set as a goal."
    )


def _spans(families: dict[str, list[str]]) -> str:
    """The line above the header: what code each pair of columns is of."""
    cells, rules = [], []
    for place, family in enumerate([*families, "goal"]):
        cells.append(rf"\multicolumn{{2}}{{c}}{{{escape(family)}}}")
        rules.append(rf"\cmidrule(lr){{{7 + 2 * place}-{8 + 2 * place}}}")
    return "& " * 6 + " & ".join(cells) + r" \\ " + "".join(rules)


def _family(row: dict[str, Any]) -> str:
    """References that stand in the same columns: a name without that of the cell."""
    return str(row["reference"]).removesuffix(f"-{row['cell']}")


def _families(table: pd.DataFrame) -> dict[str, list[str]]:
    """Names of the references in each pair of columns, as they were measured."""
    found: dict[str, list[str]] = {}
    for row in records(table):
        names = found.setdefault(_family(row), [])
        if row["reference"] not in names:
            names.append(row["reference"])
    return found


def _packs(table: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, dict[str, Any]]]:
    """The rows of each of our packs, by the family of the reference; cells as they were measured, then by size."""
    order = {cell: place for place, cell in enumerate(table["cell"].unique())}
    found: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in records(table):
        found.setdefault(tuple(row[column] for column in _PACK), {})[_family(row)] = row
    return {key: found[key] for key in sorted(found, key=lambda key: (key[0], order[key[1]], *key[2:]))}


def _goal(row: dict[str, Any]) -> float | None:
    """The ratio that a row was to reach; goals are for the processor, where all of the public code runs."""
    return GOALS.get((row["reference"], row["runs"], row["batch"])) if row["device"] == "cpu" else None


def _goal_cells(beside: dict[str, dict[str, Any]]) -> list[str]:
    for row in beside.values():
        if (goal := _goal(row)) is not None:
            return [f"${goal:g}$", "yes" if row["ratio"] >= goal else "no"]
    return ["--", "--"]


def goals_macro(measured: Measured) -> str:
    r"""``\benchgoals``: how many of the goals are reached, eager and compiled, for use in a sentence."""
    said = []
    ways = {False: "as PyTorch runs our models", True: r"after \texttt{torch.compile}"}
    for compiled, way in ways.items():
        rows = [(row, _goal(row)) for row in records(select(measured.tables["cells"], compiled=compiled))]
        reached = [row["ratio"] >= goal for row, goal in rows if goal is not None]
        if reached:
            said.append(f"${sum(reached)}$ of ${len(reached)}$ {way}")
    return rf"\newcommand{{\benchgoals}}{{{' and '.join(said) or 'none was measured'}}}" + "\n"


# --- sparse memory ----------------------------------------------------------------------------------------------------


def growth_macro(measured: Measured) -> str:
    r"""``\benchgrowth``: the powers of N that time grows with, and whether the goal is reached, for a caption."""
    said = []
    for device, table in measured.tables["sparse_memory"].groupby("device"):
        step, forward = (_exponent(table, kind) for kind in _LINES)
        verdict = "reached" if step < GROWTH_GOAL else "missed"
        said.append(
            f"{escape(device)}: ${_power(step)}$ forward and backward, ${_power(forward)}$ forward alone; "
            f"goal: less than ${_power(GROWTH_GOAL)}$, {verdict}"
        )
    return rf"\newcommand{{\benchgrowth}}{{{'. '.join(said)}}}" + "\n"


def _exponent(table: pd.DataFrame, kind: str) -> float:
    """That of a device, which stands in each of its rows."""
    return float(table[f"exponent_{kind}"].iloc[0])


def _power(exponent: float) -> str:
    """In mathematics, of LaTeX and of Matplotlib.

    >>> _power(0.02707)
    'N^{0.027}'
    """
    return f"N^{{{exponent:.2g}}}"


def sparse_memory_figure(measured: Measured) -> Figure:
    """Time of a step over N on two logarithmic axes, a panel a device, beside growth as fast as the goal allows."""
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
        said = f"{name}, ${_power(_exponent(table, kind))}$"
        panel.plot(
            slots, table[f"{kind}_ms"], color=look.color, marker=look.marker, markersize=3.5, linewidth=1.1, label=said
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
