"""The former import path of :mod:`palimpsest.faces.memory_utils`."""

from palimpsest.faces.memory_utils import MemoryAnalyzer as MemoryAnalyzer
from palimpsest.faces.memory_utils import MemoryVisualizer as MemoryVisualizer
