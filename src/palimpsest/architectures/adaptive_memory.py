"""The former import path of :mod:`palimpsest.faces.adaptive_memory`."""

from palimpsest.faces.adaptive_memory import AdaptiveMemory as AdaptiveMemory
from palimpsest.faces.adaptive_memory import DynamicMemoryLayer as DynamicMemoryLayer
from palimpsest.faces.adaptive_memory import GatedMemory as GatedMemory
