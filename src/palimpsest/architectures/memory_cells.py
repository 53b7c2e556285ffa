"""The former import path of :mod:`palimpsest.faces.memory_cells`."""

from palimpsest.faces.memory_cells import AssociativeMemory as AssociativeMemory
from palimpsest.faces.memory_cells import DynamicMemory as DynamicMemory
from palimpsest.faces.memory_cells import MemoryCell as MemoryCell
