"""Training of any module on any loader, with the interface of source 004.

It is meant for your own models and data. The results of this project come from :mod:`palimpsest.training`, which has
packs of runs, streams, checkpoints and scores by step.
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
"""Batches (inputs, targets); one pass over them is an epoch."""


class Losses(NamedTuple):
    """Mean loss of an example, one value for each epoch."""

    train: list[float]
    """Measured during the epoch, while the parameters change."""
    validation: list[float]
    """Measured after the epoch; empty without a validation loader."""


class MemoryTrainer:
    """Trains a module on pairs of inputs and targets; each batch starts with an empty memory.

    Args:
        model: maps a batch of inputs to outputs for the criterion.
        optimizer: optimiser of the model's parameters.
        criterion: (outputs, targets) → mean loss of the batch.
        device: device for training; ``None``: the model's device.
        clip_norm: largest L2 norm of the gradient over all parameters; ``None``: no clipping.

    Raises:
        ParameterError: the device is not available, or ``clip_norm`` is not positive.
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
        """Train for a number of further epochs.

        Args:
            train_loader: training batches.
            val_loader: validation batches, evaluated after each epoch; ``None``: no validation.
            epochs: number of passes over the training batches; at least 1.

        Raises:
            ParameterError: ``epochs`` is below one, a loader is empty, or its batches are not pairs.
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
        """Return the mean loss of an example over one pass."""
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
            raise ParameterError(f"{name}: no example; allowed: a loader that can be iterated once for each epoch")
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
