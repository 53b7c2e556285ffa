"""Memories by name, for a network that holds any of them: the same sizes for all.

A memory is a file beside this one with a function ``build(runs, d_in, num_slots, slot_dim, num_read_heads)``; a new
file is a new memory, and nothing else lists them. Its name is that of the file, without ``memory``: ``memory_cell.py``
has ``cell``, ``attention_memory.py`` has ``attention``.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import palimpsest.memory
from palimpsest.foundation.errors import ParameterError

MemoryName = str
"""One of :func:`names`."""


@runtime_checkable
class MemoryModule(Protocol):
    """A module that has a memory; other modules beside this one have parts of memories."""

    def build(self, runs: int, d_in: int, num_slots: int, slot_dim: int, num_read_heads: int = 1, /) -> Any:
        """Return the cell in these sizes."""
        ...


@functools.cache
def _modules() -> dict[str, ModuleType]:
    found = {}
    for module in pkgutil.iter_modules(palimpsest.memory.__path__):
        if not module.ispkg and module.name != "named":
            loaded = importlib.import_module(f"palimpsest.memory.{module.name}")
            if isinstance(loaded, MemoryModule):
                found[module.name.removeprefix("memory_").removesuffix("_memory")] = loaded
    return found


def names() -> list[str]:
    """Every memory that has a name."""
    return sorted(_modules())


def module_of(name: MemoryName) -> str:
    """The module in which a memory is, for the fingerprint of what depends on it.

    >>> module_of("cell")
    'palimpsest.memory.memory_cell'

    Raises:
        ParameterError: there is no such memory.
    """
    if name not in _modules():
        raise ParameterError(f"memory: {name!r} is no memory; allowed: {', '.join(names())}")
    return _modules()[name].__name__


def named_memory(name: MemoryName, runs: int, d_in: int, num_slots: int, slot_dim: int, num_read_heads: int = 1) -> Any:
    """The cell (:class:`palimpsest.memory.contract.Cell`, an ``nn.Module``) of a name.

    Args:
        name: one of :func:`names`.
        runs: size R of the pack.
        d_in: features in.
        num_slots: N.
        slot_dim: W.
        num_read_heads: H; 1 for ``cell``, which has no heads.

    Raises:
        ParameterError: there is no such memory, or it does not come in these sizes.
    """
    module_of(name)
    return _modules()[name].build(runs, d_in, num_slots, slot_dim, num_read_heads)
