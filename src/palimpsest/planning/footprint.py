"""Memory of a run in a pack, and how many runs fit into one; counted on meta tensors, which have no data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from palimpsest import models, tasks
from palimpsest.models import Batch
from palimpsest.planning.parameters import Packing
from palimpsest.planning.specs import RunSpec
from palimpsest.tasks import Examples

COPIES_OF_PARAMETERS = 6
"""Weights, gradients, Adam's two moments, and two temporaries of its step."""
HEADROOM = 1.25
"""Factor for what a step holds beside parameters and saved activations: gradients in flight, workspaces."""


def bytes_per_run(spec: RunSpec) -> int:
    """Return the bytes that one more run adds to a pack: parameters, optimiser state and saved activations.

    Counted on one forward pass on the ``meta`` device, which computes shapes only: tensors that are still alive after
    it are those that the backward pass needs.
    """
    module = models.load(spec.model)
    with torch.device("meta"):
        model: nn.Module = module.Model(module.Config.model_validate(spec.config), 1)
        hyper = {name: torch.empty(1) for name in {*spec.config, *spec.training.model_dump()}}
        batch, examples = _batch(spec)
        with _Allocations() as allocations:
            output = model(batch, hyper)
            loss = tasks.load(spec.task["name"]).score(output.logits, examples)["loss"]
        saved = allocations.alive_bytes()
        del output, loss
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return round(COPIES_OF_PARAMETERS * parameters + HEADROOM * saved)


class _Allocations(TorchDispatchMode):
    """Records every storage that is allocated in the block."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and record its outputs; a view allocates nothing."""
        outputs = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(outputs):
            if isinstance(tensor, Tensor) and not func.is_view:
                storage = tensor.untyped_storage()
                self.storages[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        return outputs

    def alive_bytes(self) -> int:
        """Return the bytes of all recorded storages that are still referenced."""
        return sum(size for storage, size in self.storages.values() if not storage.expired())


def _batch(spec: RunSpec) -> tuple[Batch, Examples]:
    """Return a batch with the shapes of the task; called where the default device is ``meta``."""
    config = {key: value for key, value in spec.task.items() if key not in ("name", "seed")}
    size = max(phase.training.batch_size for phase in spec.stages) + spec.make_method().extra_examples
    with torch.device("cpu"):
        examples: Examples = tasks.load(spec.task["name"]).Config.model_validate(config).sample(2)
    extras = {
        name: torch.empty(1, size, *value.shape[1:], dtype=value.dtype) for name, value in examples.extras.items()
    }
    inputs = torch.empty(1, size, *examples.inputs.shape[1:], dtype=examples.inputs.dtype)
    targets = torch.empty(1, size, *examples.targets.shape[1:], dtype=torch.int64)
    return Batch(inputs, torch.empty(1, dtype=torch.int64), extras), Examples(inputs, targets, extras)


def runs_per_pack(each: int, packing: Packing) -> int:
    """Return how many runs of ``each`` bytes fit into a pack: ``max_runs``; with ``auto`` at least 1."""
    if packing.max_runs != "auto":
        return packing.max_runs
    return max(1, int(packing.memory_mb * 2**20 / each))
