"""Tasks, one a file: a Config that makes the data, a score, chance, floor, ceiling. Here: what tasks have in common."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol, cast, runtime_checkable

from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import Section

SPLITS = ("train", "validation", "test")
Array = NDArray[Any]
Scores = dict[str, Float[Tensor, "runs batch"]]
"""What each example scores, by metric; ``loss`` is one of them and has the gradient."""


class Metric(NamedTuple):
    """A metric of a task's score."""

    name: str
    """Key in what ``score`` returns."""
    label: str
    """What figures and tables call it."""


class Examples(NamedTuple):
    """One split, as tensors whose first axis counts the examples."""

    inputs: Tensor
    """(examples, time), int64 tokens."""
    targets: Tensor
    """(examples, asked steps), int64: the right answer at each, −1 where nothing is asked after all."""
    extras: dict[str, Tensor]
    """What an analysis or an oracle may know and a learner may not, e.g. ``answer_position`` (examples,).

    Of sequences that differ in length, padded at their end: ``length`` (examples,), tokens without padding; ``slice``
    (examples,), how hard each is, a number; metrics of the test are also computed for each of its values; ``group``
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
            at_every_step = targets.shape[-1] == inputs.shape[-1]
            inputs, targets = inputs[..., :time], targets[..., :time] if at_every_step else targets
        return Examples(inputs, targets, {name: value[rows] for name, value in self.extras.items()})

    def lengths(self) -> Tensor | None:
        """Tokens of each example, on the CPU, where they may differ; whoever asks waits for the device."""
        return self.extras["length"].cpu() if "length" in self.extras else None


class Splits(NamedTuple):
    """A data set. The test split is looked at once, when a run has ended."""

    train: Examples
    validation: Examples
    test: Examples


class TaskConfig(Section):
    """Parameters of a task, and what most tasks answer alike: a task overrides what differs.

    Every task also has fields ``num_train``, ``num_validation`` and ``num_test``.
    """

    generated: ClassVar[bool] = True
    """Whether examples are generated, so that there can be any number of them; ``False`` where they are read."""
    extras: ClassVar[tuple[str, ...]] = ()
    """Extras that each split must have."""

    def interface(self) -> dict[str, Any]:
        """What a model must know of the task: its alphabet, the size of its output, and where it is asked."""
        raise NotImplementedError(f"{type(self).__module__}: a task defines interface()")

    def build(self, seed: int) -> Splits:
        """Make the data set; the same seed gives the same examples on every machine."""
        raise NotImplementedError(f"{type(self).__module__}: a task defines build(seed)")

    def asked(self) -> list[int] | None:
        """The steps at which an answer is asked, as :meth:`interface` has them; ``None``: every step."""
        return self.interface().get("asked")

    def num_answers(self) -> int:
        """How many different targets there are: they lie below this."""
        return int(self.interface()["num_outputs"])

    def scored_parts(self) -> int:
        """Parts of an answer that are right or wrong by themselves: one, or the bits of a vector."""
        return 1

    def share_right(self, guess: Int[Tensor, "*shape"], targets: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Share of each answer that is right, in [0, 1], as the task's main metric counts it."""
        return (guess == targets).float()

    def trained(self, size: int) -> bool | None:
        """Whether training has examples of a size, as ``slice`` counts sizes; ``None``: unknown."""
        del size
        return None

    def sample(self, size: int) -> Examples:
        """A few examples of the right shapes, for those who need shapes alone; reads no file."""
        sizes = dict.fromkeys((f"num_{split}" for split in SPLITS), size)
        return self.model_copy(update=sizes).build(0).train


@runtime_checkable
class Task(Protocol):
    """What the module of a task exports; none of it has a default."""

    __doc__: str | None
    Config: type[Any]
    """A :class:`TaskConfig`."""
    METRIC: Metric
    """The main metric: that of chance, informed floor and ceiling."""
    RECORD: str
    """The field that :meth:`record` gives."""

    def score(self, logits: Tensor, examples: Examples) -> Scores:
        """Score every example of R runs.

        Args:
            logits: (R, B, Q, O), of a model, at the Q asked steps.
            examples: what they are about, each tensor (R, B, …).
        """
        ...

    def record(self, logits: Tensor) -> dict[str, Tensor]:
        """What a trace keeps of a model's outputs, (R, B, …)."""
        ...

    def picture(self, config: Any, tokens: Array, targets: Array) -> dict[str, Array]:
        """An example as lines of channels, each (steps, channels): what goes in, and ``target`` at the asked steps."""
        ...

    def chance(self, config: Any) -> float:
        """What a guess that looks at nothing scores."""
        ...

    def informed_guess(self, config: Any, inputs: Tensor) -> Tensor | None:
        """Answers of the best predictor that sees the inputs but not what the memory is for, e.g. which one is asked.

        Its score is the informed floor. The answers are of the shape of the targets; what they are where nothing is
        asked has no effect. ``None``: the inputs help no such predictor, so that the floor is chance.
        """
        ...

    def ceiling(self, config: Any) -> float:
        """What no predictor can exceed."""
        ...

    def best_guess(self, config: Any, inputs: Tensor) -> Tensor | None:
        """Answers of a best predictor, of the shape of the targets; ``None`` where none is known."""
        ...


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


def names() -> list[str]:
    """Every task: the files beside this one; a folder holds what several of them share."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def load(name: str, where: str = "task") -> Task:
    """The module of one task.

    Raises:
        ParameterError: there is no such file.
    """
    if name not in names():
        raise ParameterError(f"{where}: {name!r} is no task; allowed: {', '.join(names())}")
    return cast("Task", importlib.import_module(f"{__name__}.{name}"))
