"""The former import path of :mod:`palimpsest.faces.memory_layers`."""

from palimpsest.faces.memory_layers import MemoryLayer as MemoryLayer
from palimpsest.faces.memory_layers import RecurrentMemoryLayer as RecurrentMemoryLayer
from palimpsest.faces.memory_layers import ResidualLayer as ResidualLayer
from palimpsest.faces.memory_layers import TransformerMemoryLayer as TransformerMemoryLayer
