"""Which code a result depends on: a hash over the syntax trees of a module and of all that it imports.

Comments, docstrings and layout do not count, so that editing them re-trains nothing; a helper that is imported
counts, however far away it is.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Collection
from pathlib import Path

PACKAGE = "palimpsest"
ROOT = Path(__file__).parents[1]


EXEMPT = {
    "foundation.errors": "exceptions, which end a job and return nothing",
    "foundation.files": "writes the bytes that it is given; data are read as tensors, by foundation.tensors",
    "foundation.sections": "checks parameters; Snakemake compares the values that pass",
    "planning.cards": "reads the card of a data set, which is an input file",
    "planning.parameters": "names the parameters; Snakemake compares their values",
    "planning.phases": "fills in and checks phases; Snakemake compares the values that result",
    "planning.plan": "names runs and their files",
    "planning.provenance": "hashes code",
    "planning.specs": "fills in and checks parameters; Snakemake compares the values that result",
}
"""Modules of which no byte of a data set, a training or a measurement depends, and why.

They are not followed either: what they import counts only where somebody else imports it.
"""
RANGES = "RANGES"
"""Constant in which a module says what its metrics can be; analyses alone read it, so that it does not count."""
EXEMPT_FROM_TRAINING = EXEMPT | {"memory.trace": "makes traces of records for measurements; training asks for none"}


def fingerprint(*modules: str, exempt: Collection[str] = ()) -> str:
    """Hash of the code of ``modules`` and of every module of the package that they import.

    Args:
        modules: dotted names, e.g. ``palimpsest.training.job``.
        exempt: modules that do not count, without the name of the package.

    Raises:
        ModuleNotFoundError: a name is no module of the package.
    """
    return _hash(closure(*modules, exempt=exempt))


def training_modules(model: str, task: str, *chosen: str) -> list[str]:
    """Every module that decides the weights of a run.

    Args:
        model: its name.
        task: its name.
        chosen: modules that the run imports by name: that of its method, and those of
            :func:`palimpsest.models.chosen_modules`.
    """
    return closure(*_of_run("training", model, task, chosen), exempt=EXEMPT_FROM_TRAINING)


def measuring_modules(model: str, task: str, *chosen: str) -> list[str]:
    """Every module that decides what is measured of a trained run; arguments as of :func:`training_modules`.

    Beside the module of a record stands the one that makes a trace of it (:mod:`palimpsest.memory.trace`).
    """
    found = closure(*_of_run("measuring", model, task, chosen), exempt=EXEMPT)
    beside = [f"{name.removesuffix('_log')}_trace" for name in found if name.startswith(f"{PACKAGE}.memory.")]
    return closure(*found, *filter(_is_module, beside), exempt=EXEMPT)


def code_of(model: str, task: str, *chosen: str) -> str:
    """Fingerprint of :func:`training_modules`."""
    return _hash(training_modules(model, task, *chosen))


def measuring_code_of(model: str, task: str, *chosen: str) -> str:
    """Fingerprint of :func:`measuring_modules`."""
    return _hash(measuring_modules(model, task, *chosen))


def data_code(task: str) -> str:
    """Fingerprint of the code that makes the data sets of a task."""
    return fingerprint(f"{PACKAGE}.training.datasets", f"{PACKAGE}.tasks.{task}", exempt=EXEMPT)


def _of_run(job: str, model: str, task: str, chosen: tuple[str, ...]) -> list[str]:
    return [f"{PACKAGE}.{job}.job", f"{PACKAGE}.models.{model}", f"{PACKAGE}.tasks.{task}", *chosen]


def _hash(modules: list[str]) -> str:
    hasher = hashlib.sha256()
    for name in modules:
        hasher.update(f"{name}\n{_meaning(_file(name))}\n".encode())
    return hasher.hexdigest()


def closure(*modules: str, exempt: Collection[str] = ()) -> list[str]:
    """The modules themselves, their parent packages, and all that any of them imports, sorted; none that is exempt."""
    found: set[str] = {f"{PACKAGE}.{name}" for name in exempt}
    left_out = set(found)
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if "." in name:
            waiting.append(name.rpartition(".")[0])
        waiting.extend(_imports(_file(name)))
    return sorted(found - left_out)


def declares_ranges(node: ast.AST) -> bool:
    """Whether a statement of a module is its ``RANGES = …``."""
    return isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [RANGES]


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


@functools.cache
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
    """The syntax tree as text, without docstrings, strings behind attributes, and ranges; alike in every Python."""
    tree = _tree(path)  # what is taken out of it imports nothing
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [item for item in body if not _is_bare_string(item)]
    tree.body[:] = [item for item in tree.body if not declares_ranges(item)]
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
