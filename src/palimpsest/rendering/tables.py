"""The tables of the paper as LaTeX, and those that only the paper needs as CSV too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from palimpsest import sources
from palimpsest.analysis.claim_file import Claims, read_claims
from palimpsest.analysis.claims import read_verdicts
from palimpsest.analysis.frames import axes_of, tidy
from palimpsest.analysis.published import Published, PublishedResults, compare, compare_models, read_published
from palimpsest.analysis.sequences import by_size, rates
from palimpsest.analysis.tables import read_runs, read_summary, runs_file, summary_file
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import read_json, write_text
from palimpsest.foundation.sections import format_value
from palimpsest.planning import plan
from palimpsest.planning.cards import load_card
from palimpsest.planning.parameters import Params
from palimpsest.rendering import style
from palimpsest.rendering.claim_matrix import matrix_table
from palimpsest.rendering.continual_tables import continual_table
from palimpsest.rendering.frames import (
    CLAIMS,
    EVIDENCE,
    KEYS,
    axes_of_words,
    best_cells,
    cell_from_path,
    cell_of,
    cell_path,
    records,
    rows_of_cell,
)
from palimpsest.rendering.latex import (
    bounds,
    breakable,
    escape,
    escape_with_breaks,
    interval,
    longtable,
    number,
    ragged,
    tabular,
)
from palimpsest.rendering.lifecycle_tables import ablations_table, lifecycle_frame, lifecycle_table
from palimpsest.rendering.score_tables import score_table
from palimpsest.rendering.sequence_tables import generalisation_table
from palimpsest.rendering.table_parts import Entry, cell_text, grouped, heading, spanning, titles_of
from palimpsest.sources.shared.checks import located
from palimpsest.sources.shared.tables import Continual, Scores

MARKS = {
    "writes_nothing": ("a", "test_write_ratio", "writes nothing"),
    "writes_everything": ("b", "test_write_ratio", "writes everything"),
    "at_floor": ("c", "test_accuracy_on", "not above the informed floor"),
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
    """Write every table below ``tables/``: claims, summary, models and those that its sources describe.

    Args:
        params: the preset.
        root: product directory.
        claims: the claims as data, for the statement of each.
        published: the sources' own numbers.

    Returns:
        The files.

    Raises:
        DataError: a table of the analysis is missing or broken.
        ParameterError: ``claims`` or ``published`` is wrong.
    """
    runs, summary = read_runs(root), read_summary(root)
    verdicts, stated, evidence = read_verdicts(root / CLAIMS), read_claims(claims), read_evidence(root / EVIDENCE)
    content = {
        **_claims(params, verdicts, stated),
        "claims_matrix.tex": matrix_table(verdicts, stated, evidence),
        "summary_final_epoch.tex": summary_table(runs, summary, params),
        **_comparison(params, summary, read_published(published)),
        **_models(params, root, runs, summary),
        **_lifecycle(params, runs, summary),
        "ablations.tex": ablations_table(summary, evidence, titles_of(params)),
        **_generalisation(params, runs),
        "parameters.tex": parameters_table(params),
        **_scores(params, summary),
        **_continual(params, summary),
    }
    names = sources.table_files(params.experiments)
    for name in names:
        write_text(root / "tables" / name, content[name])
    return [root / "tables" / name for name in names]


def _scores(params: Params, summary: pd.DataFrame) -> dict[str, str]:
    """The tables of scores that the manifests describe."""
    tables = {}
    for name, source in sources.present(params.experiments).items():
        for table in source.tables:
            if isinstance(table, Scores):
                try:
                    text = score_table(table, summary, source.experiment_names, titles_of(params))
                except KeyError as error:
                    raise ParameterError(
                        f"{located(name)}: tables.{table.name}.metrics: {error.args[0]!r}: no run has it; "
                        "allowed: metrics of the final epoch"
                    ) from None
                tables[table.files[0]] = text
    return tables


def _continual(params: Params, summary: pd.DataFrame) -> dict[str, str]:
    """The tables of continual learning that the manifests describe; one of several sources is about all of them."""
    described: dict[Continual, list[str]] = {}
    for source in sources.present(params.experiments).values():
        for table in source.tables:
            if isinstance(table, Continual):
                described.setdefault(table, []).extend(table.experiments or source.experiment_names)
    return {
        table.files[0]: continual_table(table, summary, experiments, titles_of(params))
        for table, experiments in described.items()
    }


def read_evidence(path: Path) -> list[dict[str, Any]]:
    """Read ``claims_evidence.json``.

    Raises:
        DataError: it is missing or is not what ``palimpsest claims`` writes.
    """
    content = read_json(path)
    needed = {"claim", "kind", "estimate", "low", "high", "cells", "runs"}
    if not isinstance(content, list) or not all(isinstance(one, dict) and needed <= set(one) for one in content):
        raise DataError(f"{path}: not the evidence of claims; allowed: what `palimpsest claims` writes")
    return content


def _claims(params: Params, verdicts: pd.DataFrame, claims: Claims) -> dict[str, str]:
    """All claims, and those of each source apart."""
    titles = titles_of(params)
    tables = {
        "claims.tex": claims_table(verdicts, claims, titles),
        "claims_sensitivity.tex": sensitivity_table(verdicts),
    }
    for source in sorted({experiment.source for experiment in params.experiments.values()}):
        own = [claims.claims[name].source == source if name in claims.claims else False for name in verdicts["claim"]]
        tables[f"claims_{source}.tex"] = claims_table(verdicts.loc[own], claims, titles)
    return tables


def _comparison(params: Params, summary: pd.DataFrame, numbers: Published) -> dict[str, str]:
    """The sources' own numbers beside ours, experiment by experiment."""
    compared, parts, titles = {}, [], titles_of(params)
    for name in [name for name in numbers.experiments if name in params.experiments]:
        source = numbers.experiments[name]
        if not source.names_models:
            compared[name] = compare(summary, numbers, name)
            parts.append(comparison_table(compared[name], source, titles[name]))
        elif (models := compare_models(summary, numbers, name)) is not None:
            compared[name] = models
            parts.append(model_comparison_table(models, source, titles[name]))
    columns = pd.concat([table.assign(experiment=name) for name, table in compared.items()] or [_NO_COMPARISON])
    return {
        "comparison.csv": _csv(columns.loc[:, ["experiment", *columns.columns.drop("experiment")]]),
        "comparison.tex": "\n\\medskip\n".join(parts)
        or tabular("@{}l@{}", ["source"], [["no source has numbers of its own"]]),
    }


_NO_COMPARISON = pd.DataFrame(columns=["experiment"])


def _models(params: Params, root: Path, runs: pd.DataFrame, summary: pd.DataFrame) -> dict[str, str]:
    models = models_frame(params, root, runs, summary)
    return {"models.csv": _csv(models), "models.tex": models_table(models, titles_of(params))}


def _lifecycle(params: Params, runs: pd.DataFrame, summary: pd.DataFrame) -> dict[str, str]:
    table = lifecycle_frame(runs, summary)
    return {"lifecycle.csv": _csv(table), "lifecycle.tex": lifecycle_table(table, titles_of(params))}


def _generalisation(params: Params, runs: pd.DataFrame) -> dict[str, str]:
    table = rates(by_size(params, runs), params.confidence)
    return {
        "generalisation.csv": _csv(table),
        "generalisation.tex": generalisation_table(table, titles_of(params), params.confidence),
    }


def _csv(table: pd.DataFrame) -> str:
    return tidy(table).to_csv(index=False, lineterminator="\n")


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


def summary_table(runs: pd.DataFrame, summary: pd.DataFrame, params: Params) -> str:
    """Every cell of every model: seeds, write ratio, and accuracy under the treatments of the memory."""
    axes, entries = axes_of(summary), []
    last: tuple[str, ...] = ()
    for row in records(summary):
        here = tuple(row[key] for key in KEYS)
        name = escape(style.label(row["model"])) if last != here else ""
        last = here
        of_cell = rows_of_cell(runs, row, axes)
        lost = rf"\,+\,{number(int(row['diverged']))}" if row["diverged"] else ""
        values = [
            interval(row.get(f"{metric}_mean"), row.get(f"{metric}_low"), row.get(f"{metric}_high"))
            + _marks(of_cell, metric)
            for metric, _ in _SUMMARISED
        ]
        count = f"{number(int(row['n']))}{lost}{_marks(of_cell, 'n')}"
        cells = [name, cell_text(cell_of(row, axes)), count, *values]
        entries.append(Entry(row["experiment"], row["track"], row["model"], cells))
    header = ["track", "model", "cell", "$n$", *(escape(title) for _, title in _SUMMARISED)]
    caption = (
        "Final epoch, test split: mean over seeds with its interval, in brackets, at "
        f"{escape(format(params.confidence, '.0%'))}. $n$ counts completed runs, after a plus sign those that diverged."
        f" {_legend()}"
    )
    rows = grouped(entries, titles_of(params), len(header), "no run")
    return longtable("@{}lllrllll@{}", header, rows, caption, "tab:summary")


def claims_table(verdicts: pd.DataFrame, claims: Claims, titles: Mapping[str, str]) -> str:
    """Verdicts: a row a claim and track, below a heading for each experiment.

    Args:
        verdicts: ``claims.csv``, or some of its rows.
        claims: the statement of each claim; one that is not there is shown by its name alone.
        titles: experiment → title; a claim about another experiment stands below no heading.
    """
    header = ["claim", "track", "verdict", "$n$", "estimate", "reason"]
    rows: list[Sequence[str] | None] = []
    last = experiment = ""
    for row in records(verdicts):
        new, known = row["claim"] != last, claims.claims.get(row["claim"])
        if new and known is not None and known.experiment in titles and known.experiment != experiment:
            rows += heading(titles[known.experiment], len(header), first=not rows)
            experiment = known.experiment
        elif new and rows:
            rows.append(None)
        last = row["claim"]
        statement = rf"\textbf{{{escape(row['claim'])}}}" + (f" {escape(known.statement)}" if known else "")
        shown = (
            f"{number(_float(row['estimate']))} {bounds(_float(row['low']), _float(row['high']))} {escape(row['unit'])}"
        )
        count = number(int(row["n"])) if not pd.isna(row["n"]) else "--"
        verdict = rf"\textbf{{{escape(row['verdict'])}}}"
        rows.append(
            [statement if new else "", escape(row["track"]), verdict, count, shown, escape_with_breaks(row["reason"])]
        )
    columns = "@{}" + ragged(0.2) + "llr" + ragged(0.15) + ragged(0.35) + "@{}"
    return tabular(columns, header, rows or [[spanning("no claim is decided", len(header))]])


def sensitivity_table(verdicts: pd.DataFrame) -> str:
    """What another choice would have given: a row a claim and track; a verdict that differs is bold.

    Args:
        verdicts: ``claims.csv``.
    """
    others = ("uncorrected", "half_of_seeds", "same_seeds_choose")
    header = ["claim", "track", "verdict", "uncorrected", "half of the seeds", "same seeds choose", "conditions"]
    rows: list[Sequence[str] | None] = []
    last = ""
    for row in records(verdicts):
        found = [
            escape(row[name]) if row[name] == row["verdict"] else rf"\textbf{{{escape(row[name])}}}" for name in others
        ]
        met = str(row["conditions"] or "").partition(";")[0]
        name = escape(row["claim"]) if row["claim"] != last else ""
        rows.append([name, escape(row["track"]), escape(row["verdict"]), *found, escape(met)])
        last = row["claim"]
    return tabular("@{}lllllll@{}", header, rows or [[spanning("no claim is decided", len(header))]])


def _float(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def models_frame(params: Params, root: Path, runs: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """One row a track, model and variant, at the cell that validation chose: size, budget, accuracy, levels.

    Variants are cells that differ in an axis of words, and not in numbers among which validation could choose.
    ``examples_seen`` counts an example as often as it came by: in every epoch, or, in a stream, once. Where runs of a
    cell stopped early, it and ``steps`` are those of the run that was trained longest.

    Args:
        params: the preset.
        root: product directory, in which data sets have cards.
        runs: one row a run.
        summary: one row a cell.

    Raises:
        DataError: a card is missing or broken, or a cell of the summary has no run.
    """
    axes, rows = axes_of(summary), []
    for row in records(best_cells(summary, axes_of_words(summary))):
        of_cell = rows_of_cell(runs, row, axes)
        if of_cell.empty:
            own = runs_file(row["experiment"])
            raise DataError(
                f"{summary_file(row['experiment'])}: {row['track']}, {row['model']}: no run of this cell in {own}; "
                "allowed: one at least"
            )
        first = records(of_cell)[0]
        card = load_card(root / plan.data_directory(row["experiment"], row["track"]))
        rows.append(
            {
                **{key: row[key] for key in KEYS},
                "cell": cell_path(cell_of(row, axes)),
                "parameters": int(first["parameters"]),
                "steps": int(np.max(of_cell["steps"].to_numpy())),
                "examples_seen": _examples_seen(params, of_cell, int(card["examples"]["train"])),
                "n": int(row["n"]),
                "accuracy_mean": row["test_accuracy_on_mean"],
                "accuracy_low": row["test_accuracy_on_low"],
                "accuracy_high": row["test_accuracy_on_high"],
                "chance": float(first["chance"]),
                "floor": float(first["floor"]),
                "ceiling": float(first["ceiling"]),
            }
        )
    return pd.DataFrame(rows)


def _examples_seen(params: Params, of_cell: pd.DataFrame, examples: int) -> int:
    """How many examples of a training split came by, with repetitions, in the longest run of a cell."""
    run, longest = records(of_cell)[0], int(np.max(of_cell["epochs"].to_numpy()))
    track = params.experiments[run["experiment"]].tracks[run["track"]]
    own = [track.training.model_dump() | grid.training for grid in track.grids.values() if grid.model == run["model"]]
    if {training["order"] for training in own} != {"stream"}:
        return longest * examples
    return min(examples, int(np.max(of_cell["steps"].to_numpy())) * max(training["batch_size"] for training in own))


def models_table(models: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """:func:`models_frame` as LaTeX.

    Args:
        models: the frame.
        titles: experiment → title.
    """
    entries = []
    for row in records(models):
        cells = [
            escape(style.label(row["model"])),
            cell_text(cell_from_path(str(row["cell"]))),
            number(row["parameters"]),
            number(row["steps"]),
            number(row["examples_seen"]),
            interval(row["accuracy_mean"], row["accuracy_low"], row["accuracy_high"]),
            number(row["chance"]),
            number(row["floor"]),
            number(row["ceiling"]),
        ]
        entries.append(Entry(row["experiment"], row["track"], "", cells))
    levels = ["chance", "floor", "ceiling"]
    header = ["track", "model", "cell", "parameters", "steps", "examples", "test accuracy", *levels]
    rows = grouped(entries, titles, len(header), "no run")
    caption = (
        "Size, budget and test accuracy of every model, with its interval in brackets. Of a model "
        "with a grid, the cell with the highest accuracy on validation is shown; of several, the one that writes "
        "least. Floor is the informed one."
    )
    return longtable("@{}lllrrrlrrr@{}", header, rows, caption, "tab:models")


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
    for key, value in flattened(params.model_dump(mode="json", exclude={"workdir", "omit", "keep"})).items():
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
    return longtable("@{}" + ragged(0.5) + ragged(0.45) + "@{}", ["key", "value"], rows, caption, "tab:parameters")


def comparison_table(compared: pd.DataFrame, source: PublishedResults, title: str) -> str:
    """The source's tables beside our published track: mean and standard deviation over runs.

    Args:
        compared: :func:`palimpsest.analysis.published.compare`.
        source: what the source printed, which names the tables and their values.
        title: of the experiment.
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
    rows: list[Sequence[str] | None] = [*heading(title, column, first=True)]
    for row in records(compared):
        cells = [escape(format_value(float(row[axis]))) for axis in axes]
        for name, values in groups.items():
            cells += [_with_sd(row[f"{name}_{value}_mean"], row[f"{name}_{value}_sd"]) for value in values]
        rows.append(cells)
    above = " & ".join([*[""] * len(axes), *spans]) + r" \\ " + "".join(rules)
    return tabular(f"@{{}}{'r' * len(axes)}{'l' * (column - len(axes))}@{{}}", header, rows, above=above)


def model_comparison_table(compared: pd.DataFrame, source: PublishedResults, title: str) -> str:
    """The source's models, ours below them, and what has to be known of theirs: mean and standard deviation over runs.

    Args:
        compared: :func:`palimpsest.analysis.published.compare_models`.
        source: what the source printed.
        title: of the experiment.
    """
    header = ["model", "by", "$n$", *(escape(value.replace("_", " ")) for value in source.ours)]
    rows: list[Sequence[str] | None] = [*heading(title, len(header), first=True)]
    for row in records(compared):
        theirs, cell = row["by"] in source.tables, cell_from_path(row["cell"])
        name = escape(row["model"] if theirs else style.label(row["model"]))
        by = f"source: {row['by']}" if theirs else f"ours: {row['by']}"
        values = [_with_sd(row[f"{value}_mean"], row[f"{value}_sd"]) for value in source.ours]
        count = "--" if pd.isna(row["n"]) else number(int(row["n"]))
        rows.append([name + (f", {cell_text(cell)}" if cell else ""), escape(by), count, *values])
    rows.insert(1 + sum(len(table.rows) for table in source.tables.values()), None)
    notes = [f"{name}: {table.note}" for name, table in source.tables.items() if table.note]
    wide = rf"\multicolumn{{{len(header)}}}{{@{{}}" + ragged(0.75) + "@{}}"
    rows += [None, *([f"{wide}{{{escape(note)}}}"] for note in notes)] if notes else []
    return tabular(f"@{{}}llr{'l' * len(source.ours)}@{{}}", header, rows)


def _with_sd(mean: float, sd: float) -> str:
    shown = number(_float(mean))
    return shown if pd.isna(mean) or pd.isna(sd) else rf"{shown}\,{{\tiny$\pm${number(float(sd))}}}"
