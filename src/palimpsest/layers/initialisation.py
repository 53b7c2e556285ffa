"""Initialisation of parameters: each run has its own generator, so that its values do not depend on its pack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Generator, nn


@runtime_checkable
class DrawsParameters(Protocol):
    """A module that draws its own parameters; a module without parameters needs no such method."""

    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw the parameters of every run with that run's own generator."""
        ...


def reset_parameters(model: nn.Module, generators: Sequence[Generator]) -> None:
    """Initialise every layer of a model in the order of definition, each run with its own generator.

    Raises:
        TypeError: a module has parameters of its own but no ``reset_parameters``.
    """
    for name, module in model.named_modules():
        if isinstance(module, DrawsParameters):
            module.reset_parameters(generators)
        elif any(True for _ in module.parameters(recurse=False)):
            raise TypeError(f"{name}: {type(module).__name__} has parameters but no reset_parameters(generators)")
