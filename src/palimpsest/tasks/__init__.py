"""Tasks, one a file: a Config with its generator, its chance and its ceiling. Here: what every task has in common."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal, NamedTuple

from torch import Tensor

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import Section

Scored = Literal["class", "classes", "bits"]
"""What a task asks for: one class an example, or a class or a vector of bits at every step that is asked for."""
SPLITS = ("train", "validation", "test")


class Examples(NamedTuple):
    """One split, as tensors whose first axis counts the examples."""

    inputs: Tensor
    """(examples, time), int64 tokens."""
    targets: Tensor
    """(examples,), int64 classes; or (examples, time), what is to be said at each step, −1 where nothing is asked."""
    extras: dict[str, Tensor]
    """What an analysis or an oracle may know and a learner may not, e.g. ``answer_position`` (examples,).

    Of sequences that differ in length, padded at their end: ``length`` (examples,), tokens without padding; ``slice``
    (examples,), a number that says how hard each is, by which metrics of the test are given, too; ``group``
    (examples,), equal where examples may change places in a stream.
    """

    def rows(self, rows: Tensor | slice, time: int | None = None) -> Examples:
        """Some examples, (…, time) for rows (…).

        Args:
            rows: which.
            time: tokens of the longest of them, where they may differ in length: the padding behind it is left out.
        """
        inputs, targets = self.inputs[rows], self.targets[rows]
        if time is not None:
            inputs, targets = inputs[..., :time], targets[..., :time]
        return Examples(inputs, targets, {name: value[rows] for name, value in self.extras.items()})

    def lengths(self) -> Tensor | None:
        """Tokens of each example, on the CPU, where they may differ; whoever asks waits for the device."""
        return self.extras["length"].cpu() if "length" in self.extras else None


class Splits(NamedTuple):
    """A data set. The test split is looked at once, when a run has ended."""

    train: Examples
    validation: Examples
    test: Examples


def drawn(config: Any, seed: int, draw: Callable[[Any, int, int], Examples]) -> Splits:
    """A data set of ``config.num_train``, ``num_validation`` and ``num_test`` examples.

    Each split has a generator of its own (seeds 3·seed, 3·seed+1, 3·seed+2), so that a longer training split leaves
    the others as they are.

    Args:
        config: the task's parameters.
        seed: of the data set.
        draw: (config, examples, seed of the split) → its examples.
    """
    sizes = [getattr(config, f"num_{split}") for split in SPLITS]
    return Splits(*(draw(config, size, 3 * seed + index) for index, size in enumerate(sizes)))


def on_device(splits: Splits, device: str) -> Splits:
    """The same data set on a device."""
    moved = [
        Examples(inputs.to(device), targets.to(device), {name: value.to(device) for name, value in extras.items()})
        for inputs, targets, extras in splits
    ]
    return Splits(*moved)


def scored(module: ModuleType) -> Scored:
    """What a task asks for: its ``SCORED``; one class, if it does not say."""
    return getattr(module, "SCORED", "class")


def is_generated(module: ModuleType) -> bool:
    """Whether a task makes its examples up, so that there can be any number of them."""
    return getattr(module, "GENERATED", True)


def sample(module: ModuleType, config: Section, size: int) -> Examples:
    """A few examples of the right shapes, for those who care about shapes alone; reads no file."""
    if not is_generated(module):
        return config.blank(size)  # type: ignore[attr-defined]
    sizes = dict.fromkeys(("num_train", "num_validation", "num_test"), size)
    return config.model_copy(update=sizes).build(0).train  # type: ignore[attr-defined]


def names() -> list[str]:
    """Every task: the files beside this one; a folder holds what several of them share."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def load(name: str, where: str = "task") -> ModuleType:
    """The module of one task.

    It exports ``Config`` with ``interface()`` and ``build(seed)``, ``chance(config)``, ``ceiling(config)`` and
    ``best_guess(config, inputs)``. One that reads files instead of generating examples says ``GENERATED = False``, has
    no best guess, and its ``Config`` makes examples without content by ``blank(size)``.

    Raises:
        ParameterError: there is no such file.
    """
    if name not in names():
        raise ParameterError(f"{where}: {name!r} is no task; allowed: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")
