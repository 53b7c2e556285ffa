"""Methods of training over phases, one a file: a Config and a Method. Here: the hooks that every method has.

A method is pure: its state is a tree of tensors, each with a leading runs axis, that goes in and comes out, so that a
checkpoint can hold it. Axes: R runs of a pack, B batch, T time.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Generator, Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import Section
from palimpsest.tasks import Examples, Splits


@runtime_checkable
class Learner(Protocol):
    """What a method may read of a pack of R runs in training."""

    hyper: dict[str, Tensor]
    """Per-run parameters of model, training and method, each (R,)."""
    phase: int
    """Number of the current phase, from 0."""

    @property
    def runs(self) -> int:
        """R."""
        ...

    @property
    def num_phases(self) -> int:
        """Phases of each run."""
        ...

    @property
    def device(self) -> Any:
        """Where parameters and examples are."""
        ...

    def moving(self) -> dict[str, nn.Parameter]:
        """Parameters that move in any phase, by name, each (R, …)."""
        ...

    def loss(self, examples: Examples) -> Float[Tensor, "runs batch"]:
        """Task loss of every example in nats, with dropout off."""
        ...

    def generators(self, *purpose: str | int) -> list[Generator]:
        """A CPU generator for each run, which depends on its seed, the purpose and the steps taken so far."""
        ...


class Method:
    """Plain training. A method is a subclass that overrides some of the hooks.

    Args:
        config: the method's own parameters; those of one run are in ``pack.hyper``.
    """

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def extra_examples(self) -> int:
        """Examples that :meth:`examples` adds to a batch at most."""
        return 0

    def initial_state(self, pack: Learner, data: Sequence[Splits]) -> Any:
        """Return the state before the first phase; its structure never changes.

        Args:
            pack: before the first step.
            data: the data set of each phase.
        """
        del pack, data

    def penalty(self, pack: Learner, state: Any) -> Float[Tensor, " runs"] | None:
        """Return what is added to the loss of every step, each run's from its own parameters; ``None``: nothing."""
        del pack, state
        return None

    def examples(self, pack: Learner, state: Any, batch: Examples) -> Examples:
        """Return the batch of a step, possibly with stored examples behind its own.

        Args:
            pack: before the step.
            state: of the method.
            batch: (R, B, …), of the current phase.
        """
        del pack, state
        return batch

    def after_phase(self, pack: Learner, state: Any, data: Splits) -> Any:
        """Return the state after a phase has ended.

        Args:
            pack: with the weights that the phase left.
            state: of the method.
            data: the phase's data set.
        """
        del pack, data
        return state


def names() -> list[str]:
    """Return every method: the files of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str, where: str = "method") -> ModuleType:
    """Return the module of one method; it exports ``Config`` and ``Method``.

    Raises:
        ParameterError: there is no such file.
    """
    if name not in names():
        raise ParameterError(f"{where}: {name!r} is no method; allowed: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def make(name: str, config: dict[str, Any]) -> Method:
    """Return a method with its parameters checked."""
    module = load(name)
    section: type[Section] = module.Config
    return module.Method(section.model_validate(config))
