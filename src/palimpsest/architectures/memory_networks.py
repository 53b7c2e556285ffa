"""The former import path of :mod:`palimpsest.faces.memory_networks`."""

from palimpsest.faces.memory_networks import DifferentiableNeuralComputer as DifferentiableNeuralComputer
from palimpsest.faces.memory_networks import MemoryAugmentedNetwork as MemoryAugmentedNetwork
from palimpsest.faces.memory_networks import NeuralTuringMachine as NeuralTuringMachine
