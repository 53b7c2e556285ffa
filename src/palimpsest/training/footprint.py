"""How much memory a run takes in a pack, and how many runs therefore fit: counted on tensors that have no data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from palimpsest import models, tasks
from palimpsest.config import Packing
from palimpsest.models import Batch
from palimpsest.specs import RunSpec
from palimpsest.training.scoring import task_loss

COPIES_OF_PARAMETERS = 6
"""Weights, gradients, Adam's two moments, and two temporaries of its step."""
HEADROOM = 1.25
"""What a step holds beside parameters and saved activations: gradients on their way, workspaces."""


def bytes_per_run(spec: RunSpec) -> int:
    """Memory that one more run adds to a pack, in bytes: parameters and optimiser, and what a step saves to go back.

    Counted on one forward pass on the ``meta`` device, which computes shapes and nothing else.
    """
    module = models.load(spec.model)
    with torch.device("meta"):
        model: nn.Module = module.Model(module.Config.model_validate(spec.config), 1)
        hyper = {name: torch.empty(1) for name in {*spec.config, *spec.training.model_dump()}}
        batch, targets = _batch(spec)
        saved: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            saved[storage._cdata] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            output = model(batch, hyper)
            task_loss(output.logits, targets, tasks.scored(tasks.load(spec.task["name"])))
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return round(COPIES_OF_PARAMETERS * parameters + HEADROOM * sum(saved.values()))


def _batch(spec: RunSpec) -> tuple[Batch, Tensor]:
    """A batch of the task's shapes, without data; called where new tensors have none."""
    config = {key: value for key, value in spec.task.items() if key not in ("name", "seed")}
    size = spec.training.batch_size
    module = tasks.load(spec.task["name"])
    with torch.device("cpu"):
        examples = tasks.sample(module, module.Config.model_validate(config), 2)
    extras = {
        name: torch.empty(1, size, *value.shape[1:], dtype=value.dtype) for name, value in examples.extras.items()
    }
    inputs = torch.empty(1, size, *examples.inputs.shape[1:], dtype=examples.inputs.dtype)
    targets = torch.empty(1, size, *examples.targets.shape[1:], dtype=torch.int64)
    return Batch(inputs, torch.empty(1, dtype=torch.int64), extras), targets


def runs_per_pack(each: int, packing: Packing) -> int:
    """How many runs of ``each`` bytes a pack holds at most: as said, or as many as fit into its memory, if only one."""
    if packing.max_runs != "auto":
        return packing.max_runs
    return max(1, int(packing.memory_mb * 2**20 / each))
