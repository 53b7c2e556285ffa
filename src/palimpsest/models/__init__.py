"""Models, one architecture a file: a Config and a Model. Here: what goes in and comes out of every model.

Axes, everywhere: R runs of a pack, B batch, T time, D features, N slots, C classes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import Section
from palimpsest.memory.control import CONTROLS as CONTROLS
from palimpsest.memory.control import Control
from palimpsest.memory.stepwise import Watch

if TYPE_CHECKING:
    from palimpsest.memory.trace import MemoryTrace


class Batch(NamedTuple):
    """What a model sees of R × B examples."""

    inputs: Tensor
    """(R, B, T), int64 tokens."""
    noise_key: Tensor
    """(R,), int64: all randomness of a forward pass is a function of it (:mod:`palimpsest.layers.noise`)."""
    extras: dict[str, Tensor]
    """(R, B, …): for oracles and analyses only."""
    control: Control = "on"
    start: int = 0
    """Position of the first token: a long sequence may come in chunks, the state carried from one to the next."""
    watch: Watch | None = None
    """Looks at the memory after every step; models that go over a sequence at once go step by step for it."""


class ModelOutput(NamedTuple):
    """What a model returns."""

    logits: Tensor
    """(R, B, C), or (R, B, T, O) of a model that answers at every step."""
    losses: dict[str, Tensor]
    """Unweighted auxiliary terms, each (R,), weighed by :func:`loss_weights`."""
    record: Any
    """What the memory has at hand of what it did (:mod:`palimpsest.memory.trace`); ``None`` if it recorded nothing."""
    state: Any
    log: dict[str, Tensor] = {}  # noqa: RUF012 (nobody writes to it)
    """What the memory logs of every batch: means over its examples, each (R,), float64."""

    @property
    def trace(self) -> MemoryTrace:
        """What the memory did, in the form that all models share."""
        from palimpsest.memory.trace import trace_of

        return trace_of(self.record)


@runtime_checkable
class SharesWork(Protocol):
    """A model whose controls have work in common, which it does once.

    The outputs are those of one pass a control; only where the memory is watched, work that ``on`` shares with another
    control is watched for both.
    """

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """Output under each control in turn."""
        ...


@runtime_checkable
class WeighsLosses(Protocol):
    """A model whose auxiliary terms have other weights than the hyper-parameters that ``loss_weights`` names."""

    def weighed(self, hyper: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weight of each term, (R,)."""
        ...


@runtime_checkable
class Persistent(Protocol):
    """A model whose memory may outlive a batch, so that the next one starts from the state that it hands on."""

    carries_state: bool
    """Whether it does."""
    drifts: Mapping[str, str]
    """Slopes over an epoch that are measured of such a memory, and which quantity of the log each is of."""


@runtime_checkable
class ChoosesModules(Protocol):
    """A module of a model that finds further modules by a name in its config."""

    def chosen_modules(self, config: Mapping[str, Any], /) -> tuple[str, ...]:
        """Return their dotted names."""
        ...


def carries_state(model: nn.Module) -> bool:
    """Whether a model's memory outlives a batch; that of a model that is not :class:`Persistent` never does."""
    return isinstance(model, Persistent) and model.carries_state


def drifts(model: nn.Module) -> Mapping[str, str]:
    """``drifts`` of a :class:`Persistent` model, none of others."""
    return model.drifts if isinstance(model, Persistent) else {}


def under_controls(
    model: nn.Module, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
) -> list[ModelOutput]:
    """Outputs of a model under each control in turn, from the state that it carries under it.

    One pass a control, unless the model is one that :class:`SharesWork`.
    """
    if isinstance(model, SharesWork):
        return model.under_controls(batch, hyper, states)
    return [model(under(batch, control), hyper, state) for control, state in states.items()]


def under(batch: Batch, control: Control) -> Batch:
    """The same batch under a control; the memory is watched only as it is, under ``on``."""
    return batch._replace(control=control, watch=batch.watch if control == "on" else None)


def loss_weights(model: nn.Module, hyper: dict[str, Tensor]) -> dict[str, Tensor]:
    """How much each auxiliary term counts in a model's objective, each (R,).

    ``Model.loss_weights`` names the hyper-parameter of each term, unless the model is one that :class:`WeighsLosses`.
    """
    if isinstance(model, WeighsLosses):
        return model.weighed(hyper)
    names: dict[str, str] = model.loss_weights  # type: ignore[assignment]
    return {term: hyper[name] for term, name in names.items()}


def names() -> list[str]:
    """Every model: the files beside this one; a folder holds what several of them share."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def load(name: str, where: str = "model") -> ModuleType:
    """The module of one model; it exports ``Config`` and ``Model``.

    Raises:
        ParameterError: there is no such file.
    """
    if name not in names():
        raise ParameterError(f"{where}: {name!r} is no model; allowed: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def without_data(name: str, config: Section) -> nn.Module:
    """Return a model of one run whose tensors have shapes and no data, e.g. to read the names of its parameters."""
    with torch.device("meta"):
        return load(name).Model(config, 1)


def chosen_modules(name: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Modules that a model finds by a name in its config; its runs depend on their code, beside what it imports.

    None, unless the model's module is one that :class:`ChoosesModules`.
    """
    module = load(name)
    return module.chosen_modules(config) if isinstance(module, ChoosesModules) else ()
