"""Tables of the checks: what was chosen and what flips is bold, and a check that was not run says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from palimpsest.foundation.errors import DataError
from palimpsest.rendering.checks import write_checks

SEARCH = (
    "experiment,track,model,cell,optimiser,learning_rate,status,steps,metric,validation,validation_loss,chosen\n"
    "mqar,repaired,memory_rnn,memory=sparse,adam,0.0003,completed,500,accuracy,0.25,1.5,no\n"
    "mqar,repaired,memory_rnn,memory=sparse,adam,0.001,completed,500,accuracy,0.5,1.5,yes\n"
    "mqar,repaired,memory_rnn,memory=sparse,adam,0.003,diverged,500,accuracy,,,no\n"
    "copy,repaired,ntm,,rmsprop,0.00003,completed,3000,accuracy,0.875,1.5,yes\n"
)
FLIPS = (
    "claim,track,verdict,estimate,low,high,n,fresh_verdict,fresh_estimate,fresh_low,fresh_high,fresh_n,flips,opposite\n"
    "000-a,published,untested,,,,0,untested,,,,0,no,no\n"
    "000-a,repaired,holds,0.5,0.25,0.75,10,fails,0.125,0,0.25,10,yes,yes\n"
    "000-b,repaired,holds,0.5,0.25,0.75,10,undecided,0.125,0,0.25,10,yes,no\n"
    "000-c,repaired,by construction,,,,10,by construction,,,,10,no,no\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "search.csv").write_text(SEARCH)
    (tmp_path / "flips.csv").write_text(FLIPS)
    return tmp_path


def rendered(folder: Path, name: str) -> str:
    write_checks(folder, folder)
    return (folder / f"tables/{name}.tex").read_text(encoding="utf-8")


def test_the_search_has_a_row_a_cell_and_its_chosen_rate_in_bold(folder: Path) -> None:
    text = rendered(folder, "search")
    assert r"0.0003: 0.250 & \textbf{0.001: 0.500} & 0.003: diverged" in text
    assert r"rmsprop & \textbf{0.00003: 0.875} &  &  & $3\,000$" in text
    assert "three learning rates for every model" in text
    assert "one seed" in text
    assert "In 1 of 2 cells the smallest or the largest rate is chosen" in text


def test_flips_are_bold_and_counted(folder: Path) -> None:
    text = rendered(folder, "flips")
    assert text.count(r"\textbf{") == 4
    assert r"2 of 3 flip (66.7\,\%), 1 of them from holds to fails or back" in text


@pytest.mark.parametrize(("name", "command"), [("search", "make search"), ("flips", "make fresh")])
def test_a_check_that_was_not_run_names_its_command(folder: Path, name: str, command: str) -> None:
    (folder / f"{name}.csv").unlink()
    text = rendered(folder, name)
    assert command in text
    assert "longtable" not in text


@pytest.mark.parametrize("name", ["search", "flips"])
@pytest.mark.parametrize("content", ["", "a,b\n1,2\n"])
def test_a_broken_record_is_one_line(folder: Path, name: str, content: str) -> None:
    (folder / f"{name}.csv").write_text(content)
    with pytest.raises(DataError, match=rf"^[^\n]*{name}\.csv: [^\n]*allowed: [^\n]*$"):
        write_checks(folder, folder)
