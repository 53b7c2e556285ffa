"""Which code a result depends on: a hash over the syntax trees of a module and of all that it imports.

Comments, docstrings and layout do not count, so that editing them re-trains nothing; a helper that is imported
counts, however far away it is.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

PACKAGE = "palimpsest"
ROOT = Path(__file__).parents[1]


def fingerprint(*modules: str) -> str:
    """Hash of the code of ``modules`` and of every module of the package that they import.

    Args:
        modules: dotted names, e.g. ``palimpsest.training.job``.

    Raises:
        ModuleNotFoundError: a name is no module of the package.
    """
    hasher = hashlib.sha256()
    for name in closure(*modules):
        hasher.update(f"{name}\n{_meaning(_file(name))}\n".encode())
    return hasher.hexdigest()


def code_of(model: str, task: str, *chosen: str) -> str:
    """Fingerprint of all code on which the training of a model on a task depends.

    Args:
        model: name of the model.
        task: name of the task.
        chosen: modules that the model finds by name (:func:`palimpsest.models.chosen_modules`).
    """
    return fingerprint(f"{PACKAGE}.training.job", f"{PACKAGE}.models.{model}", f"{PACKAGE}.tasks.{task}", *chosen)


def measuring_code_of(model: str, task: str, *chosen: str) -> str:
    """Fingerprint of all code on which the measurement of trained runs depends; see :func:`code_of`."""
    return fingerprint(f"{PACKAGE}.measuring.job", f"{PACKAGE}.models.{model}", f"{PACKAGE}.tasks.{task}", *chosen)


def closure(*modules: str) -> list[str]:
    """The modules themselves, their parent packages, and all that any of them imports, sorted."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if "." in name:
            waiting.append(name.rpartition(".")[0])
        waiting.extend(_imports(_file(name)))
    return sorted(found)


def source_digest() -> str:
    """Hash of every source file of the package, byte by byte: whatever is kept under it is of this very code."""
    hasher = hashlib.sha256()
    for path in sorted(ROOT.rglob("*.py")):
        content = path.read_bytes()
        hasher.update(f"{path.relative_to(ROOT).as_posix()} {len(content)}\n".encode() + content)
    return hasher.hexdigest()


def _file(name: str) -> Path:
    path = ROOT.joinpath(*name.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if name.split(".")[0] == PACKAGE and candidate.is_file():
            return candidate
    raise ModuleNotFoundError(f"{name} is no module of {PACKAGE}")


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split(".")[1:])
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.split(".")[0] == PACKAGE and _is_module(name)]


@functools.cache
def _meaning(path: Path) -> str:
    """The syntax tree as text, without docstrings and bare strings behind attributes; alike in every Python."""
    tree = _tree(path)  # what is taken out of it imports nothing
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [item for item in body if not _is_bare_string(item)]  # type: ignore[attr-defined]
    return repr(_plain(tree))


def _plain(node: object) -> object:
    """A syntax tree as nested tuples; empty fields, of which later versions of Python have more, are left out."""
    if isinstance(node, ast.AST):
        fields = ((name, _plain(value)) for name, value in ast.iter_fields(node))
        return (type(node).__name__, *(field for field in fields if field[1] not in (None, ())))
    if isinstance(node, list):
        return tuple(_plain(item) for item in node)
    return None if node is None else repr(node)


def _is_bare_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
