"""How the parameters of a model are drawn: each run from a generator of its own, so that packs change no run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Generator, nn


def reset_parameters(model: nn.Module, generators: Sequence[Generator]) -> None:
    """Initialise every layer of a model in the order of definition, each run with its own generator.

    Raises:
        TypeError: a module has parameters of its own but no ``reset_parameters``.
    """
    for name, module in model.named_modules():
        draw: Callable[[Sequence[Generator]], None] | None = getattr(module, "reset_parameters", None)
        if draw is not None:
            draw(generators)
        elif any(True for _ in module.parameters(recurse=False)):
            raise TypeError(f"{name}: {type(module).__name__} has parameters but no reset_parameters(generators)")
