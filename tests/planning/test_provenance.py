"""What counts as another version of the code: meaning does, however far away it is imported; comments do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from palimpsest import models, tasks
from palimpsest.planning import provenance


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of four modules: near imports far inside a function; other stands alone."""
    files = {
        "__init__.py": '"""Package."""\n',
        "far.py": '"""Far."""\n\n\nSIZE = 3\n"""Of something."""\n',
        "near.py": '"""Near."""\ndef size():\n    """It."""\n    from palimpsest.far import SIZE\n    return SIZE\n',
        "other.py": '"""Other."""\nimport math\n',
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    return tmp_path


def fingerprint(*modules: str) -> str:
    """As it is now: trees are cached by path in one process, where files do not change."""
    provenance._tree.cache_clear()
    provenance._imports.cache_clear()
    provenance._meaning.cache_clear()
    return provenance.fingerprint(*modules)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Far."""', '"""Far away."""'),
        ("SIZE = 3", "SIZE = 3  # slots"),
        ("SIZE = 3", "\n\nSIZE   =   3"),
        ("SIZE = 3", "SIZE = (3)"),
        ("SIZE = 3", 'SIZE = 3\nRANGES = {"share": (0, 1)}'),
        ('"""Of something."""', '"""Of something else."""'),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(package: Path, old: str, new: str) -> None:
    before = fingerprint("palimpsest.near")
    text = (package / "far.py").read_text()
    assert old in text
    (package / "far.py").write_text(text.replace(old, new))
    assert fingerprint("palimpsest.near") == before


@pytest.mark.parametrize(
    "new",
    ["SIZE = 4", "class A:\n    RANGES = 1\nSIZE = 3", "SIZE = 3.0", 'SIZE = "3"', "SIZE = 3\nSIZE += 1", "SIZE = -3"],
)
def test_code_counts_however_far_away_it_is_imported(package: Path, new: str) -> None:
    before = fingerprint("palimpsest.near")
    (package / "far.py").write_text((package / "far.py").read_text().replace("SIZE = 3", new))
    assert fingerprint("palimpsest.near") != before


def test_code_that_is_not_imported_does_not_count(package: Path) -> None:
    before = fingerprint("palimpsest.near")
    (package / "other.py").write_text("import cmath\n")
    assert fingerprint("palimpsest.near") == before
    assert provenance.closure("palimpsest.near") == ["palimpsest", "palimpsest.far", "palimpsest.near"]


def test_moving_the_package_does_not_count(
    package: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch
) -> None:
    before = fingerprint("palimpsest.near")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for file in package.glob("*.py"):
        (elsewhere / file.name).write_text(file.read_text())
    monkeypatch.setattr(provenance, "ROOT", elsewhere)
    assert fingerprint("palimpsest.near") == before


def test_an_unknown_module_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"palimpsest\.nowhere is no module"):
        provenance.fingerprint("palimpsest.nowhere")


@pytest.mark.parametrize("model", models.names())
def test_the_closure_holds_all_that_a_training_process_imports(model: str) -> None:
    task = tasks.names()[0]
    names = ["palimpsest.training.job", f"palimpsest.models.{model}", f"palimpsest.tasks.{task}"]
    script = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print('\\n'.join(name for name in sys.modules if name.split('.')[0] == 'palimpsest'))"
    )
    source = Path(provenance.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    imported = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(imported) <= set(provenance.closure(*names))
    assert f"palimpsest.models.{model}" in imported
