"""Notebooks: papermill executes them; what differs between two executions is removed."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat

import palimpsest
from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import write_text

KERNEL = "palimpsest"
INJECTED = "injected-parameters"
SECONDS = 600
WIDTH, COLOURS = 700, 32
"""Width in pixels and number of colours of a figure in a notebook; figures for print are below ``plots/``."""
_STRIPPED = ["metadata.papermill", "metadata.language_info", "cell.metadata.papermill", "cell.metadata.execution"]


def execute(source: Path, target: Path, root: Path, parameters: dict[str, Any] | None = None) -> None:
    """Execute a notebook in the product directory and write it with its outputs; a second run gives the same bytes.

    The notebook runs in this interpreter, whatever kernels are installed, and imports this package.

    Args:
        source: the notebook; a cell with the tag ``parameters`` has its parameters.
        target: path of the executed notebook; relative to ``root`` unless absolute.
        root: product directory, in which the cells run.
        parameters: values of the parameters, plain values only; they appear in the notebook.

    Raises:
        DataError: the file is missing or is not a notebook, or a cell fails; the message names the cell and the error.
    """
    notebook = _read(source)
    with _kernel() as folder:
        executed = _run(notebook, Path(folder), root, parameters or {}, source)
    write_text(root / target, normalised(executed))


def small_figure(figure: Path) -> bytes:
    """Shrink a figure for a notebook; the same file gives the same bytes.

    Args:
        figure: PNG of any size.

    Returns:
        PNG with a width of at most ``WIDTH`` pixels, in ``COLOURS`` colours.

    Raises:
        DataError: there is no such file, or it is not a picture.
    """
    import PIL.Image

    try:
        with PIL.Image.open(figure) as picture:
            width = min(WIDTH, picture.width)
            size = (width, max(1, round(picture.height * width / picture.width)))
            small = picture.convert("RGB").resize(size, PIL.Image.Resampling.LANCZOS)
    except FileNotFoundError:
        raise DataError(f"{figure}: no such file") from None
    except OSError:
        raise DataError(f"{figure}: not a picture; allowed: PNG") from None
    buffer = io.BytesIO()
    small.quantize(COLOURS, dither=PIL.Image.Dither.NONE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _read(source: Path) -> nbformat.NotebookNode:
    try:
        notebook = nbformat.read(source, as_version=4)
        nbformat.validate(notebook)
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    except (ValueError, nbformat.ValidationError, AttributeError) as error:
        raise DataError(f"{source}: not a notebook: {str(error).splitlines()[0]}; allowed: nbformat 4") from None
    return notebook


def _run(notebook: nbformat.NotebookNode, folder: Path, root: Path, parameters: dict[str, Any], source: Path) -> Any:
    from papermill.exceptions import PapermillExecutionError
    from papermill.execute import execute_notebook

    notebook.metadata.setdefault("kernelspec", _KERNELSPEC)
    before, after = folder / "before.ipynb", folder / "after.ipynb"
    nbformat.write(notebook, before)
    try:
        execute_notebook(
            str(before),
            str(after),
            parameters=parameters,
            cwd=str(root.resolve()),
            kernel_name=KERNEL,
            progress_bar=False,
            log_output=False,
            execution_timeout=SECONDS,
        )
    except PapermillExecutionError as error:
        problem = " ".join(str(error.evalue).split())
        raise DataError(f"{source}: cell {error.cell_index}: {error.ename}: {problem}") from None
    executed = nbformat.read(after, as_version=4)
    executed.metadata["kernelspec"] = notebook.metadata["kernelspec"]
    return executed


_KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}


def normalised(notebook: nbformat.NotebookNode) -> str:
    """Return the notebook as text without times, versions and random names; cells keep the ids of the source."""
    from nbstripout import strip_output

    for cell in notebook.cells:
        if INJECTED in cell.metadata.get("tags", []):
            cell["id"] = INJECTED
    stripped = strip_output(
        notebook, keep_output=True, keep_count=True, keep_id=True, extra_keys=_STRIPPED, strip_init_cells=False
    )
    return nbformat.writes(stripped) + "\n"


@contextmanager
def _kernel() -> Iterator[str]:
    """Yield a directory with a kernel that runs this interpreter; Jupyter finds it within the context."""
    with tempfile.TemporaryDirectory(prefix="palimpsest-notebook-") as folder:
        kernel = Path(folder) / "data/kernels" / KERNEL
        kernel.mkdir(parents=True)
        package = str(Path(palimpsest.__file__).resolve().parents[1])
        paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH", "")]))
        specification = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": KERNEL,
            "language": "python",
            "env": {"PYTHONPATH": paths, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
        }
        (kernel / "kernel.json").write_text(json.dumps(specification), encoding="utf-8")
        settings = {
            "JUPYTER_PATH": f"{folder}/data",
            "JUPYTER_RUNTIME_DIR": f"{folder}/runtime",
            "JUPYTER_CONFIG_DIR": f"{folder}/config",
            "IPYTHONDIR": f"{folder}/ipython",
            "JUPYTER_PLATFORM_DIRS": "1",
        }
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        try:
            yield folder
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
