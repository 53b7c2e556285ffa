"""The matrix of claims and tracks: any verdict by its word, the number that decided, reasons of eight words at most."""

import re
from typing import Any

import pandas as pd
import pytest

from palimpsest.analysis.claim_file import read_claims
from palimpsest.rendering.claim_matrix import WORDS, matrix_table, short_reason
from tests.rendering.conftest import CLAIMS

LONG = "a share of all that this model has ever been asked to keep"


def row(
    claim: str, track: str, verdict: str, estimate: float, reason: str = "", unit: str = "accuracy"
) -> dict[str, Any]:
    return {
        "claim": claim, "track": track, "verdict": verdict, "estimate": estimate, "low": None, "high": None, "n": 10,
        "unit": unit, "reason": reason,
    }  # fmt: skip


def evidence(claim: str, track: str, verdict: str, estimate: float, bound: str, kind: str = "value") -> dict[str, Any]:
    return {
        "claim": claim, "track": track, "verdict": verdict, "estimate": estimate, "bound": bound, "kind": kind,
        "unit": "accuracy", "decides": True,
    }  # fmt: skip


VERDICTS = pd.DataFrame(
    [
        row("000-a", "published", "fails", 0.25, "long; text"),
        row("000-a", "repaired", "untested", float("nan"), "the baseline has not learnt; full_attention"),
        row("000-b", "repaired", "by construction", 0.5, "the allocator cannot execute more"),
        row("001-a", "repaired", "undecided", -0.02),
    ]
)
EVIDENCE = [
    evidence("000-a", "published", "holds", 0.25, "at most 0.5"),
    evidence("000-a", "published", "fails", 0.25, "at least 0.9"),
    evidence("001-a", "repaired", "undecided", -0.02, "at least -0.01", kind="difference"),
]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return matrix_table(VERDICTS, read_claims(CLAIMS), EVIDENCE).splitlines()


def test_a_row_is_a_claim_and_has_both_tracks(lines: list[str]) -> None:
    (first,) = [line for line in lines if line.startswith("000-a")]
    assert re.search(r"& \\textbf\{fails\} & \$0.250\$ & accuracy, asked \$\\geq\$0.9 &", first)
    assert first.endswith(r"& untested & -- & the baseline has not learnt \\")


def test_a_claim_that_a_track_does_not_ask_has_a_dash(lines: list[str]) -> None:
    (second,) = [line for line in lines if line.startswith("000-b")]
    assert r" & -- &  &  & by construction & $0.500$ & the allocator cannot execute more \\" in second


def test_a_difference_is_named_as_one_and_sources_are_apart(lines: list[str]) -> None:
    (third,) = [line for line in lines if line.startswith("001-a")]
    assert r"undecided & $-0.020$ & difference in accuracy, asked $\geq$$-$0.01 \\" in third
    assert lines[lines.index(third) - 1] == r"\midrule"


@pytest.mark.parametrize("verdict", ["holds", "fails", "undecided", "untested", "by construction"])
@pytest.mark.parametrize("test", [None, {"bound": "at least 0.5", "kind": "difference"}])
def test_reasons_have_eight_words_at_most(verdict: str, test: dict[str, str] | None) -> None:
    said = short_reason(row("000-a", "repaired", verdict, 0.5, LONG, unit=LONG), test)
    assert 3 <= len(said.replace(" …", "").split()) <= WORDS


def test_no_claim_is_a_line() -> None:
    assert "no claim is decided" in matrix_table(VERDICTS.iloc[:0], read_claims(CLAIMS), [])
