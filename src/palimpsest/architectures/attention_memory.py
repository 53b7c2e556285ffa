"""The former import path of :mod:`palimpsest.faces.attention_memory`."""

from palimpsest.faces.attention_memory import AttentionMemory as AttentionMemory
from palimpsest.faces.attention_memory import HierarchicalMemory as HierarchicalMemory
from palimpsest.faces.attention_memory import SparseMemory as SparseMemory
