"""The notebook: executed in this interpreter, twice the same bytes, a failing cell is one line."""

import os
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from palimpsest.config import Params
from palimpsest.errors import DataError
from palimpsest.rendering import figures, notebook
from tests.rendering import fake
from tests.rendering.conftest import PROJECT

SOURCE = PROJECT / "notebooks/source/01_NeMA_Lite_Results_Summary.ipynb"


def test_source_is_not_executed_and_has_parameters() -> None:
    source = nbformat.read(SOURCE, as_version=4)
    nbformat.validate(source)
    assert (source.nbformat, source.nbformat_minor) == (4, 5)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in source.cells)
    tagged = [cell.source for cell in source.cells if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == ['root = "."\nexperiment = "nema_lite"']


def test_two_executions_in_two_places_give_the_same_bytes(tmp_path: Path, preset: Params) -> None:
    before, executed = dict(os.environ), []
    for name in ("first", "second/deeper"):
        root = tmp_path / name
        fake.write(root, preset)
        figures.write_figures(preset, root, "nema_lite")
        notebook.execute(SOURCE, Path("notebooks/executed.ipynb"), root)
        executed.append((root / "notebooks/executed.ipynb").read_bytes())
    assert executed[0] == executed[1]
    assert str(tmp_path).encode() not in executed[0]
    assert dict(os.environ) == before
    result, source = nbformat.reads(executed[0].decode(), as_version=4), nbformat.read(SOURCE, as_version=4)
    assert [cell.id for cell in result.cells] == [cell.id for cell in source.cells]
    assert set(result.metadata) == {"kernelspec"}
    outputs = [output for cell in result.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 7
    assert not [output for output in outputs if output.output_type in ("error", "stream")]


def _written(path: Path, *cells: str) -> Path:
    nbformat.write(new_notebook(cells=[new_code_cell(cell, id=f"c{index}") for index, cell in enumerate(cells)]), path)
    return path


def test_a_failing_cell_is_one_line_and_nothing_is_written(tmp_path: Path) -> None:
    source = _written(tmp_path / "broken.ipynb", "1", "raise ValueError('no\\nluck')")
    with pytest.raises(DataError, match=r"^[^\n]*broken.ipynb: cell 1: ValueError: no luck$"):
        notebook.execute(source, Path("out.ipynb"), tmp_path)
    assert not (tmp_path / "out.ipynb").exists()


def test_parameters_are_injected_under_a_fixed_id(tmp_path: Path) -> None:
    source = _written(tmp_path / "plain.ipynb", "x = 1", "print(x)")
    written = nbformat.read(source, as_version=4)
    written.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(written, source)
    notebook.execute(source, Path("out.ipynb"), tmp_path, {"x": 2})
    result = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert [cell.id for cell in result.cells] == ["c0", "injected-parameters", "c1"]
    assert result.cells[2].outputs[0].text == "2\n"


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_what_is_no_notebook_is_one_line(content: str | None, tmp_path: Path) -> None:
    source = tmp_path / "none.ipynb"
    if content is not None:
        source.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"^[^\n]*none.ipynb: (no such file|not a notebook: [^\n]+)$"):
        notebook.execute(source, Path("out.ipynb"), tmp_path)
