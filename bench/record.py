"""Files of a measurement: a CSV, and beside it machine.json with the command and the machine."""

from __future__ import annotations

import csv
import io
import math
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from bench import clock, machine, workload
from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import read_json, write_json, write_text

QUIET = 0.1
"""Share of the machine that other processes may use before a warning is printed."""
Row = Mapping[str, Any]


def about(command: str, device: str) -> dict[str, Any]:
    """Return what machine.json records, before a measurement starts; ``busy`` is the share of cores that others use."""
    busy = psutil.cpu_percent(interval=1.0) / 100
    if busy > QUIET:
        clock.console.print(f"bench: {busy:.0%} of this machine is busy with other work, which slows the measurement")
    return {"command": command, "commit": commit(), "busy": round(busy, 2), "machine": machine.describe(device)}


def save(
    results: Path, name: str, columns: Sequence[str], rows: Sequence[Row], about: Mapping[str, Any], device: str
) -> Path:
    """Write ``<name>.csv``; earlier rows of another device stay in it.

    Args:
        results: folder of the results.
        name: name of the measurement.
        columns: columns of the table; one is ``device``.
        rows: the new rows, measured on ``device``.
        about: see :func:`about`.
        device: ``cpu`` or ``cuda``.

    Raises:
        DataError: the existing file has other columns, or the file cannot be written.
    """
    path = results / f"{name}.csv"
    others = [row for row in read(path, columns) if row["device"] != device] if path.exists() else []
    new = [{column: format_cell(row.get(column)) for column in columns} for row in rows]
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted([*others, *new], key=lambda row: row["device"]))
    notes = results / "machine.json"
    known = read_json(notes) if notes.exists() else {}
    write_text(path, table.getvalue())
    write_json(notes, {**known, name: {**known.get(name, {}), device: about}})
    return path


def read(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read the rows of a result as text.

    Raises:
        DataError: the file has other columns.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if list(reader.fieldnames or []) != list(columns):
            raise DataError(f"{path}: columns {reader.fieldnames}; allowed: {', '.join(columns)}; or delete the file")
        return list(reader)


def format_cell(value: Any) -> str:
    """Format a value of a result: numbers with four significant digits, an empty text for what was not measured.

    >>> [format_cell(value) for value in (12345.678, 0.123456, 20, None, "loop")]
    ['12350', '0.1235', '20', '', 'loop']
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float):
        rounded = float(f"{value:.4g}")
        return str(int(rounded)) if rounded.is_integer() else str(rounded)
    return str(value)


def commit(folder: Path = workload.ROOT, paths: Sequence[str] = ("src", "bench", "params")) -> str | None:
    """Return the commit of the code in a folder, with ``-dirty`` if a file has been edited; ``None`` without git.

    Args:
        folder: folder of the code; by default this project.
        paths: paths in the folder that are checked for edits; all if empty.
    """
    if shutil.which("git") is None:
        return None
    answers = [
        subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
        for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--", *paths])
    ]
    if any(answer.returncode for answer in answers):
        return None
    edited = [line for line in answers[1].stdout.splitlines() if " bench/results/" not in line]
    return answers[0].stdout.strip() + ("-dirty" if edited else "")
