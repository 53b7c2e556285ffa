"""Imports run one way, modules state what lives in them, and no module is a drawer for odds and ends."""

import ast
from pathlib import Path

import pytest

import palimpsest

ROOT = Path(palimpsest.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

STOREYS: list[set[str]] = [
    {"foundation"},
    {"runtime", "sources"},
    {"layers"},
    {"memory"},
    {"models", "tasks", "language"},
    {"training.methods"},
    {"planning"},
    {"training"},
    {"measuring"},
    {"analysis"},
    {"rendering"},
    {"faces"},
    {"architectures"},
    {"cli"},
    {"__main__"},
]
"""From the ground up: a module imports its own package and what stands below, never its neighbours."""


def part(module: str) -> str:
    """``palimpsest.models.nema_lite`` → ``models``; a folder within a room may have a storey of its own."""
    names = module.split(".")[1:]
    folder = ".".join(names[:2])
    return folder if any(folder in storey for storey in STOREYS) else "".join(names[:1])


def imports(path: Path) -> list[str]:
    """Modules of the package that a file imports, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{path}:{node.lineno}: a relative import, which the fingerprint of code does not see"
            )
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in found if name.split(".")[0] == "palimpsest" and "." in name]


def storey(name: str) -> int:
    """How high a part stands."""
    heights = [height for height, names in enumerate(STOREYS) if name in names]
    assert heights, f"palimpsest.{name} has no storey: add to this file where it stands"
    return heights[0]


def identity(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=identity)
def test_imports_run_one_way(path: Path) -> None:
    own = part(".".join(["palimpsest", *path.relative_to(ROOT).with_suffix("").parts]))
    if own == "__init__":
        assert imports(path) == []
        return
    for name in imports(path):
        other = part(name)
        assert other == own or storey(other) < storey(own), f"{identity(path)} imports {name}, which stands above it"


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name in {"analysis", "rendering"}], ids=identity)
def test_analysis_and_rendering_never_train(path: Path) -> None:
    assert not [name for name in imports(path) if part(name) in {"training", "measuring"}]


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    assert not [p for p in MODULES if p.stem.strip("_") in {"utils", "util", "helpers", "helper", "misc", "common"}]


@pytest.mark.parametrize("path", MODULES, ids=identity)
def test_a_module_states_first_what_lives_in_it(path: Path) -> None:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert doc, f"{identity(path)}: no docstring"
    first = doc.split("\n\n")[0]
    assert first.endswith("."), f"{identity(path)}: the first paragraph is no sentence: {first!r}"


@pytest.mark.parametrize("path", MODULES, ids=identity)
def test_what_is_imported_by_name_is_known_to_the_fingerprint(path: Path) -> None:
    """A module that is found by a name made at run time is in no closure; models, tasks and methods are named to it."""
    dynamic = "importlib" in path.read_text(encoding="utf-8")
    assert not dynamic or identity(path) in {
        "language/pretrained.py",  # looks for the folder of a package, and imports nothing
        "memory/named.py",
        "memory/trace.py",
        "models/__init__.py",
        "rendering/kinds/__init__.py",
        "sources/__init__.py",
        "tasks/__init__.py",
        "tasks/shared/graphs.py",  # looks for the files of a package, and imports nothing
        "training/methods/__init__.py",
    }
