"""The former import path of :mod:`palimpsest.faces.memory_models`."""

from palimpsest.faces.continual_learning import ContinualLearningModel as ContinualLearningModel
from palimpsest.faces.memory_models import MemoryEnhancedRNN as MemoryEnhancedRNN
from palimpsest.faces.memory_models import MemoryTransformer as MemoryTransformer
