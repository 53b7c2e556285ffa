"""Claims by tracks: what the first page of the paper shows, verdict, number and a short reason."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from palimpsest.analysis.claim_file import Claims
from palimpsest.rendering.frames import records
from palimpsest.rendering.latex import escape, number, ragged, tabular
from palimpsest.rendering.table_parts import spanning

WORDS = 8
"""Most words of a reason."""
DECIDED = ("holds", "fails", "undecided")
"""Verdicts that a number and a bound decide; every other verdict has its reason in words."""
_SIGNS = {"at least": "≥", "at most": "≤", "more than": ">", "less than": "<"}


def matrix_table(verdicts: pd.DataFrame, claims: Claims, evidence: Iterable[Mapping[str, Any]]) -> str:
    """A row a claim, and for each track a verdict, the number that decided it and a reason of at most eight words.

    Args:
        verdicts: ``claims.csv``; any verdict is shown by its word.
        claims: what each claim says.
        evidence: ``claims_evidence.json``, for the bound of the number that decided.
    """
    tracks = sorted(set(verdicts["track"]))
    rows: list[Sequence[str] | None] = []
    evidence = list(evidence)
    by_claim: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in records(verdicts):
        by_claim.setdefault(row["claim"], {})[row["track"]] = row
    source = ""
    for claim, by_track in sorted(by_claim.items()):
        if source and claim.partition("-")[0] != source:
            rows.append(None)
        source = claim.partition("-")[0]
        known = claims.claims.get(claim)
        cells = [escape(claim) + (f" {escape(known.statement)}" if known else "")]
        for track in tracks:
            cells += _cells(by_track.get(track), evidence)
        rows.append(cells)
    width = 3 * len(tracks) + 1
    above = "".join(rf" & \multicolumn{{3}}{{l}}{{{escape(track)}}}" for track in tracks) + r" \\"
    columns = "@{}" + ragged(0.29) + ("lr" + ragged(0.17)) * len(tracks) + "@{}"
    header = ["claim", *["verdict", "number", "reason"] * len(tracks)]
    return tabular(columns, header, rows or [[spanning("no claim is decided", width)]], above=above if rows else "")


def _cells(row: Mapping[str, Any] | None, evidence: Sequence[Mapping[str, Any]]) -> list[str]:
    if row is None:
        return ["--", "", ""]
    word = escape(row["verdict"])
    verdict = rf"\textbf{{{word}}}" if row["verdict"] in ("holds", "fails") else word
    value = None if pd.isna(row["estimate"]) else float(row["estimate"])
    return [verdict, number(value), escape(short_reason(row, _decisive(row, evidence)))]


def _decisive(row: Mapping[str, Any], evidence: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The test whose number a row of ``claims.csv`` has."""
    same = ("claim", "track", "verdict", "unit")
    for test in evidence:
        if all(test.get(key) == row[key] for key in same) and _close(test["estimate"], row["estimate"]):
            return test
    return None


def _close(one: float | None, other: float) -> bool:
    return one is not None and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def short_reason(row: Mapping[str, Any], test: Mapping[str, Any] | None) -> str:
    """A reason of at most eight words: what the number is and what was asked, or the first clause of the reason.

    >>> row = {"verdict": "fails", "unit": "accuracy", "reason": "is 0.67; writes little"}
    >>> short_reason(row, {"bound": "at least -0.01", "kind": "difference"})
    'difference in accuracy, asked ≥−0.01'
    >>> short_reason({**row, "verdict": "untested", "reason": "the baseline has not learnt; full_attention"}, None)
    'the baseline has not learnt'
    """
    if row["verdict"] in DECIDED and test and test.get("bound"):
        bound = test["bound"].replace("-", "−")
        for words, sign in _SIGNS.items():
            bound = bound.replace(f"{words} ", sign)
        room = WORDS - 1 - len(bound.split())
        unit = row["unit"].split()[:room]
        if test.get("kind") == "difference" and len(unit) + 2 <= room:
            unit = ["difference", "in", *unit]
        return f"{' '.join(unit)}, asked {bound}"
    if row.get("in_short"):
        return str(row["in_short"])
    clause = re.split(r"[;(]|, claimed", row["reason"])[0]
    first = clause.rpartition(": ")[2].split()
    return " ".join(first[:WORDS]) + (" …" if len(first) > WORDS else "")
