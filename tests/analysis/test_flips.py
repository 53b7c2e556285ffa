"""Verdicts from two blocks of seeds: what counts as a flip."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from palimpsest.analysis import flips
from palimpsest.analysis.claims import VERDICTS
from palimpsest.analysis.frames import records
from palimpsest.foundation.errors import DataError

FILE = Path("build/fresh/tables/claims.csv")


def verdicts(**words: str) -> pd.DataFrame:
    """A row a claim on the repaired track, ``_a="holds"`` for claim 000-a."""
    rows = []
    for name, word in words.items():
        numbers = {"estimate": 0.5, "low": 0.25, "high": 0.75, "n": 5}
        empty = dict.fromkeys(VERDICTS.head, "")
        rows.append({**empty, "claim": f"000{name.replace('_', '-')}", "track": "repaired", "verdict": word, **numbers})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("before", "after", "flip", "opposite"),
    [
        ("holds", "holds", "no", "no"),
        ("holds", "undecided", "yes", "no"),
        ("undecided", "holds", "yes", "no"),
        ("holds", "fails", "yes", "yes"),
        ("fails", "holds", "yes", "yes"),
        ("untested", "undecided", "yes", "no"),
        ("by construction", "by construction", "no", "no"),
        ("untested", "by construction", "no", "no"),
    ],
)
def test_every_change_among_the_four_verdicts_is_a_flip(before: str, after: str, flip: str, opposite: str) -> None:
    (row,) = records(flips.compare(verdicts(_a=before), verdicts(_a=after), FILE))
    assert (row["flips"], row["opposite"]) == (flip, opposite)


def test_the_share_leaves_out_what_follows_by_construction() -> None:
    before = verdicts(_a="holds", _b="holds", _c="fails", _d="untested", _e="by construction")
    after = verdicts(_a="holds", _b="undecided", _c="holds", _d="untested", _e="by construction")
    counts = flips.count(flips.compare(before, after, FILE))
    assert counts == (4, 2, 1)
    assert counts.share == 0.5
    assert flips.count(flips.compare(verdicts(_a="by construction"), verdicts(_a="by construction"), FILE)).share == 0


def test_both_numbers_stand_beside_each_other(tmp_path: Path) -> None:
    before, after = verdicts(_a="holds", _b="fails"), verdicts(_b="fails", _a="holds")
    after["estimate"], after.loc[0, "low"] = 0.625, math.nan
    found = flips.compare(before, after, FILE)
    assert list(found.columns) == list(flips.LAYOUT.head)
    assert found["estimate"].tolist() == [0.5, 0.5]
    assert found["fresh_estimate"].tolist() == [0.625, 0.625]
    assert found["fresh_low"].isna().tolist() == [False, True]
    found.to_csv(tmp_path / "flips.csv", index=False)
    assert records(flips.read_flips(tmp_path / "flips.csv")) == records(found)


def test_a_claim_in_one_table_only_is_one_line() -> None:
    line = r"^build/fresh/tables/claims\.csv: claim 000-b on the repaired track is in one table only; allowed: [^\n]*$"
    with pytest.raises(DataError, match=line):
        flips.compare(verdicts(_a="holds", _b="holds"), verdicts(_a="holds"), FILE)


def test_a_claim_that_is_listed_twice_is_one_line() -> None:
    twice = pd.concat([verdicts(_a="holds"), verdicts(_a="fails")])
    with pytest.raises(DataError, match=r"claims\.csv: a claim is listed twice on a track; allowed: once$"):
        flips.compare(verdicts(_a="holds"), twice, FILE)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("undecided", "perhaps", r"column 'fresh_verdict', row 2: 'perhaps'; allowed: "),
        ("yes,no", "no,no", r"column 'flips', row 2: 'no'; allowed: 'yes', as the verdicts say"),
        ("fresh_low", "lower", r"column 'fresh_low': missing"),
    ],
)
def test_a_corrupt_record_is_one_line(tmp_path: Path, old: str, new: str, line: str) -> None:
    text = flips.compare(verdicts(_a="holds"), verdicts(_a="undecided"), FILE).to_csv(index=False)
    assert old in text
    (tmp_path / "flips.csv").write_text(text.replace(old, new))
    with pytest.raises(DataError, match=line):
        flips.read_flips(tmp_path / "flips.csv")


def test_a_missing_record_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"flips\.csv: no such file"):
        flips.read_flips(tmp_path / "flips.csv")
