"""Continual learning with the interface of source 004: a model with a memory, and a trainer that consolidates weights.

They are meant for your own models and data. The results of this project come from :mod:`palimpsest.training`, whose
method :mod:`palimpsest.training.methods.ewc` has the penalty for packs of runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from palimpsest.faces.memory_models import MemoryEnhancedRNN
from palimpsest.faces.training_utils import Loader, Losses, MemoryTrainer
from palimpsest.foundation.errors import ParameterError
from palimpsest.memory.named import MemoryName
from palimpsest.memory.sizes import at_least_one


class ContinualLearningModel(nn.Module):
    """A recurrent network with a memory, and an output layer for each task.

    Args:
        input_size: number of input features, and of output features.
        hidden_size: units of the LSTM.
        memory_size: slots N.
        memory_dim: features W of a slot.
        num_tasks: tasks, each with an output layer of its own.
        memory: a name from :data:`palimpsest.memory.named.MemoryName`.

    Raises:
        ParameterError: a size is below one, or the memory is unknown or does not support these sizes.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        memory_dim: int,
        num_tasks: int,
        *,
        memory: MemoryName = "attention",
    ) -> None:
        super().__init__()
        at_least_one(num_tasks=num_tasks)
        self.body = MemoryEnhancedRNN(
            input_size, hidden_size, memory_size, memory_dim, output_size=hidden_size, memory=memory
        )
        self.heads = nn.ModuleList(nn.Linear(hidden_size, input_size) for _ in range(num_tasks))
        self.task = 0
        """The task whose output layer answers where :meth:`forward` is not told."""

    def forward(self, x: Tensor, task_id: int | None = None) -> Tensor:
        """Compute the outputs of all steps; every call starts with an empty memory.

        Args:
            x: (batch, time, features).
            task_id: whose output layer answers; ``None``: that of :attr:`task`.

        Returns:
            (batch, time, features).

        Raises:
            ParameterError: there is no such task, or ``x`` has another shape.
        """
        task = self.task if task_id is None else task_id
        self.check_task(task)
        return self.heads[task](self.body(x))

    def check_task(self, task_id: int) -> None:
        """Check that there is such a task.

        Raises:
            ParameterError: there is none.
        """
        if not 0 <= task_id < len(self.heads):
            raise ParameterError(f"task_id: {task_id}; allowed: 0 to {len(self.heads) - 1}")


class TaskMemory(NamedTuple):
    """What is stored of a task: what mattered, and where the weights were."""

    importance: dict[str, Tensor]
    """Ω, by parameter: mean squared gradient of an example's loss."""
    weights: dict[str, Tensor]
    """θ*, by parameter."""
    losses: Losses
    """Of the training on the task."""


class ContinualLearningTrainer(MemoryTrainer):
    """Trains one task after the other; weights that mattered to earlier ones are held near their values.

        L = L_task + λ Σ_k Σ_i Ω_{k,i} (θ_i − θ*_{k,i})²    [source 004, Continual Learning Formulation]
        Ω_{k,i} = 1/N Σ_n (∂ loss(x_n, y_n; θ*_k) / ∂θ_i)²

    The labels are those of the data, so that any criterion will do. λ here is half of that of
    :mod:`palimpsest.training.methods.ewc`, which has λ/2 as [Kirkpatrick et al. 2017, eq. 3].

    Args:
        model: maps a batch of inputs to outputs; one that is a :class:`ContinualLearningModel` is told the task.
        optimizer: optimiser of the model's parameters.
        criterion: (outputs, targets) → mean loss of the batch.
        device: device for training; ``None``: the model's device.
        strength: λ, 0 or more; 0: fine-tuning.
        clip_norm: largest L2 norm of the gradient over all parameters; ``None``: no clipping.

    Raises:
        ParameterError: the device is not available, ``strength`` is negative, or ``clip_norm`` is not positive.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        criterion: Callable[[Tensor, Tensor], Tensor],
        device: str | torch.device | None = None,
        *,
        strength: float = 100.0,
        clip_norm: float | None = None,
    ) -> None:
        if not strength >= 0:
            raise ParameterError(f"strength: {strength}; allowed: 0 or more")
        super().__init__(model, optimizer, criterion, device, clip_norm=clip_norm)
        self.strength = strength
        self.memories: dict[int, TaskMemory] = {}
        """What is stored, by task."""

    def train_task(
        self, task_id: int, train_loader: Loader, val_loader: Loader | None = None, epochs: int = 1
    ) -> TaskMemory:
        """Train one task, and store what mattered to it; a task that comes again is stored anew.

        Args:
            task_id: its number.
            train_loader: training batches; they are also gone through once, example by example, after training.
            val_loader: validation batches, evaluated after each epoch; ``None``: no validation.
            epochs: number of passes over the training batches; at least 1.

        Raises:
            ParameterError: ``epochs`` is below one, a loader is empty, its batches are not pairs, or the model has no
                such task.
        """
        if isinstance(self.model, ContinualLearningModel):
            self.model.check_task(task_id)
            self.model.task = task_id
        losses = self.train(train_loader, val_loader, epochs)
        weights = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.memories[task_id] = TaskMemory(self._importance(train_loader), weights, losses)
        return self.memories[task_id]

    def penalty(self) -> Tensor:
        """λ Σ_k Σ_i Ω_{k,i} (θ_i − θ*_{k,i})², over the tasks that are stored."""
        total = torch.zeros((), device=next(self.model.parameters()).device)
        for memory in self.memories.values():
            for name, value in self.model.named_parameters():
                total = total + (memory.importance[name] * (value - memory.weights[name]).square()).sum()
        return self.strength * total

    def _step(self, loss: Tensor) -> None:
        super()._step(loss + self.penalty() if self.memories else loss)

    def _importance(self, loader: Loader) -> dict[str, Tensor]:
        """Ω: squared gradients of the loss, example by example."""
        self.model.train(False)
        parameters = dict(self.model.named_parameters())
        totals = {name: torch.zeros_like(value, requires_grad=False) for name, value in parameters.items()}
        examples = 0
        for batch in loader:
            inputs, targets = self._pair("train_loader", batch)
            for x, y in zip(inputs.split(1), targets.split(1), strict=True):
                loss = self.criterion(self.model(x), y)
                gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
                for total, gradient in zip(totals.values(), gradients, strict=True):
                    if gradient is not None:
                        total += gradient.square()
                examples += 1
        return {name: total / examples for name, total in totals.items()}
