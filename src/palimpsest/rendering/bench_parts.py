"""Shared by tables and figures of measurements: reading the CSVs, naming machine and command, formatting numbers."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import read_json
from palimpsest.rendering.bench_columns import COLUMNS, FLAGS, MAY_BE_EMPTY, TEXTS
from palimpsest.rendering.latex import escape, number

CHARACTERS = 170
"""Characters of a line below a figure, as many as fit its width."""
QUIET = 0.1
"""Share of the machine that other processes may use without being mentioned."""


@dataclass(frozen=True)
class Measured:
    """The tables of all measurements, and for each of them, by device, its command and machine."""

    tables: dict[str, pd.DataFrame]
    notes: dict[str, dict[str, Any]]


# --- reading ----------------------------------------------------------------------------------------------------------


def read(results: Path) -> Measured:
    """Read every measurement with its notes.

    Raises:
        DataError: a result is missing or broken; the message names the command that writes it.
    """
    tables = {name: _read_table(results / f"{name}.csv", name) for name in COLUMNS}
    notes_file = results / "machine.json"
    if not notes_file.is_file():
        raise DataError(f"{notes_file}: no such file; `python -m bench sweep` makes it")
    notes = read_json(notes_file)
    for name, table in tables.items():
        for device in table["device"].unique():
            note = notes.get(name, {}).get(device, {}) if isinstance(notes, dict) else {}
            if not {"command", "machine"} <= set(note) or not {"cpu", "cores", "torch"} <= set(note["machine"]):
                raise DataError(f"{notes_file}: {name}.{device}: missing or broken; `{_command(name)}` makes it")
    return Measured(tables, notes)


def _command(name: str) -> str:
    return f"python -m bench {name}"


def _read_table(path: Path, name: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; `{_command(name)}` makes it") from None
    except (ValueError, UnicodeDecodeError):
        raise DataError(f"{path}: not a table; `{_command(name)}` makes it anew") from None
    missing = [column for column in COLUMNS[name] if column not in table.columns]
    if missing or table.empty:
        wrong = f"no column {missing[0]!r}" if missing else "no row"
        raise DataError(f"{path}: {wrong}; `{_command(name)}` makes it anew")
    for column in COLUMNS[name]:
        if wrong := _fault(column, pd.Series(table[column])):
            raise DataError(f"{path}: {column}: {wrong}; `{_command(name)}` makes it anew")
    return table


def _fault(column: str, values: pd.Series) -> str:
    """Describe what is wrong with a column; empty if nothing is."""
    flags = pd.api.types.is_bool_dtype(values)
    if column in FLAGS:
        return "" if flags else "not all are True or False"
    if column not in TEXTS and (flags or not pd.api.types.is_numeric_dtype(values)):
        return "not all are numbers"
    return "" if column in MAY_BE_EMPTY or values.notna().all() else "a value is missing"


def made_with(measured: Measured, name: str) -> list[tuple[str, str]]:
    """Return machine and command of a measurement, a pair for each device."""
    return [
        (_machine(note["machine"]) + _busy(note), str(note["command"]))
        for device, note in sorted(measured.notes[name].items())
        if device in set(measured.tables[name]["device"])
    ]


def _machine(about: dict[str, Any]) -> str:
    parts = [about.get("gpu"), about["cpu"], f"{about['cores']} cores"]
    if "memory_gb" in about:
        parts.append(f"{about['memory_gb']} GB")
    parts.append(f"torch {about['torch']}")
    libraries = [about.get("blas"), f"oneDNN {about['onednn']}" if "onednn" in about else None]
    system = [f"Python {about['python']}" if "python" in about else None, about.get("system")]
    return ", ".join(str(part) for part in [*parts, *libraries, *system] if part)


def _busy(note: dict[str, Any]) -> str:
    """Return the share of the machine that other processes used, if it is above QUIET."""
    busy = note.get("busy", 0)
    return f", {busy:.0%} busy with other work".replace("%", " %") if busy > QUIET else ""


# --- how it is shown --------------------------------------------------------------------------------------------------


def environment(table: str, caption: str, label: str, measured: Measured, name: str) -> str:
    """Return a table with its caption, which ends with machine and command of the measurement ``name``."""
    origins = " ".join(
        rf"Measured with \texttt{{{escape(command)}}} on {escape(machine)}."
        for machine, command in made_with(measured, name)
    )
    lines = [
        r"\begin{table}[htbp]",
        r"\centering\scriptsize\tight",
        rf"\caption{{{caption} {origins}}}\label{{tab:{label}}}",
        table.rstrip("\n"),
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def whole(value: Any) -> str:
    """Format a whole number; a dash if it is missing."""
    return "--" if pd.isna(value) else number(round(value))


def times(value: Any) -> str:
    """Format a ratio; a dash if it is missing."""
    return "--" if pd.isna(value) else number(float(value), 2)


def significant(value: Any) -> str:
    r"""Format three significant digits, without a power of ten.

    >>> significant(12.345), significant(0.01234), significant(10000)
    ('$12.3$', '$0.0123$', '$10\\,000$')
    """
    if pd.isna(value):
        return "--"
    if float(value) == round(value):
        return number(round(value))
    decimals = max(0, 2 - int(f"{abs(value):e}".partition("e")[2]))
    return number(float(value), decimals) if decimals else number(round(value))


def sign(figure: Figure, measured: Measured, name: str) -> None:
    """Write machine and command of the measurement below a figure."""
    origins = [text for pair in made_with(measured, name) for text in pair]
    lines = [line for text in origins for line in textwrap.wrap(text, CHARACTERS, break_on_hyphens=False)]
    figure.supxlabel("\n".join(lines), fontsize="xx-small", color="#555555", x=0.01, ha="left")
