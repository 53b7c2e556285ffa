"""Studies of a pretrained model: all is shown as the tables have it, and what is missing is named with its command."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from palimpsest.analysis.statistics import proportion_interval
from palimpsest.cli import door as cli
from palimpsest.foundation.errors import DataError
from palimpsest.language.study import CONTROLS
from palimpsest.language.study_rows import ALONE, RANDOM, TRAINED, WHOLE, Row, Transcript
from palimpsest.rendering import study

SEGMENTS = (2, 8)
SAID = Transcript(1, 8, "The word of Ann & Bob is", "_red_", "a 50% chance", "_red_.")


def answers(facts: int) -> list[Row]:
    """Two trained memories, one of which is right twice as often at eight segments, and everybody else."""
    rows = []
    for segments in SEGMENTS:
        for seed in (0, 1):
            exact = 0.4 * (1 + seed) if segments > 2 else 1.0
            rows += [
                Row(
                    facts,
                    TRAINED,
                    seed,
                    segments,
                    control,
                    200,
                    exact if control == "on" else 0,
                    0.5,
                    0.6,
                    0.7,
                    0.3,
                    0.1,
                )
                for control in CONTROLS
            ]
        for who in (ALONE, RANDOM, *([WHOLE] if segments == 2 else [])):
            rows.append(Row(facts, who, 0, segments, "on", 200, 0.05, 0.1, 0.04, 0.2, 0.9, 0.15))
    return rows


def written(folder: Path, *numbers: int) -> Path:
    """A study for each number of facts."""
    for facts in numbers:
        (folder / f"with_{facts}").mkdir(parents=True)
        (folder / f"with_{facts}.yaml").write_text(f"facts: [{facts}]\nwords: 20\n")
        pd.DataFrame(answers(facts)).to_csv(folder / f"with_{facts}/recall.csv", index=False)
        pd.DataFrame([SAID._replace(facts=facts)]).to_csv(folder / f"with_{facts}/transcripts.csv", index=False)
    return folder


def lines(text: str, label: str) -> list[list[str]]:
    """Cells of a table's rows, the header first."""
    table = next(part for part in text.split(r"\begin{table}") if f"tab:{label}" in part)
    return [line.removesuffix(r" \\").split(" & ") for line in table.splitlines() if line.endswith(r"\\")]


def test_every_row_of_every_study_is_shown(tmp_path: Path) -> None:
    files = study.write_studies(written(tmp_path / "studies", 1, 4), tmp_path / "root")
    assert [str(file.relative_to(tmp_path / "root")) for file in files] == [
        "tables/study.tex",
        "plots/study/recall.pdf",
        "plots/study/recall.png",
    ]
    text = files[0].read_text()
    header, *rows = lines(text, "study-recall")
    assert header[3:] == ["2 segments", "8 segments"]
    assert [row[1] for row in rows] == list(study.SERIES.values()) * 2
    assert [row[0] for row in rows if row[0]] == ["1", "4"]
    assert rows[0][2:] == ["2", "$1.000$ [1.00, 1.00]", "$0.600$ [0.40, 0.80]"]
    _, *rows = lines(text, "study-measures")
    assert rows[1][2:] == ["8", "$0.600$", "$0.600$", "$0.700$", "$0.300$", "$0.100$"]


def test_the_base_has_an_interval_over_questions_and_what_was_not_asked_is_a_dash(tmp_path: Path) -> None:
    text = study.write_studies(written(tmp_path / "studies", 1), tmp_path / "root")[0].read_text()
    rows = {row[1]: row for row in lines(text, "study-recall")}
    found = proportion_interval(10, 200, 0.95)
    assert rows["base alone"][3] == f"$0.050$ [{found.low:.2f}, {found.high:.2f}]"
    assert rows["base that sees all"][4] == "--"


def test_what_is_said_is_escaped(tmp_path: Path) -> None:
    text = study.write_studies(written(tmp_path / "studies", 1), tmp_path / "root")[0].read_text()
    (row,) = lines(text, "study-transcripts")[1:]
    assert row[2:] == [r"The word of Ann \& Bob is", r"\_red\_", r"a 50\% chance", r"\_red\_."]


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    folder = written(tmp_path / "studies", 1, 2)
    first, second = (study.write_studies(folder, tmp_path / name) for name in ("a", "b"))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing or no table; `make lm` makes it"),
        ("", "missing or no table; `make lm` makes it"),
        ("facts,memory\n1,trained\n", r"columns \['facts', 'memory'\]; allowed: facts, memory, seed"),
        (",".join(Row._fields) + "\n", "with a row at least"),
        (",".join(Row._fields) + "\n1,trained,0,2,on,200,many,1,1,1,0,0\n", "exact: not all are numbers"),
    ],
)
def test_a_broken_table_is_named_in_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    folder = written(tmp_path / "studies", 1)
    file = folder / "with_1/recall.csv"
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        study.write_studies(folder, tmp_path / "root")
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "root").exists()


def test_a_folder_without_studies_is_refused_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["palimpsest", "render-study", "--studies", str(tmp_path), "--root", str(tmp_path / "root")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code != 0
    assert f"{tmp_path}: no study; allowed: a YAML file for each" in capsys.readouterr().err
