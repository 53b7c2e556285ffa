"""The tables of the paper as LaTeX, and those that only the paper needs as CSV too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from palimpsest import specs
from palimpsest.analysis.claim_file import read_claims
from palimpsest.analysis.claims import read_verdicts
from palimpsest.analysis.frames import axes_of, tidy
from palimpsest.analysis.published import PublishedResults, compare, read_published
from palimpsest.analysis.runs import read_runs
from palimpsest.analysis.statistics import read_summary
from palimpsest.config import Params, format_value
from palimpsest.errors import DataError, ParameterError
from palimpsest.files import write_text
from palimpsest.rendering import style
from palimpsest.rendering.frames import CLAIMS, KEYS, RUNS, SUMMARY, best_cells, cell_of, cell_path, records
from palimpsest.rendering.latex import bounds, breakable, escape, interval, longtable, number, tabular

MARKS = {
    "writes_nothing": ("a", "test_write_ratio", "writes nothing"),
    "writes_everything": ("b", "test_write_ratio", "writes everything"),
    "at_chance": ("c", "test_accuracy_on", "not above chance"),
    "memory_unused": ("d", "test_accuracy_off", "exactly as accurate with the memory off as on"),
    "not_finite": ("e", "n", "not finite"),
}
"""Flag of a degenerate run → its mark, the number beside which the mark stands, and what it means."""

_SUMMARISED = (
    ("test_write_ratio", "write ratio"),
    ("test_accuracy_on", "memory on"),
    ("test_accuracy_off", "off"),
    ("test_accuracy_shuffled", "swapped"),
)


def write_tables(params: Params, root: Path, *, claims: Path, published: Path) -> list[Path]:
    """Write every table below ``tables/``: claims, summary, comparison, models and parameters.

    Args:
        params: the preset.
        root: product directory.
        claims: the claims as data, for what each says.
        published: the sources' own numbers.

    Returns:
        The files.

    Raises:
        DataError: a table of the analysis is missing or broken.
        ParameterError: ``claims`` or ``published`` is wrong.
    """
    runs, summary = read_runs(root / RUNS), read_summary(root / SUMMARY)
    statements = {name: claim.statement for name, claim in read_claims(claims).claims.items()}
    models = models_frame(params, runs, summary)
    numbers = read_published(published)
    compared = {name: compare(summary, numbers, name) for name in numbers.experiments if name in params.experiments}
    if not compared:
        raise ParameterError(
            f"{published}: experiments: none of the preset's; allowed: {', '.join(params.experiments)}"
        )
    columns = pd.concat([table.assign(experiment=name) for name, table in compared.items()])
    content = {
        "claims.tex": claims_table(read_verdicts(root / CLAIMS), statements),
        "summary_final_epoch.tex": summary_table(runs, summary, params.confidence),
        "comparison.csv": _csv(columns.loc[:, ["experiment", *columns.columns.drop("experiment")]]),
        "comparison.tex": "\n".join(comparison_table(compared[name], numbers.experiments[name]) for name in compared),
        "models.csv": _csv(models),
        "models.tex": models_table(models),
        "parameters.tex": parameters_table(params),
    }
    for name, text in content.items():
        write_text(root / "tables" / name, text)
    return [root / "tables" / name for name in content]


def _csv(table: pd.DataFrame) -> str:
    return tidy(table).to_csv(index=False, lineterminator="\n")


def cell_text(cell: dict[str, Any]) -> str:
    """A cell as a reader sees it, escaped: λ = 0.05, τ = 0.5."""
    parts = []
    for axis, value in cell.items():
        name = style.SYMBOLS.get(axis, escape(axis.replace("_", " ")))
        parts.append(f"{name}\\,=\\,{escape(format_value(value))}")
    return ", ".join(parts) or "--"


def _cells(table: pd.DataFrame, row: dict[str, Any], axes: Sequence[str]) -> pd.DataFrame:
    """The rows of ``table`` that belong to the cell of ``row``."""
    mask = pd.Series(True, index=table.index)
    for column in [*KEYS, *axes]:
        value = row[column]
        mask &= table[column].isna() if pd.isna(value) else table[column] == value
    return table.loc[mask]


def _marks(runs: pd.DataFrame, metric: str) -> str:
    """The marks of a cell's flags beside one of its numbers, each with its share of runs where not all have it."""
    marks = []
    for flag, (mark, place, _) in MARKS.items():
        count = int(runs["flags"].str.split(";").map(lambda flags, flag=flag: flag in flags).sum())
        if place == metric and count:
            marks.append(mark if count == len(runs) else f"{mark}:{count}/{len(runs)}")
    return rf"\,$^{{\mathrm{{{','.join(marks)}}}}}$" if marks else ""


def _legend() -> str:
    marks = "; ".join(f"{mark}: {escape(meaning)}" for mark, _, meaning in MARKS.values())
    return f"Degenerate runs are marked ({marks}), with their share where not every seed is so."


def summary_table(runs: pd.DataFrame, summary: pd.DataFrame, confidence: float) -> str:
    """Every cell of every model: seeds, write ratio, and accuracy under the treatments of the memory."""
    axes, rows, last = axes_of(summary), [], None
    for row in records(summary):
        if last not in (None, (row["track"], row["model"])):
            rows.append(None)
        name = escape(style.label(row["model"])) if last != (row["track"], row["model"]) else ""
        track = escape(row["track"]) if last is None or last[0] != row["track"] else ""
        last = (row["track"], row["model"])
        of_cell = _cells(runs, row, axes)
        lost = rf"\,+\,{number(int(row['diverged']))}" if row["diverged"] else ""
        values = [
            interval(row.get(f"{metric}_mean"), row.get(f"{metric}_low"), row.get(f"{metric}_high"))
            + _marks(of_cell, metric)
            for metric, _ in _SUMMARISED
        ]
        count = f"{number(int(row['n']))}{lost}{_marks(of_cell, 'n')}"
        rows.append([track, name, cell_text(cell_of(row, axes)), count, *values])
    header = ["track", "model", "cell", "$n$", *(escape(title) for _, title in _SUMMARISED)]
    caption = (
        f"Final epoch, test split: mean over seeds with the half width of its Student-$t$ interval at "
        f"{escape(format(confidence, '.0%'))}. $n$ counts completed runs, after a plus sign those that diverged. "
        f"{_legend()}"
    )
    return longtable("@{}lllrllll@{}", header, rows, caption, "tab:summary")


def claims_table(claims: pd.DataFrame, statements: dict[str, str]) -> str:
    """Verdicts: a row a claim and track.

    Args:
        claims: ``claims.csv``.
        statements: what each claim says, by its name; one without a statement is shown by its name alone.
    """
    rows: list[Sequence[str] | None] = []
    last = None
    for row in records(claims):
        new = row["claim"] != last
        if new and last is not None:
            rows.append(None)
        last = row["claim"]
        statement = statements.get(row["claim"], "")
        said = rf"\textbf{{{escape(row['claim'])}}}" + (f" {escape(statement)}" if statement else "")
        shown = (
            f"{number(_float(row['estimate']))} {bounds(_float(row['low']), _float(row['high']))} {escape(row['unit'])}"
        )
        count = number(int(row["n"])) if not pd.isna(row["n"]) else "--"
        verdict = rf"\textbf{{{escape(row['verdict'])}}}"
        rows.append([said if new else "", escape(row["track"]), verdict, count, shown, escape(row["reason"])])
    header = ["claim", "track", "verdict", "$n$", "estimate", "reason"]
    columns = "@{}" + _ragged(0.2) + "llr" + _ragged(0.15) + _ragged(0.35) + "@{}"
    return tabular(columns, header, rows)


def _ragged(share: float) -> str:
    """A column of running text, as wide as this share of the text."""
    return rf">{{\raggedright\arraybackslash}}p{{{share}\textwidth}}"


def _float(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def models_frame(params: Params, runs: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """One row a track and model, at the cell that validation chose: size, budget, accuracy, chance and ceiling."""
    axes, rows = axes_of(summary), []
    for row in records(best_cells(summary)):
        of_cell = _cells(runs, row, axes)
        if of_cell.empty:
            raise DataError(
                f"{SUMMARY}: {row['track']}, {row['model']}: no run of this cell in {RUNS}; allowed: one at least"
            )
        first = records(of_cell)[0]
        track = params.experiments[row["experiment"]].tracks[row["track"]]
        size = specs.task_config(track, "params", f"experiments.{row['experiment']}.tracks.{row['track']}").num_train  # type: ignore[attr-defined]
        rows.append(
            {
                **{key: row[key] for key in KEYS},
                "cell": cell_path(cell_of(row, axes)),
                "parameters": int(first["parameters"]),
                "steps": int(np.max(of_cell["steps"].to_numpy())),
                "examples_seen": int(np.max(of_cell["epochs"].to_numpy())) * int(size),
                "n": int(row["n"]),
                "accuracy_mean": row["test_accuracy_on_mean"],
                "accuracy_low": row["test_accuracy_on_low"],
                "accuracy_high": row["test_accuracy_on_high"],
                "chance": float(first["chance"]),
                "ceiling": float(first["ceiling"]),
            }
        )
    return pd.DataFrame(rows)


def models_table(models: pd.DataFrame) -> str:
    """:func:`models_frame` as LaTeX."""
    rows: list[Sequence[str] | None] = []
    last = None
    for row in records(models):
        new = row["track"] != last
        if new and last is not None:
            rows.append(None)
        last = row["track"]
        rows.append(
            [
                escape(row["track"]) if new else "",
                escape(style.label(row["model"])),
                cell_text(dict(part.split("=", 1) for part in str(row["cell"]).split("/") if part)),
                number(row["parameters"]),
                number(row["steps"]),
                number(row["examples_seen"]),
                interval(row["accuracy_mean"], row["accuracy_low"], row["accuracy_high"]),
                number(row["chance"]),
                number(row["ceiling"]),
            ]
        )
    header = ["track", "model", "cell", "parameters", "steps", "examples", "test accuracy", "chance", "ceiling"]
    return tabular("@{}lllrrrlrr@{}", header, rows)


def flattened(content: Any, key: str = "") -> dict[str, Any]:
    """Nested values by dotted keys; lists stay values.

    >>> flattened({"a": {"b": 1, "c": [2, 3]}, "d": {}})
    {'a.b': 1, 'a.c': [2, 3], 'd': {}}
    """
    if not isinstance(content, dict) or not content:
        return {key: content}
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= flattened(value, f"{key}.{name}" if key else str(name))
    return flat


def value_text(value: Any) -> str:
    """A parameter as a person would type it in YAML.

    >>> value_text([0, 0.05, True]), value_text(None), value_text({})
    ('0, 0.05, true', 'null', '{}')
    """
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value))
    if isinstance(value, bool | int | float):
        return format_value(value)
    return "null" if value is None else str(value)


_PARTS_OF_A_TRACK = len(["experiments", "<name>", "tracks", "<name>"])


def parameters_table(params: Params) -> str:
    """Every parameter of the preset; what the keys below a track have in common is a heading above them."""
    rows: list[Sequence[str] | None] = []
    last = ""
    for key, value in flattened(params.model_dump(mode="json", exclude={"workdir"})).items():
        if value == {}:
            continue
        parts = key.split(".")
        heading = ".".join(parts[: min(len(parts) - 1, _PARTS_OF_A_TRACK)])
        rest = key.removeprefix(f"{heading}.")
        if heading != last:
            rows += [None, [rf"\multicolumn{{2}}{{@{{}}l@{{}}}}{{{breakable(heading)}}}"]]
            last = heading
        rows.append([(r"\quad " if heading else "") + breakable(rest), breakable(value_text(value))])
    caption = (
        f"Every parameter of the preset {breakable(params.preset)}; "
        "what is not listed has the default of its model or task."
    )
    return longtable("@{}" + _ragged(0.5) + _ragged(0.45) + "@{}", ["key", "value"], rows, caption, "tab:parameters")


def comparison_table(compared: pd.DataFrame, source: PublishedResults) -> str:
    """The source's tables beside our published track: mean and standard deviation over runs.

    Args:
        compared: :func:`palimpsest.analysis.published.compare`.
        source: what the source printed, which names the tables and their values.
    """
    groups = {name: list(table.rows[0].values) for name, table in source.tables.items()}
    groups = {name: sorted(values, key=list(source.ours).index) for name, values in groups.items()}
    groups["published"] = list(source.ours)
    titles = {**{name: f"source: {name}" for name in source.tables}, "published": "ours"}
    axes = list(
        compared.columns[: compared.columns.get_loc(next(n for n in compared.columns if n.endswith(("_n", "_mean"))))]
    )
    spans, rules, header, column = [], [], [style.symbol(axis) for axis in axes], len(axes)
    for name, values in groups.items():
        spans.append(rf"\multicolumn{{{len(values)}}}{{c}}{{{escape(titles[name])}}}")
        rules.append(rf"\cmidrule(lr){{{column + 1}-{column + len(values)}}}")
        header += [escape(value.replace("accuracy_", "acc. ").replace("_", " ")) for value in values]
        column += len(values)
    rows: list[Sequence[str] | None] = []
    for row in records(compared):
        cells = [escape(format_value(float(row[axis]))) for axis in axes]
        for name, values in groups.items():
            cells += [_with_sd(row[f"{name}_{value}_mean"], row[f"{name}_{value}_sd"]) for value in values]
        rows.append(cells)
    spanning = " & ".join(["", *[""] * (len(axes) - 1), *spans]) + r" \\ " + "".join(rules)
    return tabular(f"@{{}}{'r' * len(axes)}{'l' * (column - len(axes))}@{{}}", header, rows, above=spanning)


def _with_sd(mean: float, sd: float) -> str:
    shown = number(_float(mean))
    return shown if pd.isna(mean) or pd.isna(sd) else rf"{shown}\,{{\tiny$\pm${number(float(sd))}}}"
