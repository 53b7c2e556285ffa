"""Notebooks: executed in this interpreter, twice the same bytes, a failing cell is one line."""

import io
import os
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from palimpsest import sources
from palimpsest.foundation.errors import DataError
from palimpsest.planning.parameters import Params
from palimpsest.rendering import figures, notebook, tables
from tests.rendering import fake
from tests.rendering.conftest import CLAIMS, PROJECT, PUBLISHED

NOTEBOOKS = {
    notebook.name: (PROJECT / f"notebooks/source/{name}/{notebook.name}.ipynb", notebook.experiments)
    for name, source in sources.manifests().items()
    for notebook in source.notebooks
}
MADE_UP = {name: (path, asked) for name, (path, asked) in NOTEBOOKS.items() if {*asked} <= {*fake.params().experiments}}
"""Notebooks for which there are made-up products; the builds of the workflow tests execute all of them, twice."""
ALL = pytest.mark.parametrize(("path", "experiments"), NOTEBOOKS.values(), ids=NOTEBOOKS)
LIFECYCLE = NOTEBOOKS["02_NeMA_LC_Memory_Dynamics"][0]


@ALL
def test_source_is_not_executed_and_has_parameters(path: Path, experiments: tuple[str, ...]) -> None:
    source = nbformat.read(path, as_version=4)
    nbformat.validate(source)
    assert (source.nbformat, source.nbformat_minor) == (4, 5)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in source.cells)
    tagged = [cell.source for cell in source.cells if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == [f'root = "."\nexperiment = "{experiments[0]}"']


@pytest.mark.parametrize(("path", "experiments"), MADE_UP.values(), ids=MADE_UP)
def test_two_executions_in_two_places_give_the_same_bytes(
    path: Path, experiments: tuple[str, ...], tmp_path: Path, preset: Params
) -> None:
    before, executed = dict(os.environ), []
    for name in ("first", "second/deeper"):
        root = tmp_path / name
        fake.write(root, preset)
        tables.write_tables(preset, root, claims=CLAIMS, published=PUBLISHED)
        for experiment in experiments:
            figures.write_figures(preset, root, experiment)
        notebook.execute(path, Path("notebooks/executed.ipynb"), root)
        executed.append((root / "notebooks/executed.ipynb").read_bytes())
    assert executed[0] == executed[1]
    assert str(tmp_path).encode() not in executed[0]
    assert dict(os.environ) == before
    result, source = nbformat.reads(executed[0].decode(), as_version=4), nbformat.read(path, as_version=4)
    assert [cell.id for cell in result.cells] == [cell.id for cell in source.cells]
    assert set(result.metadata) == {"kernelspec"}
    outputs = [output for cell in result.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == sum(
        len(sources.experiment_of(experiment).figures) for experiment in experiments
    )
    assert not [output for output in outputs if output.output_type in ("error", "stream")]


def test_the_notebook_of_memories_is_small_and_shows_what_the_tables_hold(
    tmp_path: Path, products: Path, preset: Params
) -> None:
    root = shutil.copytree(products, tmp_path / "products")
    for experiment in NOTEBOOKS["04_Memory_Architectures"][1]:
        figures.write_figures(preset, root, experiment)
    notebook.execute(NOTEBOOKS["04_Memory_Architectures"][0], Path("out.ipynb"), root)
    assert (root / "out.ipynb").stat().st_size < 500_000
    cells = {cell.id: cell for cell in nbformat.read(root / "out.ipynb", as_version=4).cells}
    sizes = cells["sizes"].outputs[0]["data"]["text/plain"]
    for value in pd.read_csv(root / "tables/generalisation.csv")["accuracy_mean"].round(3):
        assert f"{value:.3f}" in sizes
    assert cells["claims"].outputs[0]["data"]["text/plain"].count("004-") == 10
    assert "001-" not in cells["claims"].outputs[0]["data"]["text/plain"]


class TestASmallFigure:
    @staticmethod
    def drawn(path: Path, width: int, height: int) -> Path:
        """A picture of every shade, which no palette holds."""
        across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
        PIL.Image.fromarray(np.stack([across, down, 255 - across], axis=2).astype(np.uint8)).save(path)
        return path

    @pytest.mark.parametrize(
        ("width", "height", "expected"), [(1100, 790, (700, 503)), (300, 2, (300, 2)), (5600, 3, (700, 1))]
    )
    def test_is_no_wider_than_a_notebook_and_keeps_its_shape(
        self, width: int, height: int, expected: tuple[int, int], tmp_path: Path
    ) -> None:
        content = notebook.small_figure(self.drawn(tmp_path / "a.png", width, height))
        with PIL.Image.open(io.BytesIO(content)) as picture:
            assert (picture.format, picture.size) == ("PNG", expected)
            assert len(picture.getcolors() or []) <= notebook.COLOURS

    def test_is_the_same_bytes_twice_and_fewer_than_the_figure(self, tmp_path: Path) -> None:
        figure = self.drawn(tmp_path / "a.png", 1100, 790)
        assert notebook.small_figure(figure) == notebook.small_figure(figure)
        assert len(notebook.small_figure(figure)) < figure.stat().st_size

    @pytest.mark.parametrize(("content", "words"), [(None, "no such file"), (b"no", "not a picture; allowed: PNG")])
    def test_of_no_picture_is_named(self, content: bytes | None, words: str, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match=rf"^{path}: {words}$"):
            notebook.small_figure(path)


def test_the_lifecycle_notebook_shows_what_the_tables_hold(tmp_path: Path, products: Path, preset: Params) -> None:
    root = shutil.copytree(products, tmp_path / "products")
    figures.write_figures(preset, root, "nema_lc")
    notebook.execute(LIFECYCLE, Path("out.ipynb"), root)
    assert (root / "out.ipynb").stat().st_size < 700_000
    cells = {cell.id: cell for cell in nbformat.read(root / "out.ipynb", as_version=4).cells}

    def shown(cell: str) -> str:
        return "\n".join(output["data"].get("text/plain", "") for output in cells[cell].outputs)

    table = pd.read_csv(root / "tables/lifecycle.csv")
    assert len(shown("performance").splitlines()) > len(table)
    for value in table["test_accuracy_on_mean"].round(3):
        assert f"{value:.3f}" in shown("performance")
    assert shown("reductions").count("001-c") == 6
    assert shown("claims").count("001-") == 10
    assert "000-" not in shown("claims")
    assert "oracle_replacement" in shown("policies")
    assert "**published**: a sequence is one memory step." in "".join(
        output["data"].get("text/markdown", "") for output in cells["within"].outputs
    )


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
