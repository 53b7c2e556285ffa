"""The generated parts of README.md: the table of claims and verdicts, and sentences with numbers of runs.

A sentence stands behind a comment that holds its template, between two marks::

    <!-- from results:
    {count of nema_lite where track == "published" and test_write_ratio == 0} runs write nothing.
    -->
    49 runs write nothing.
    <!-- end of results -->

A field in braces is ``count``, or ``min``, ``max`` or ``median`` with a metric, ``of`` an experiment, and a condition
on the columns of its table of runs.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import numpy as np
from pandas import DataFrame

from palimpsest.analysis.claim_file import read_claims
from palimpsest.analysis.claims import WORDS, read_verdicts
from palimpsest.analysis.flips import FLIPS, count, read_flips
from palimpsest.analysis.frames import records
from palimpsest.analysis.tables import read_runs, runs_file
from palimpsest.foundation.errors import DataError

BEGIN, END = "<!-- claims: written by `palimpsest readme` -->", "<!-- end of claims -->"


def render(readme: Path, claims: Path, root: Path) -> str:
    """Return the text of a README with its table of claims and its sentences updated from ``tables/``.

    Raises:
        DataError: the README lacks its marks, a table is missing or corrupt, or a sentence asks for what no table has.
        ParameterError: the file of claims is wrong.
    """
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise DataError(f"{readme}: {BEGIN!r} and {END!r}: not found once each; allowed: one pair of marks")
    verdicts = read_verdicts(root / "tables/claims.csv")
    statements = read_claims(claims).claims
    lines = ["| claim | published | repaired | what decided on the repaired track |", "| --- | --- | --- | --- |"]
    for claim in sorted(set(verdicts["claim"])):
        by_track = {row["track"]: row for row in records(verdicts) if row["claim"] == claim}
        words = [
            f"**{by_track[track]['verdict']}**" if track in by_track else "–" for track in ("published", "repaired")
        ]
        reason = by_track.get("repaired", {"reason": ""})["reason"]
        lines.append(f"| {claim}: {statements[claim].statement} | {words[0]} | {words[1]} | {reason} |")
    lines += ["", *textwrap.wrap(_counted(verdicts) + _flipped(root / FLIPS), WIDTH)]
    before, rest = text.split(BEGIN)
    return _with_sentences(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.split(END)[1], readme, root)


def _counted(verdicts: DataFrame) -> str:
    """Return how many verdicts of each kind there are; what was not tested or is proved is counted apart."""
    found = verdicts["verdict"].to_list()
    counts = {word: found.count(word) for word in WORDS}
    return (
        f"Of {len(verdicts)}: {counts['holds']} hold, {counts['fails']} fail, "
        f"{counts['undecided']} undecided (too few seeds), {counts['untested']} untested (a condition is not met), "
        f"{counts['by construction']} by construction (a property test)."
    )


def _flipped(file: Path) -> str:
    """Return how many verdicts other seeds flip; nothing where ``make fresh`` was not run."""
    if not file.is_file():
        return ""
    counts = count(read_flips(file))
    return (
        f" With other seeds and the same data (`make fresh`), {counts.flips} of the {counts.verdicts} that can change "
        f"do, {counts.opposite} of them from holds to fails or back."
    )


WIDTH = 130
"""Signs of a line at most."""
_SENTENCES = re.compile(r"(<!-- from results:\n(.*?)-->\n).*?(<!-- end of results -->)", re.DOTALL)
_FIELD = re.compile(r"\{(count|min|max|median)(?: (\w+))?\s+of (\w+)\s+where ([^{}]+)\}")


def _with_sentences(text: str, readme: Path, root: Path) -> str:
    """Fill every template of the text anew."""
    known: dict[str, DataFrame] = {}

    def value(field: re.Match[str]) -> str:
        statistic, metric, experiment, condition = field.groups()
        if experiment not in known:
            known[experiment] = read_runs(root, experiment)
        try:
            rows = known[experiment].query(" ".join(condition.split()))
            found = len(rows) if statistic == "count" else getattr(rows[metric], statistic)()
        except (KeyError, NameError, SyntaxError, TypeError, ValueError) as error:
            raise DataError(
                f"{readme}: {field[0]!r}: {error}; allowed: the columns of {root / runs_file(experiment)}"
            ) from None
        if found != found:
            raise DataError(f"{readme}: {field[0]!r}: no run with a value; allowed: a condition that some run meets")
        return str(found) if isinstance(found, (int, np.integer)) else f"{found:.3f}"

    def filled(block: re.Match[str]) -> str:
        sentences = _FIELD.sub(value, block[2])
        if left := re.search(r"\{[^}]*\}?", sentences):
            raise DataError(f"{readme}: {left[0]!r}; allowed: {{count of EXPERIMENT where CONDITION}}, max METRIC of …")
        return f"{block[1]}{textwrap.fill(' '.join(sentences.split()), WIDTH)}\n{block[3]}"

    return _SENTENCES.sub(filled, text)
