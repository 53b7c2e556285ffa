r"""Every number that the paper may print, with its origin, and LaTeX macros ``\pnum{name}`` for those it prints."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pandas as pd

from palimpsest.analysis.claims import WORDS, read_verdicts
from palimpsest.analysis.frames import axes_of
from palimpsest.analysis.published import read_published
from palimpsest.analysis.runs import run_directory
from palimpsest.analysis.sequences import is_score_of_a_size, read_rates
from palimpsest.analysis.summary import summarised_metrics
from palimpsest.analysis.tables import INDEX, read_index, read_runs, read_summary, runs_file, summary_file
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import digest, read_json, sha256, write_text
from palimpsest.planning import plan
from palimpsest.planning.cards import load_card
from palimpsest.planning.parameters import Params, TrackName
from palimpsest.rendering.frames import CLAIMS, KEYS, best_cells, cell_of, cell_path, records, select
from palimpsest.rendering.latex import number
from palimpsest.rendering.tables import flattened, value_text

GENERALISATION = Path("tables/generalisation.csv")
NUMBERS = Path("paper/numbers.json")
MACROS = Path("paper/numbers.tex")

STATISTICS = ("mean", "low", "high")
"""What the paper may print of a metric: its mean over seeds and the ends of the interval."""


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
    hashed: str
    """SHA-256 of the file; of a file of parameters: of all its values."""


def write_numbers(params: Params, root: Path, *, published: Path) -> list[Number]:
    """Write ``paper/numbers.json``: the hash of every file, and the origin of every number, one line each.

    Args:
        params: the preset.
        root: product directory.
        published: the sources' own numbers, as YAML.

    Raises:
        DataError: a product is missing or broken.
        ParameterError: ``published`` is missing or is not YAML.
    """
    found = collect(params, root, published)
    files = {item.file: item.hashed for item in found}
    entries = {item.name: {k: v for k, v in asdict(item).items() if k not in ("name", "hashed")} for item in found}
    write_text(root / NUMBERS, f'{{"files": {_lines(files)},\n"numbers": {_lines(entries)}}}\n')
    return found


def _lines(content: dict[str, Any]) -> str:
    """A JSON object with one line a key, so that a change of one number is a change of one line."""
    lines = (f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in sorted(content.items()))
    return "{\n" + ",\n".join(lines) + "\n}"


def macros(names: Iterable[str], numbers: dict[str, dict[str, Any]]) -> str:
    r"""LaTeX that defines ``\pnum``, which prints a number by its name, and the numbers of these names.

    A name may hold letters, digits and ``. / = _ -``, hence the detour over ``\csname``. ``\pnum`` of an unknown name
    is an error of LaTeX; :mod:`palimpsest.rendering.paper` finds it before.

    Args:
        names: those that the paper prints.
        numbers: from :func:`read_numbers`.
    """
    head = [
        "% The numbers that the paper prints; numbers.json has their origin.",
        r"\makeatletter",
        r"\newcommand*{\pnum}[1]{\ifcsname palimpsest@#1\endcsname\csname palimpsest@#1\endcsname"
        r"\else\PackageError{palimpsest}{no number is called #1}{See numbers.json.}\fi}",
        r"\newcommand*{\palimpsest@number}[2]{\expandafter\def\csname palimpsest@#1\endcsname{\ensuremath{#2}}}",
    ]
    body = [rf"\palimpsest@number{{{name}}}{{{numbers[name]['text']}}}" for name in sorted(set(names))]
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
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and pd.isna(value) else value


def _of_parameters(params: Params) -> Iterator[Number]:
    """Every number of the preset, and how many values each list has."""
    file = f"params/{params.preset}.yaml"
    content = params.model_dump(mode="json", exclude={"workdir", "omit", "keep"})  # none is part of what is shown
    hashed = digest(content)
    for key, value in flattened(content).items():
        if value is None or isinstance(value, bool | str):
            continue
        if isinstance(value, list):
            if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in value):
                continue
            yield Number(f"params/{key}/count", len(value), _text(len(value)), file, {}, key, hashed)
            if not value:
                continue
            listed = r",\ ".join(value_text(item) for item in value)
            yield Number(f"params/{key}", value_text(value), listed, file, {}, key, hashed)
            for name, item in (("first", value[0]), ("last", value[-1])):
                yield Number(f"params/{key}/{name}", item, _parameter_text(item), file, {}, key, hashed)
        elif isinstance(value, int | float):
            yield Number(f"params/{key}", value, _parameter_text(value), file, {}, key, hashed)
    counts = [len(cell.seeds) for cell in plan.cells(params)]
    for name, count in (("fewest", min(counts)), ("most", max(counts))):
        yield Number(f"cells/seeds/{name}", count, _text(count), file, {}, "seeds", hashed)
    stopping = [track.training.stop_within is not None for _, _, track in plan.tracks(params)]
    for name, count in (("all", len(stopping)), ("stopping", sum(stopping))):
        yield Number(f"tracks/{name}", count, _text(count), file, {}, "experiments", hashed)
    percent = 100 * params.confidence
    yield Number("params/confidence/percent", percent, rf"{percent:g}\,\%", file, {}, "confidence", hashed)


def _parameter_text(value: float | int) -> str:
    """A parameter as it was chosen, not rounded."""
    if isinstance(value, int):
        return _text(value)
    mantissa, _, power = value_text(value).partition("e")
    return rf"{mantissa} \times 10^{{{int(power)}}}" if power else mantissa


def _of_published(published: Path) -> Iterator[Number]:
    """Every number that the sources printed; where a table is about several models, the name holds the model."""
    file, content = f"params/{published.name}", read_published(published)
    hashed = digest(content.model_dump(mode="json"))
    for experiment, source in content.experiments.items():
        for name, table in source.tables.items():
            for index, row in enumerate(table.rows):
                of = row.of.lower().replace(" ", "_")
                place = "/".join(filter(None, ["published", experiment, name, of, cell_path({**row.cell})]))
                key = f"experiments.{experiment}.tables.{name}.rows.{index}"
                selects = ({"of": row.of} if row.of else {}) | row.cell
                if row.runs is not None:
                    yield Number(f"{place}/n", row.runs, _text(row.runs), file, selects, f"{key}.runs", hashed)
                for value, item in row.values.items():
                    for part, printed in (("mean", item.mean), ("sd", item.sd)):
                        if printed is not None:
                            at = f"{key}.values.{value}.{part}"
                            yield Number(f"{place}/{value}/{part}", printed, _text(printed), file, selects, at, hashed)


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
        hashed = sha256(root / file)
        for key, value in _leaves(card):
            if isinstance(value, int | float) and not isinstance(value, bool):
                decimals = 4 if key.endswith("standard_error") else 3
                yield Number(f"data/{experiment}/{track}/{key}", value, _text(value, decimals), file, {}, key, hashed)


def _of_runs(root: Path) -> Iterator[Number]:
    """How many runs there are, how many of them diverged or are degenerate, and how large the models are."""
    index = read_index(root)
    yield Number(
        "runs/all", total := sum(index["runs"].to_list()), _text(total), str(INDEX), {}, "runs", sha256(root / INDEX)
    )
    for experiment in index["experiment"]:
        path = runs_file(experiment)
        hashed = sha256(root / path)
        for name, row, column, value in _counts(read_runs(root, experiment), experiment):
            yield Number(f"runs/{experiment}/{name}", value, _text(value), path.as_posix(), row, column, hashed)


def _counts(runs: pd.DataFrame, experiment: str) -> Iterator[tuple[str, dict[str, Any], str, int]]:
    """Name, row, column and value of the counts of one experiment."""
    for track, part in runs.groupby("track"):
        row = {"experiment": experiment, "track": track}
        diverged, flagged = part["status"] == "diverged", part["flags"] != ""
        yield f"{track}/all", row, "rows", len(part)
        yield f"{track}/diverged", row | {"status": "diverged"}, "rows", int(np.count_nonzero(diverged))
        yield f"{track}/flagged", row | {"flags": "any"}, "rows", int(np.count_nonzero(flagged))
        for model, of_model in part.groupby("model"):
            first = records(of_model)[0]
            longest = of_model[["steps", "epochs"]].max().to_dict()  # runs may stop early
            for column, value in {"parameters": first["parameters"], **longest}.items():
                yield f"{track}/{model}/{column}", row | {"model": model}, column, int(value)


def _of_cells(root: Path) -> Iterator[Number]:
    """Means and intervals of the test metrics of every cell, by its values; the one that validation chose is ``best``.

    Scores of sequences of one size are not among them: :func:`_of_sizes` has them. Nor are the elements of accuracy
    matrices, hundreds in each cell, of which figures and tables show all and the text names none.
    """
    for experiment in read_index(root)["experiment"]:
        summary, path = read_summary(root, experiment), summary_file(experiment)
        file, hashed, axes = path.as_posix(), sha256(root / path), axes_of(summary)
        metrics = [name for name in summarised_metrics(summary) if name.startswith("test_")]
        metrics = [name for name in metrics if not is_score_of_a_size(name) and "_after_" not in name]
        for row in records(best_cells(summary)):
            cell = cell_of(row, axes)
            name = f"{row['experiment']}/{row['track']}/{row['model']}/best"
            selects = {key: row[key] for key in KEYS} | cell
            yield from _of_row(name, row, selects, file, hashed, metrics)
            for axis, value in cell.items():
                if not isinstance(value, str):
                    yield Number(f"{name}/{axis}", value, _parameter_text(value), file, selects, axis, hashed)
        for row in records(summary):
            cell = cell_of(row, axes)
            name = "/".join(filter(None, [row["experiment"], row["track"], row["model"], cell_path(cell)]))
            yield from _of_row(name, row, {key: row[key] for key in KEYS} | cell, file, hashed, metrics)


def _of_row(
    name: str, row: dict[str, Any], selects: dict[str, Any], file: str, hashed: str, metrics: Iterable[str]
) -> Iterator[Number]:
    yield Number(f"{name}/n", int(row["n"]), _text(int(row["n"])), file, selects, "n", hashed)
    for metric in metrics:
        for statistic in STATISTICS:
            value = _plain(row[f"{metric}_{statistic}"])
            if value is not None:
                where = selects | {"metric": metric}
                yield Number(f"{name}/{metric}/{statistic}", value, _text(value), file, where, statistic, hashed)


def _of_sizes(root: Path) -> Iterator[Number]:
    """Scores of every cell by the size of sequences, how many of its runs succeeded, and which sizes there are.

    A size has its own name, with means, and one by its place, with all: the ``largest``, and the ``largest_trained``.
    """
    table, file = read_rates(root / GENERALISATION), GENERALISATION.as_posix()
    hashed, axes = sha256(root / GENERALISATION), axes_of(table)
    for key, part in table.groupby(["experiment", "track"]):
        experiment, track = cast("tuple[str, str]", key)
        where = f"sizes/{experiment}/{track}"
        sizes = {"largest": max(part["slice"]), "largest_trained": max(select(part, trained="yes")["slice"], default=0)}
        for name, size in sizes.items():
            if size:
                row = {"experiment": experiment, "track": track, "slice": int(size)}
                yield Number(f"{where}/{name}", int(size), _text(int(size)), file, row, "slice", hashed)
        for row in records(part):
            cell = cell_of(row, axes)
            base = "/".join(filter(None, [where, row["model"], cell_path(cell)]))
            selects = {key: row[key] for key in KEYS} | cell | {"slice": int(row["slice"])}
            at = f"{base}/at_{int(row['slice'])}"
            yield from _of_size(at, row, selects, file, hashed, _OF_EVERY_SIZE)
            for name in [name for name, size in sizes.items() if size == row["slice"]]:
                yield from _of_size(f"{base}/{name}", row, selects, file, hashed, _OF_A_PLACE)


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
    name: str, row: dict[str, Any], selects: dict[str, Any], file: str, hashed: str, columns: dict[str, str]
) -> Iterator[Number]:
    for ending, column in columns.items():
        value = _plain(row[column])
        if value is not None:
            yield Number(f"{name}/{ending}", value, _text(value), file, selects, column, hashed)


def _of_claims(root: Path) -> Iterator[Number]:
    """Estimate and interval behind every verdict, and how many claims have which verdict."""
    claims, file = read_verdicts(root / CLAIMS), CLAIMS.as_posix()
    hashed = sha256(root / CLAIMS)
    for row in records(claims):
        selects = {"claim": row["claim"], "track": row["track"]}
        for column in ("estimate", "low", "high", "n"):
            value = _plain(row[column])
            if value is not None:
                name = f"claims/{row['claim']}/{row['track']}/{column}"
                yield Number(name, value, _text(int(value) if column == "n" else value), file, selects, column, hashed)
    for track in sorted(get_args(TrackName)):  # of a preset that asks nothing on a track the count is 0
        for verdict in WORDS:
            value = len(select(claims, track=track, verdict=verdict))
            selects = {"track": track, "verdict": verdict}
            name = f"claims/{track}/{verdict.replace(' ', '_')}"
            yield Number(name, value, _text(value), file, selects, "rows", hashed)
    yield Number("claims/all", len(claims), _text(len(claims)), file, {}, "rows", hashed)


def read_numbers(path: Path) -> dict[str, dict[str, Any]]:
    """Read ``numbers.json``: name → value, text, file, row, column, and the hash of the file.

    Raises:
        DataError: it is missing or is not what :func:`write_numbers` writes.
    """
    content = read_json(path)
    try:
        files, numbers = content["files"], content["numbers"]
        return {name: {**item, "hashed": files[item["file"]], "text": item["text"]} for name, item in numbers.items()}
    except (TypeError, KeyError, AttributeError):
        raise DataError(f"{path}: not a list of numbers; allowed: what `palimpsest numbers` writes") from None


def explain(name: str, numbers_json: Path, root: Path) -> str:
    """Describe where a number came from.

    Args:
        name: as in ``numbers.json``.
        numbers_json: the file.
        root: product directory.

    Raises:
        ParameterError: no number has this name; the message names the nearest.
        DataError: the file is missing or broken.
    """
    numbers = read_numbers(numbers_json)
    if name not in numbers:
        raise ParameterError(
            f"{numbers_json}: {name!r}: no such number; allowed: {', '.join(nearest(name, numbers))}, …"
        )
    origin = numbers[name]
    file = origin["file"]
    lines = [f"{name} = {origin['value']}  (printed: {origin['text']})", f"file    {file}"]
    if origin["row"]:
        lines.append("row     " + ", ".join(f"{key} = {value}" for key, value in origin["row"].items()))
    lines.append(f"column  {origin['column']}")
    lines.append(f"sha256  {origin['hashed']}{_state(root / file, file, origin['hashed'])}")
    lines += [f"run     {path}" for path in _runs_behind(origin, root)]
    return "\n".join([*lines, f"commit  {_commit(root, file)}"])


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
    """The runs over which a mean of a cell, or a score by size, was taken."""
    row = origin["row"]
    if "model" not in row or "experiment" not in row or not (root / runs_file(row["experiment"])).is_file():
        return []
    if origin["file"] not in (summary_file(row["experiment"]).as_posix(), GENERALISATION.as_posix()):
        return []
    runs = read_runs(root, row["experiment"])
    axes = axes_of(runs)
    part = select(runs, **{key: row[key] for key in KEYS})
    for axis in axes:
        part = part.loc[part[axis] == row[axis] if axis in row else part[axis].isna()]
    return [run_directory(run, axes) for run in records(part)]


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
