"""Measurements as tables and figures: all is shown, and what is missing is named with the command that makes it."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from palimpsest.cli import door as cli
from palimpsest.foundation.errors import DataError
from palimpsest.rendering import bench, bench_parts, paper, style
from palimpsest.rendering.bench_columns import COLUMNS
from tests.bench import made_up
from tests.rendering.conftest import PROJECT


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Measurements of two devices; not to be changed."""
    return made_up.write(tmp_path_factory.mktemp("results"), ("cpu", "cuda"))


@pytest.fixture(scope="module")
def root(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is rendered from them."""
    root = tmp_path_factory.mktemp("root")
    bench.write_bench(results, root)
    return root


def tables(root: Path) -> list[str]:
    """The tables of bench.tex."""
    return re.findall(r"\\begin{table}.*?\\end{table}", (root / "tables/bench.tex").read_text(), re.DOTALL)


def rows(table: str) -> list[str]:
    return [line for line in table.splitlines() if line.endswith(r"\\") and r"\multicolumn" not in line]


def test_tables_and_figures_are_written(root: Path) -> None:
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*.*")) == [
        "plots/bench/scaling.pdf",
        "plots/bench/scaling.png",
        "plots/bench/sparse_memory.pdf",
        "plots/bench/sparse_memory.png",
        "plots/bench/sweep.pdf",
        "plots/bench/sweep.png",
        "tables/bench.tex",
        "tables/coverage.tex",
    ]


def test_the_tables_show_every_row_with_as_many_cells_as_the_header(root: Path) -> None:
    found = list(map(rows, tables(root)))
    cells = 2 * 2 * 2 * 2 * 2  # devices, cells, batch sizes, packs, eager and compiled
    assert list(map(len, found)) == [1 + 2 * 2 * len(made_up.METHODS), 1 + 2 * 8, 1 + 2 * 2, 1 + cells, 1 + 2 * 2]
    for shown in found:
        assert len({line.count("&") for line in shown}) == 1


def test_ratios_are_those_of_the_file_and_a_missing_one_is_a_dash(root: Path) -> None:
    lines = rows(tables(root)[0])
    own = next(line for line in lines if "packs of one" in line)
    assert own.split(" & ")[4:] == ["$232$", "$2.00$", "--", r"$600$ \\"]
    assert any("packs of 20" in line and "$6.00$ & $5.50$" in line for line in lines)


def test_every_table_names_machine_and_command(root: Path) -> None:
    for table, name in zip(tables(root), ("sweep", "peak", "compiled", "cells", "overhead"), strict=True):
        for device in ("cpu", "cuda"):
            assert rf"\texttt{{python -m bench {name} -{{}}-device {device}}}" in table
        assert "Abacus 2000, 2 cores, 8 GB, torch 9.9, mkl, oneDNN 3.0, Python 3.11.0, Linux." in table
        assert "Loom 1, Abacus 2000" in table


def test_a_machine_that_others_kept_busy_is_marked_so(results: Path) -> None:
    measured = bench_parts.read(results)
    for busy, text in ((0.0, "Linux"), (0.1, "Linux"), (0.37, "Linux, 37 % busy with other work")):
        measured.notes["cells"]["cpu"] = {**measured.notes["cells"]["cpu"], "busy": busy}
        assert bench_parts.made_with(measured, "cells")[0][0].endswith(text)


@pytest.mark.parametrize("name", bench.FIGURES)
def test_every_figure_names_machine_and_command(name: str, results: Path) -> None:
    with style.sized_for_print():
        figure = bench.FIGURES[name](bench_parts.read(results))
    text = figure.get_supxlabel().replace("\n", " ")
    assert f"python -m bench {name} --device cpu" in text
    assert f"python -m bench {name} --device cuda" in text
    assert "Abacus 2000" in text


def test_every_method_is_a_bar_with_its_rate(results: Path) -> None:
    with style.sized_for_print():
        figure = bench.sweep_figure(bench_parts.read(results))
    assert len(figure.axes) == 4
    for panel, batch in zip(figure.axes, (32, 8, 32, 8), strict=True):
        assert [bar.get_width() for bar in panel.patches] == [100.0 * place + batch for place in range(1, 7)]
        assert [text.get_text() for text in panel.texts][-1] == f"{600 + batch} (6×)"
        assert f"batch {batch}" in panel.get_title(loc="left")
        colours = [to_rgb(bar.get_facecolor()) for bar in panel.patches]
        assert len(set(colours)) == 2
        assert colours[4] == colours[5] == colours[1] != colours[0]


def test_every_value_of_an_axis_is_a_point_of_a_line_named_at_its_end(results: Path) -> None:
    with style.sized_for_print():
        figure = bench.scaling_figure(bench_parts.read(results))
    assert len(figure.axes) == 6
    for panel, name in zip(figure.axes, [*bench.AXES.values()] * 2, strict=True):
        assert panel.get_xlabel() == name
        assert [len(line.get_xdata()) for line in panel.lines] == [5, 5]
        assert [text.get_text() for text in panel.texts] == ["batch 32", "batch 8"]
        assert len({line.get_marker() for line in panel.lines}) == 2
        assert panel.get_ylim()[0] == 0
        assert max(np.max(line.get_ydata()) for line in panel.lines) < panel.get_ylim()[1]


@pytest.mark.parametrize("name", bench.FIGURES)
def test_nothing_is_cut_off(name: str, root: Path) -> None:
    assert_margins_are_empty(root / f"plots/bench/{name}.png")


def assert_margins_are_empty(path: Path) -> None:
    """Nothing is drawn at the edges of a picture as wide as the text."""
    pixels = np.asarray(Image.open(path).convert("L"))
    assert pixels.shape[1] == round(style.TEXT_WIDTH * style.PIXELS_PER_INCH)
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert edge.min() == 255


def test_a_long_command_is_broken_into_lines_that_fit(results: Path, tmp_path: Path) -> None:
    measured = bench_parts.read(results)
    command = "python -m bench sweep " + " ".join(f"--option-{index} {index}" for index in range(40))
    measured.notes["sweep"]["cpu"] = {**measured.notes["sweep"]["cpu"], "command": command}
    with style.sized_for_print():
        figure = bench.sweep_figure(measured)
        saved = style.save(figure, tmp_path / "sweep")[1]
    lines = figure.get_supxlabel().splitlines()
    assert len(max(lines, key=len)) > bench_parts.CHARACTERS - 20
    assert command in " ".join(lines)
    assert_margins_are_empty(saved)


def test_the_same_results_give_the_same_bytes(results: Path, root: Path, tmp_path: Path) -> None:
    for path in bench.write_bench(results, tmp_path):
        assert path.read_bytes() == (root / path.relative_to(tmp_path)).read_bytes(), path.name


@pytest.mark.parametrize("name", COLUMNS)
def test_a_missing_result_is_named_with_the_command_that_makes_it(name: str, tmp_path: Path) -> None:
    (made_up.write(tmp_path) / f"{name}.csv").unlink()
    with pytest.raises(DataError, match=rf"{name}\.csv: no such file; `python -m bench {name}` makes it$"):
        bench_parts.read(tmp_path)


def test_a_broken_result_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    made_up.write(tmp_path)
    for text, wrong in (
        ("", "not a table"),
        ("method,device\n", "no column 'runs'"),
        (",".join(COLUMNS["sweep"]) + "\n", "no row"),
        (",".join(COLUMNS["sweep"]) + "\nloop,cpu,20,32,fast,,,\n", "runs_steps_per_s: not all are numbers"),
        (",".join(COLUMNS["sweep"]) + "\nloop,cpu,20,32,True,,,\n", "runs_steps_per_s: not all are numbers"),
        (",".join(COLUMNS["sweep"]) + "\nloop,cpu,20,32,,,,\n", "runs_steps_per_s: a value is missing"),
        (",".join(COLUMNS["sweep"]) + "\n,cpu,20,32,7,,,\n", "method: a value is missing"),
    ):
        (tmp_path / "sweep.csv").write_text(text)
        with pytest.raises(DataError, match=rf"sweep\.csv: {wrong}; `python -m bench sweep` makes it anew$"):
            bench_parts.read(tmp_path)


@pytest.mark.parametrize("content", [{}, [], {"sweep": {"cpu": {"command": "x", "machine": {"cpu": "y"}}}}])
def test_a_result_without_its_machine_is_refused(content: object, tmp_path: Path) -> None:
    made_up.notes(made_up.write(tmp_path), content)
    with pytest.raises(DataError, match=r"machine.json: sweep.cpu: missing or broken; `python -m bench sweep` makes"):
        bench_parts.read(tmp_path)
    (tmp_path / "machine.json").unlink()
    with pytest.raises(DataError, match=r"machine.json: no such file; `python -m bench sweep` makes it$"):
        bench_parts.read(tmp_path)


def test_the_command_renders_and_refuses_in_one_line(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["palimpsest", "bench", "--root", str(tmp_path), "--results"]
    monkeypatch.setattr(sys, "argv", [*words, str(results)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert (tmp_path / "tables/bench.tex").is_file()
    monkeypatch.setattr(sys, "argv", [*words, str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        f"palimpsest: {tmp_path / 'sweep.csv'}: no such file; `python -m bench sweep` makes it"
    ]


TEX = r"""\documentclass{article}
\usepackage[T1]{fontenc}\usepackage{graphicx,booktabs}
\usepackage[textwidth=5.5in,textheight=9in,centering]{geometry}
\newcommand{\tight}{\setlength{\tabcolsep}{2.4pt}}
\begin{document}
%s
\end{document}
"""


def test_the_section_of_the_paper_is_typeset(root: Path, tmp_path: Path) -> None:
    section = (PROJECT / "paper/source/bench.tex.j2").read_text(encoding="utf-8")
    assert paper.typed_digits(section) == []
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "paper").mkdir()
    assert paper.typeset(TEX % section, "", PROJECT / "paper/source", tmp_path).startswith(b"%PDF")
