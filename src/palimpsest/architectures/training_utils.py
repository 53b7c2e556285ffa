"""The former import path of :mod:`palimpsest.faces.training_utils`."""

from palimpsest.faces.continual_learning import ContinualLearningTrainer as ContinualLearningTrainer
from palimpsest.faces.training_utils import Losses as Losses
from palimpsest.faces.training_utils import MemoryTrainer as MemoryTrainer
