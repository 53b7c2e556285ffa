"""The table of coverage shows every row of what was simulated."""

from __future__ import annotations

from pathlib import Path

import pytest

from palimpsest.foundation.errors import DataError
from palimpsest.rendering.coverage import COLUMNS, coverage_table
from tests.bench.made_up import COVERAGE


def test_rows_of_one_quantity_stand_below_its_name(tmp_path: Path) -> None:
    (tmp_path / "coverage.csv").write_text(COVERAGE)
    rows = [line for line in coverage_table(tmp_path / "coverage.csv").splitlines() if r"\%" in line]
    assert [line.partition(" & ")[0] for line in rows] == ["share 0.9", "", "share 0.9"]
    assert r"97.1\,\%" in rows[0]
    assert r"33.0\,\%" in rows[2]
    assert {line.count("&") for line in rows} == {len(COLUMNS) - 1}


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n", f"{','.join(COLUMNS)}\n"])
def test_what_is_missing_or_broken_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "coverage.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"coverage\.csv: "):
        coverage_table(path)
