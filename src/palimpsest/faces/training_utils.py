"""Training of any module on any loader, as source 004 shows it.

Packs of runs, streams, checkpoints and scores by step are in :mod:`palimpsest.training`, on which all results of this
project rest; this is for a model and data of one's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from palimpsest.foundation.errors import ParameterError

Loader = Iterable[Any]
"""Batches (inputs, targets); gone through once an epoch."""


class Losses(NamedTuple):
    """Mean loss of an example, an epoch each."""

    train: list[float]
    """While the parameters change."""
    validation: list[float]
    """After the epoch; empty without a validation loader."""


class MemoryTrainer:
    """Trains a module on pairs of inputs and targets; each batch begins with an empty memory.

    Args:
        model: takes a batch of inputs and returns what the criterion compares with the targets.
        optimizer: of the model's parameters.
        criterion: (outputs, targets) → mean loss of the batch.
        device: where to train; ``None``: where the model is.
        clip_norm: largest L2 norm of the gradient over all parameters; ``None``: not clipped.

    Raises:
        ParameterError: there is no such device here, or ``clip_norm`` is not positive.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        criterion: Callable[[Tensor, Tensor], Tensor],
        device: str | torch.device | None = None,
        *,
        clip_norm: float | None = None,
    ) -> None:
        if clip_norm is not None and not clip_norm > 0:
            raise ParameterError(f"clip_norm: {clip_norm}; allowed: a positive number, or None")
        self.model = model if device is None else model.to(_available(device))
        self.optimizer, self.criterion, self.clip_norm = optimizer, criterion, clip_norm

    def train(self, train_loader: Loader, val_loader: Loader | None = None, epochs: int = 1) -> Losses:
        """Train for some epochs more.

        Args:
            train_loader: batches to learn from.
            val_loader: batches to look at after each epoch; ``None``: none.
            epochs: how often to go through the batches; at least 1.

        Raises:
            ParameterError: ``epochs`` is below one, a loader is empty, or it has something else than pairs.
        """
        if epochs < 1:
            raise ParameterError(f"epochs: {epochs}; allowed: 1 or more")
        losses = Losses([], [])
        for _ in range(epochs):
            losses.train.append(self._epoch("train_loader", train_loader, learn=True))
            if val_loader is not None:
                losses.validation.append(self._epoch("val_loader", val_loader, learn=False))
        return losses

    def _epoch(self, name: str, loader: Loader, *, learn: bool) -> float:
        """Mean loss of an example over one pass."""
        self.model.train(learn)
        total, examples = 0.0, 0
        with nullcontext() if learn else torch.no_grad():
            for batch in loader:
                inputs, targets = self._pair(name, batch)
                loss = self.criterion(self.model(inputs), targets)
                if learn:
                    self._step(loss)
                total += loss.item() * len(inputs)
                examples += len(inputs)
        if not examples:
            raise ParameterError(f"{name}: no example; allowed: a loader that can be gone through once an epoch")
        return total / examples

    def _pair(self, name: str, batch: Any) -> tuple[Tensor, Tensor]:
        if not (isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(b, Tensor) for b in batch)):
            raise ParameterError(
                f"{name}: a batch is a {type(batch).__name__}; allowed: two tensors, inputs and targets"
            )
        device = next((parameter.device for parameter in self.model.parameters()), None)
        inputs, targets = (part.to(device) for part in batch)
        return inputs, targets

    def _step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()


def _available(device: str | torch.device) -> torch.device:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        found = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        raise ParameterError(f"device: {str(device)!r} is not here; allowed: {found}") from None
    return torch.device(device)
