"""`palimpsest search` and `flips`: what they write and say, and one line for what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from palimpsest.analysis.flips import read_flips
from palimpsest.analysis.search import read_search
from tests.analysis import test_flips, test_search
from tests.cli.command_line import palimpsest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A finished search and a finished block of fresh seeds."""
    params = test_search.preset(tmp_path, workdir="build/search")
    test_search.write(params, tmp_path / "build/search")
    fresh = {"extends": "base.yaml", "preset": "fresh", "workdir": "build/fresh", "seed_offset": 1000}
    (tmp_path / "fresh.yaml").write_text(yaml.safe_dump(fresh))
    for folder, verdict in ((tmp_path, "holds"), (tmp_path / "build/fresh", "undecided")):
        (folder / "tables").mkdir(parents=True)
        table = test_flips.verdicts(_a=verdict, _b="holds").assign(
            look=1, p=0.5, threshold=0.5, corrected_low=0, corrected_high=1,
            uncorrected="holds", half_of_seeds="holds", same_seeds_choose="holds",
        )  # fmt: skip
        table.to_csv(folder / "tables/claims.csv", index=False)
    return tmp_path


def search(monkeypatch: pytest.MonkeyPatch, root: Path) -> int:
    files = ["--params", str(root / "search.yaml"), "--used", str(root / "base.yaml")]
    return palimpsest(monkeypatch, "search", *files, "--root", str(root))


def flips(monkeypatch: pytest.MonkeyPatch, root: Path) -> int:
    return palimpsest(monkeypatch, "flips", "--params", str(root / "fresh.yaml"), "--root", str(root))


def test_search_writes_its_table_and_names_grids_with_another_rate(
    monkeypatch: pytest.MonkeyPatch, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(monkeypatch, root) == 0
    assert len(read_search(root / "tables/search.csv")) == 12
    said = capsys.readouterr().err
    assert "experiments.tiny.tracks.repaired.grids.no_memory : learning_rate 0.01; chosen: 0.003" in said
    assert "12 rows; 4 cells" in said


def test_search_of_one_experiment_leaves_the_rows_of_others(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """And needs no table but that experiment's."""
    assert search(monkeypatch, root) == 0
    record = root / "tables/search.csv"
    before = record.read_text()
    record.write_text(before.replace("tiny,", "other,"))
    (root / "build/search/tables/runs.csv").unlink()
    files = ["--params", str(root / "search.yaml"), "--used", str(root / "base.yaml"), "--root", str(root)]
    assert palimpsest(monkeypatch, "search", "tiny", *files) == 0
    header, *rows = record.read_text().splitlines(keepends=True)
    assert "".join([header, *(row for row in rows if row.startswith("tiny,"))]) == before
    assert sum(row.startswith("other,") for row in rows) == 12


def test_flips_writes_its_table_and_says_how_many(
    monkeypatch: pytest.MonkeyPatch, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flips(monkeypatch, root) == 0
    assert read_flips(root / "tables/flips.csv")["flips"].tolist() == ["yes", "no"]
    assert "1 of 2 verdicts flip (50.0 %), 0 of them from holds to fails or back" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "file"),
    [
        (search, "build/search/tables/runs.csv"),
        (search, "build/search/tables/runs/tiny.csv"),
        (flips, "tables/claims.csv"),
        (flips, "build/fresh/tables/claims.csv"),
    ],
)
@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n"], ids=["missing", "empty", "another table"])
def test_a_table_that_is_missing_or_broken_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    root: Path,
    capsys: pytest.CaptureFixture[str],
    command: object,
    file: str,
    content: str | None,
) -> None:
    (root / file).unlink()
    if content is not None:
        (root / file).write_text(content)
    assert callable(command)
    assert command(monkeypatch, root) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert file in line
    assert not (root / "tables/search.csv").exists()
    assert not (root / "tables/flips.csv").exists()
