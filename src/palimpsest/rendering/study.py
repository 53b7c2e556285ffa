"""Tables and a figure of the studies of a pretrained model, which `make lm` runs (source 003)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from palimpsest.analysis.statistics import proportion_interval
from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import write_text
from palimpsest.foundation.sections import read_yaml
from palimpsest.language.study_rows import (
    ALONE,
    RANDOM,
    RECALL,
    TRAINED,
    TRANSCRIPTS,
    WHOLE,
    WORDS,
    Row,
    Transcript,
)
from palimpsest.rendering import style
from palimpsest.rendering.frames import records, select
from palimpsest.rendering.latex import escape, tabular

CONFIDENCE = 0.95
SERIES: dict[tuple[str, str], str] = {
    (TRAINED, "on"): "trained memory",
    (TRAINED, "off"): "trained memory, read zeroed",
    (TRAINED, "shuffled"): "trained memory, of another text",
    (RANDOM, "on"): "memory that is not trained",
    (ALONE, "on"): "base alone",
    (WHOLE, "on"): "base that sees all",
}
"""Who answers, and under which control → what it is called, in the order of the tables."""
_MEASURES = {
    "exact": "exact",
    "probability": "probability",
    "confidence": "confidence",
    "brier": "Brier",
    "calibration_error": "ECE",
}


def write_studies(folder: Path, root: Path) -> list[Path]:
    """Write ``tables/study.tex``, and ``plots/study/recall`` as PDF and PNG.

    Args:
        folder: of the studies: ``NAME.yaml``, and ``NAME/`` with the tables of each.
        root: product directory.

    Returns:
        The files.

    Raises:
        DataError: a table is missing or broken; the message names the command that writes it.
    """
    studies = sorted(folder.glob("*.yaml"))
    if not studies:
        raise DataError(f"{folder}: no study; allowed: a YAML file for each")
    table = pd.concat([_read(folder / file.stem / RECALL, Row).assign(study=file.stem) for file in studies])
    said = pd.concat([_read(folder / file.stem / TRANSCRIPTS, Transcript) for file in studies])
    words = int(read_yaml(studies[0]).get("words", WORDS))
    file = root / "tables/study.tex"
    write_text(file, "\n".join((recall_table(table), measures_table(table), transcripts_table(said))))
    with style.sized_for_print():
        return [file, *style.save(recall_figure(table, 1 / words), root / "plots/study/recall")]


def _read(path: Path, kind: type[Row] | type[Transcript]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, keep_default_na=False)
    except (FileNotFoundError, ValueError):
        raise DataError(f"{path}: missing or no table; `make lm` makes it") from None
    if tuple(table.columns) != kind._fields or table.empty:
        raise DataError(
            f"{path}: columns {list(table.columns)}; allowed: {', '.join(kind._fields)}, with a row at least"
        )
    for name, wanted in get_type_hints(kind).items():
        if wanted is not str and not pd.api.types.is_numeric_dtype(table[name]):
            raise DataError(f"{path}: {name}: not all are numbers; `make lm` makes it anew")
    return table


# --- tables -----------------------------------------------------------------------------------------------------------


def recall_table(table: pd.DataFrame) -> str:
    """Return exact match by number of facts, who answers, and number of segments."""
    segments = sorted(table["segments"].unique())
    rows: list[Sequence[str] | None] = []
    for facts, of_facts in table.groupby("facts"):
        rows += [None] if rows else []
        first = str(facts)
        for (memory, control), name in SERIES.items():
            found = select(of_facts, memory=memory, control=control)
            if len(found):
                cells = [_share(select(found, segments=number)) for number in segments]
                rows.append([first, escape(name), str(found["seed"].nunique()), *cells])
                first = ""
    header = ["facts", "who answers", "$n$", *(f"{number} segments" for number in segments)]
    caption = (
        "SmolLM2-135M-Instruct: share of questions about held-out facts that are answered exactly. Of $n$ memories: "
        "mean, smallest and largest; of the base, which is one: share, with its interval over questions of "
        f"{100 * CONFIDENCE:g}\\,\\%."
    )
    return _environment(tabular("@{}rlr" + "l" * len(segments) + "@{}", header, rows), caption, "study-recall")


def _share(rows: pd.DataFrame) -> str:
    """Mean and range over memories, or share and interval over the questions of one that answered."""
    if rows.empty:
        return "--"
    exact = pd.Series(rows["exact"])
    if set(rows["memory"]) <= {ALONE, WHOLE}:
        questions = int(rows["questions"].iloc[0])
        found = proportion_interval(round(float(exact.iloc[0]) * questions), questions, CONFIDENCE)
        low, high = found.low, found.high
    else:
        low, high = exact.to_numpy().min(), exact.to_numpy().max()
    return f"${exact.mean():.3f}$ [{low:.2f}, {high:.2f}]"


def measures_table(table: pd.DataFrame) -> str:
    """Return all measures of the trained memory and of the base alone, means over memories."""
    rows: list[Sequence[str] | None] = []
    for facts, of_facts in table.groupby("facts"):
        rows += [None] if rows else []
        for memory in (TRAINED, ALONE):
            found = select(of_facts, memory=memory, control="on")
            for segments in sorted(found["segments"].unique()):
                means = (select(found, segments=segments)[measure].mean() for measure in _MEASURES)
                rows.append([str(facts), escape(SERIES[memory, "on"]), str(segments), *(f"${v:.3f}$" for v in means)])
    header = ["facts", "who answers", "segments", *_MEASURES.values()]
    caption = (
        "SmolLM2-135M-Instruct: exact match, the probability of the right word, the confidence (the largest "
        "probability of a word), the Brier score, and the expected calibration error in ten bins; means over memories."
    )
    return _environment(tabular("@{}rlr" + "r" * len(_MEASURES) + "@{}", header, rows), caption, "study-measures")


def transcripts_table(said: pd.DataFrame) -> str:
    """Return what is said to the questions of the transcripts, word by word."""
    rows = [
        [
            str(row["facts"]),
            str(row["segments"]),
            *(escape(row[name]) for name in ("question", "right", "alone", "with_memory")),
        ]
        for row in records(said)
    ]
    header = ["facts", "segments", "text", "right", "base alone goes on", "with the trained memory"]
    caption = (
        "SmolLM2-135M-Instruct: how texts about held-out facts go on, by the base alone and with the memory of "
        "the first seed."
    )
    columns = r"@{}rrp{.21\linewidth}lp{.27\linewidth}p{.27\linewidth}@{}"
    return _environment(tabular(columns, header, rows), caption, "study-transcripts")


def _environment(table: str, caption: str, label: str) -> str:
    lines = [
        r"\begin{table}[htbp]",
        r"\centering\scriptsize\tight",
        rf"\caption{{{caption} Made by \texttt{{make lm}}.}}\label{{tab:{label}}}",
        table.rstrip("\n"),
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


# --- figure -----------------------------------------------------------------------------------------------------------


def recall_figure(table: pd.DataFrame, chance: float) -> Figure:
    """Draw exact match against the number of segments: a panel for each number of facts, small signs for memories."""
    numbers = sorted(table["facts"].unique())
    figure, panels = style.panels(1, len(numbers), 1.9, sharey=True)
    for facts, panel in zip(numbers, panels[0], strict=True):
        _panel(panel, select(table, facts=facts), chance)
        panel.set_title(f"{facts} fact{'s' if facts > 1 else ''}")
    panels[0][0].set_ylabel("exact match")
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


def _panel(panel: Any, table: pd.DataFrame, chance: float) -> None:
    for look, ((memory, control), name) in zip(style.SERIES, SERIES.items(), strict=False):
        found = select(table, memory=memory, control=control)
        if found.empty:
            continue
        means = pd.Series(found.groupby("segments")["exact"].mean())
        options = {"color": look.color, "marker": look.marker}
        panel.plot(means.index, means, label=name, linestyle=look.line, markersize=4, linewidth=1.1, **options)
        panel.plot(found["segments"], found["exact"], linestyle="", markersize=2, alpha=0.6, **options)
    panel.axhline(chance, color="0.4", linestyle=(0, (3, 2)), linewidth=0.7, zorder=0)
    segments = sorted(table["segments"].unique())
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_locator(FixedLocator(segments))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xticks(segments, [str(number) for number in segments])
    panel.set_ylim(-0.03, 1.03)
    panel.set_xlabel("segments")
