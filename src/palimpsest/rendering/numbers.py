r"""Every number of the paper as a macro ``\pnum{name}``, with a sidecar that says where each came from."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from palimpsest.analysis.claims import read_verdicts
from palimpsest.analysis.frames import axes_of
from palimpsest.analysis.published import read_published
from palimpsest.analysis.runs import read_runs
from palimpsest.analysis.sequences import read_rates
from palimpsest.analysis.statistics import read_summary
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import digest, read_json, sha256, write_json, write_text
from palimpsest.planning import plan
from palimpsest.planning.cards import load_card
from palimpsest.planning.parameters import Params
from palimpsest.rendering.frames import CLAIMS, KEYS, RUNS, SUMMARY, best_cells, cell_of, cell_path, records, select
from palimpsest.rendering.latex import number
from palimpsest.rendering.tables import flattened, value_text

GENERALISATION = Path("tables/generalisation.csv")
NUMBERS = Path("paper/numbers.json")
MACROS = Path("paper/numbers.tex")

METRICS = (
    "test_accuracy_on",
    "test_accuracy_off",
    "test_accuracy_shuffled",
    "test_accuracy_random_writes",
    "test_write_ratio",
    "test_answer_written",
    "test_answer_kept",
    "test_utilisation",
    "test_age_steps",
    "test_update_rate",
    "test_forget_rate",
    "test_operations_per_step",
    "test_loss_stability",
    "test_sequence_accuracy",
    "test_slots_written",
    "test_read_focus",
)
"""Metrics whose mean and interval the prose may name, at the cell that validation chose and at every variant."""
METRICS_OF_EVERY_CELL = ("test_accuracy_on", "test_write_ratio")
"""Metrics whose mean the prose may name at any cell."""


@dataclass(frozen=True)
class Number:
    """One number and its origin."""

    name: str
    value: float | int | str | None
    text: str
    """LaTeX."""
    file: str
    """Below the product directory; of parameters: the preset."""
    row: dict[str, Any]
    """Column → value: what selects the row; of JSON and YAML: empty."""
    column: str
    """Column of the row; of JSON and YAML: dotted key."""
    inputs: dict[str, str]
    """File → SHA-256 of its content; of parameters: preset → digest of all its values."""


def write_numbers(params: Params, root: Path, *, published: Path) -> list[Number]:
    """Write ``paper/numbers.tex`` and ``paper/numbers.json``.

    Args:
        params: the preset.
        root: product directory.
        published: the sources' own numbers, as YAML.

    Raises:
        DataError: a product is missing or broken.
        ParameterError: ``published`` is missing or is not YAML.
    """
    found = collect(params, root, published)
    write_json(root / NUMBERS, {item.name: {k: v for k, v in asdict(item).items() if k != "name"} for item in found})
    write_text(root / MACROS, macros(found))
    return found


def macros(numbers: list[Number]) -> str:
    r"""LaTeX that defines every number and ``\pnum``, which prints one by its name.

    A name may hold letters, digits and ``. / = _ -``, hence the detour over ``\csname``. ``\pnum`` of an unknown name
    is an error of LaTeX; :mod:`palimpsest.rendering.paper` finds it before.
    """
    head = [
        "% Rendered from the results; numbers.json says where each number came from.",
        r"\makeatletter",
        r"\newcommand*{\pnum}[1]{\ifcsname palimpsest@#1\endcsname\csname palimpsest@#1\endcsname"
        r"\else\PackageError{palimpsest}{no number is called #1}{See numbers.json.}\fi}",
        r"\newcommand*{\palimpsest@number}[2]{\expandafter\def\csname palimpsest@#1\endcsname{\ensuremath{#2}}}",
    ]
    body = [rf"\palimpsest@number{{{item.name}}}{{{item.text}}}" for item in numbers]
    return "\n".join([*head, *body, r"\makeatother", ""])


def collect(params: Params, root: Path, published: Path) -> list[Number]:
    """Every number that the prose may use, sorted by name; a name that is given twice is an error.

    Raises:
        DataError: a product is missing or broken.
        ParameterError: ``published`` is missing or is not YAML.
    """
    found = [
        *_of_parameters(params),
        *_of_published(published),
        *_of_data(params, root),
        *_of_runs(root),
        *_of_cells(root),
        *_of_sizes(root),
        *_of_claims(root),
    ]
    names = [item.name for item in found]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{NUMBERS}: {repeated[0]}: given twice; allowed: each name once")
    return sorted(found, key=lambda item: item.name)


def _text(value: Any, decimals: int = 3) -> str:
    """A number without its dollar signs: the macro is set in mathematics wherever it stands."""
    return number(value, decimals).replace("$", "") if value is None or isinstance(value, int | float) else str(value)


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and pd.isna(value) else value


def _of_parameters(params: Params) -> Iterator[Number]:
    """Every number of the preset, and how many values each list has."""
    file = f"params/{params.preset}.yaml"
    content = params.model_dump(mode="json", exclude={"workdir"})  # where products go is no part of what they are
    inputs = {file: digest(content)}
    for key, value in flattened(content).items():
        if value is None or isinstance(value, bool | str):
            continue
        if isinstance(value, list):
            if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in value):
                continue
            listed = r",\ ".join(value_text(item) for item in value)
            yield Number(f"params/{key}", value_text(value), listed, file, {}, key, inputs)
            yield Number(f"params/{key}/count", len(value), _text(len(value)), file, {}, key, inputs)
            for name, item in (("first", value[0]), ("last", value[-1])):
                yield Number(f"params/{key}/{name}", item, _parameter_text(item), file, {}, key, inputs)
        elif isinstance(value, int | float):
            yield Number(f"params/{key}", value, _parameter_text(value), file, {}, key, inputs)
    percent = 100 * params.confidence
    yield Number("params/confidence/percent", percent, rf"{percent:g}\,\%", file, {}, "confidence", inputs)


def _parameter_text(value: float | int) -> str:
    """A parameter as it was chosen, not rounded."""
    if isinstance(value, int):
        return _text(value)
    mantissa, _, power = value_text(value).partition("e")
    return rf"{mantissa} \times 10^{{{int(power)}}}" if power else mantissa


def _of_published(published: Path) -> Iterator[Number]:
    """Every number that the sources printed; where a table is about several models, the name says of which."""
    file, content = f"params/{published.name}", read_published(published)
    inputs = {file: digest(content.model_dump(mode="json"))}
    for experiment, source in content.experiments.items():
        for name, table in source.tables.items():
            for index, row in enumerate(table.rows):
                of = row.of.lower().replace(" ", "_")
                place = "/".join(filter(None, ["published", experiment, name, of, cell_path({**row.cell})]))
                key = f"experiments.{experiment}.tables.{name}.rows.{index}"
                selects = ({"of": row.of} if row.of else {}) | row.cell
                if row.runs is not None:
                    yield Number(f"{place}/n", row.runs, _text(row.runs), file, selects, f"{key}.runs", inputs)
                for value, item in row.values.items():
                    for part, printed in (("mean", item.mean), ("sd", item.sd)):
                        if printed is not None:
                            at = f"{key}.values.{value}.{part}"
                            yield Number(f"{place}/{value}/{part}", printed, _text(printed), file, selects, at, inputs)


def _leaves(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested mappings and lists by dotted keys; items of lists are counted from 0."""
    if isinstance(content, dict | list):
        for name, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, content


def _of_data(params: Params, root: Path) -> Iterator[Number]:
    """Numbers of every data set's card."""
    for experiment, track, _ in plan.tracks(params):
        directory = plan.data_directory(experiment, track)
        card = load_card(root / directory)
        file = (directory / "card.json").as_posix()
        inputs = {file: sha256(root / file)}
        for key, value in _leaves(card):
            if isinstance(value, int | float) and not isinstance(value, bool):
                decimals = 4 if key.endswith("standard_error") else 3
                yield Number(f"data/{experiment}/{track}/{key}", value, _text(value, decimals), file, {}, key, inputs)


def _of_runs(root: Path) -> Iterator[Number]:
    """How many runs there are, how many of them diverged or are degenerate, and how large the models are."""
    runs, file = read_runs(root / RUNS), RUNS.as_posix()
    inputs = {file: sha256(root / RUNS)}

    def count(name: str, row: dict[str, Any], column: str, value: int) -> Number:
        return Number(name, value, _text(value), file, row, column, inputs)

    yield count("runs/all", {}, "rows", len(runs))
    for key, part in runs.groupby(["experiment", "track"]):
        experiment, track = cast("tuple[str, str]", key)
        row = {"experiment": experiment, "track": track}
        where = f"runs/{experiment}/{track}"
        yield count(f"{where}/all", row, "rows", len(part))
        yield count(
            f"{where}/diverged",
            row | {"status": "diverged"},
            "rows",
            int(np.count_nonzero(part["status"] == "diverged")),
        )
        yield count(f"{where}/flagged", row | {"flags": "any"}, "rows", int(np.count_nonzero(part["flags"] != "")))
        for model, of_model in part.groupby("model"):
            first = records(of_model)[0]
            for column in ("parameters", "steps", "epochs"):
                yield count(f"{where}/{model}/{column}", row | {"model": model}, column, int(first[column]))


def _of_cells(root: Path) -> Iterator[Number]:
    """Means and intervals of every model at the cell that validation chose, and the main means of every cell.

    A cell with a word among its values is a variant that stands for itself: it has all that the chosen cell has.
    """
    summary, file = read_summary(root / SUMMARY), SUMMARY.as_posix()
    inputs, axes = {file: sha256(root / SUMMARY)}, axes_of(summary)
    for row in records(best_cells(summary)):
        name = f"{row['experiment']}/{row['track']}/{row['model']}/best"
        selects = {key: row[key] for key in KEYS} | cell_of(row, axes)
        yield from _of_row(name, row, selects, file, inputs)
        for axis, value in cell_of(row, axes).items():
            if not isinstance(value, str):
                yield Number(f"{name}/{axis}", value, _parameter_text(value), file, selects, axis, inputs)
    for row in records(summary):
        cell = cell_of(row, axes)
        name = "/".join(filter(None, [row["experiment"], row["track"], row["model"], cell_path(cell)]))
        selects = {key: row[key] for key in KEYS} | cell
        if any(isinstance(value, str) for value in cell.values()):
            yield from _of_row(name, row, selects, file, inputs)
        else:
            yield from _of_row(name, row, selects, file, inputs, METRICS_OF_EVERY_CELL, ("mean",))


def _of_row(
    name: str,
    row: dict[str, Any],
    selects: dict[str, Any],
    file: str,
    inputs: dict[str, str],
    metrics: tuple[str, ...] = METRICS,
    statistics: tuple[str, ...] = ("mean", "low", "high"),
) -> Iterator[Number]:
    yield Number(f"{name}/n", int(row["n"]), _text(int(row["n"])), file, selects, "n", inputs)
    for metric in metrics:
        for statistic in statistics:
            column = f"{metric}_{statistic}"
            value = _plain(row[column]) if column in row else None
            if value is not None:
                yield Number(f"{name}/{metric}/{statistic}", value, _text(value), file, selects, column, inputs)


def _of_sizes(root: Path) -> Iterator[Number]:
    """Scores of every cell by the size of sequences, how many of its runs succeeded, and which sizes there are.

    A size has its own name, with means, and one by its place, with all: the ``largest``, and the ``largest_trained``.
    """
    table, file = read_rates(root / GENERALISATION), GENERALISATION.as_posix()
    inputs, axes = {file: sha256(root / GENERALISATION)}, axes_of(table)
    for key, part in table.groupby(["experiment", "track"]):
        experiment, track = cast("tuple[str, str]", key)
        where = f"sizes/{experiment}/{track}"
        sizes = {"largest": max(part["slice"]), "largest_trained": max(select(part, trained="yes")["slice"], default=0)}
        for name, size in sizes.items():
            if size:
                row = {"experiment": experiment, "track": track, "slice": int(size)}
                yield Number(f"{where}/{name}", int(size), _text(int(size)), file, row, "slice", inputs)
        for row in records(part):
            cell = cell_of(row, axes)
            base = "/".join(filter(None, [where, row["model"], cell_path(cell)]))
            selects = {key: row[key] for key in KEYS} | cell | {"slice": int(row["slice"])}
            at = f"{base}/at_{int(row['slice'])}"
            yield from _of_size(at, row, selects, file, inputs, _OF_EVERY_SIZE)
            for name in [name for name, size in sizes.items() if size == row["slice"]]:
                yield from _of_size(f"{base}/{name}", row, selects, file, inputs, _OF_A_PLACE)


_OF_EVERY_SIZE = {
    "runs": "runs",
    "succeeded": "succeeded",
    "accuracy/mean": "accuracy_mean",
    "sequence_accuracy/mean": "sequence_accuracy_mean",
}
"""What the prose may name of every size: end of the name → column of the table of sizes."""
_OF_A_PLACE = {
    "n": "n",
    **_OF_EVERY_SIZE,
    **{
        f"{metric}/{part}": f"{metric}_{part}"
        for metric in ("accuracy", "sequence_accuracy")
        for part in ("low", "high")
    },
    "success/mean": "success_rate",
    "success/low": "success_low",
    "success/high": "success_high",
}
"""The same of the sizes that are known by their place."""


def _of_size(
    name: str, row: dict[str, Any], selects: dict[str, Any], file: str, inputs: dict[str, str], columns: dict[str, str]
) -> Iterator[Number]:
    for ending, column in columns.items():
        value = _plain(row[column])
        if value is not None:
            yield Number(f"{name}/{ending}", value, _text(value), file, selects, column, inputs)


def _of_claims(root: Path) -> Iterator[Number]:
    """Estimate and interval behind every verdict, and how many claims have which verdict."""
    claims, file = read_verdicts(root / CLAIMS), CLAIMS.as_posix()
    inputs = {file: sha256(root / CLAIMS)}
    for row in records(claims):
        selects = {"claim": row["claim"], "track": row["track"]}
        for column in ("estimate", "low", "high", "n"):
            value = _plain(row[column])
            if value is not None:
                name = f"claims/{row['claim']}/{row['track']}/{column}"
                yield Number(name, value, _text(int(value) if column == "n" else value), file, selects, column, inputs)
    for track in sorted(claims["track"].unique()):
        for verdict in ("holds", "fails", "undecided"):
            value = len(select(claims, track=track, verdict=verdict))
            selects = {"track": track, "verdict": verdict}
            yield Number(f"claims/{track}/{verdict}", value, _text(value), file, selects, "rows", inputs)
    yield Number("claims/all", len(claims), _text(len(claims)), file, {}, "rows", inputs)


def read_numbers(path: Path) -> dict[str, dict[str, Any]]:
    """Read ``numbers.json``.

    Raises:
        DataError: it is missing or is not what :func:`write_numbers` writes.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(item, dict) and "text" in item for item in content.values()):
        raise DataError(f"{path}: not a list of numbers; allowed: what `palimpsest numbers` writes")
    return content


def explain(name: str, numbers_json: Path, root: Path) -> str:
    """Say where a number came from.

    Args:
        name: as in ``numbers.json``.
        numbers_json: the sidecar.
        root: product directory.

    Raises:
        ParameterError: no number has this name; the message names the nearest.
        DataError: the sidecar is missing or broken.
    """
    numbers = read_numbers(numbers_json)
    if name not in numbers:
        raise ParameterError(
            f"{numbers_json}: {name!r}: no such number; allowed: {', '.join(nearest(name, numbers))}, …"
        )
    origin = numbers[name]
    lines = [f"{name} = {origin['value']}  (printed: {origin['text']})", f"file    {origin['file']}"]
    if origin["row"]:
        lines.append("row     " + ", ".join(f"{key} = {value}" for key, value in origin["row"].items()))
    lines.append(f"column  {origin['column']}")
    for file, wanted in sorted(origin["inputs"].items()):
        lines.append(f"input   {file}  sha256 {wanted}{_state(root / file, file, wanted)}")
    lines += [f"run     {path}" for path in _runs_behind(origin, root)]
    return "\n".join([*lines, f"commit  {_commit(root, origin['file'])}"])


def nearest(name: str, known: dict[str, Any], count: int = 3) -> list[str]:
    """The names most like ``name``."""
    import difflib

    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.0)


def _state(path: Path, file: str, wanted: str) -> str:
    if file.startswith("params/"):
        return " (of its values)"
    if not path.is_file():
        return "  (the file is gone)"
    return "" if sha256(path) == wanted else "  (the file has changed since)"


def _runs_behind(origin: dict[str, Any], root: Path) -> list[str]:
    """The runs over which a number of the summary, or of the table of sizes, was taken."""
    from palimpsest.analysis.runs import run_directory

    tables = (SUMMARY.as_posix(), GENERALISATION.as_posix())
    if origin["file"] not in tables or "model" not in origin["row"] or not (root / RUNS).is_file():
        return []
    runs = read_runs(root / RUNS)
    axes = axes_of(runs)
    cell = {axis: origin["row"].get(axis) for axis in axes}
    part = select(runs, **{key: origin["row"][key] for key in KEYS})
    for axis, value in cell.items():
        part = part.loc[part[axis].isna() if value is None else part[axis] == value]
    return [run_directory(run, axes) for run in records(part)]  # type: ignore[arg-type]


def _commit(root: Path, file: str) -> str:
    """The last commit of a file, asked of git now, so that no product depends on history."""
    try:
        answer = subprocess.run(
            ["git", "log", "-1", "--format=%h %ad %s", "--date=short", "--", file],
            cwd=root, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "unknown: git did not answer"
    return answer.stdout.strip() or "none: the file is not committed"
