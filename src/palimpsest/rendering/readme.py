"""The generated part of README.md: the table of claims and verdicts between two marks."""

from __future__ import annotations

from pathlib import Path

from pandas import DataFrame

from palimpsest.analysis.claim_file import read_claims
from palimpsest.analysis.claims import WORDS, read_verdicts
from palimpsest.analysis.frames import records
from palimpsest.foundation.errors import DataError

BEGIN, END = "<!-- claims: written by `palimpsest readme` -->", "<!-- end of claims -->"


def render(readme: Path, claims: Path, root: Path) -> str:
    """Return the text of a README with its table of claims updated from ``tables/claims.csv``.

    Raises:
        DataError: the README lacks its marks, or the table of verdicts is missing or corrupt.
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
    lines += ["", _counted(verdicts)]
    before, rest = text.split(BEGIN)
    return before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.split(END)[1]


def _counted(verdicts: DataFrame) -> str:
    """Return how many verdicts of each kind there are; what was not tested or is proved is counted apart."""
    found = verdicts["verdict"].to_list()
    counts = {word: found.count(word) for word in WORDS}
    return (
        f"Of {len(verdicts)}: {counts['holds']} hold, {counts['fails']} fail, "
        f"{counts['undecided']} undecided (too few seeds), {counts['untested']} untested (a condition is not met), "
        f"{counts['by construction']} by construction (a property test)."
    )
