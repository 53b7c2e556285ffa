"""Training steps of the references that our cells are compared with: the naive ones, and public code of the user.

Public code is imported from a clone that the command line names, under its own alias; nothing is added to the import
path and nothing is written into the clone. Of loudinthecloud/pytorch-ntm only the package ``ntm`` is loaded, which
needs torch and numpy: its ``tasks`` need an ``attrs`` from before 2019, with ``convert=``. Of ixaxaar/pytorch-dnc only
the package ``dnc`` is loaded, which imports faiss only for a sparse memory.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from bench import naive
from palimpsest.foundation.errors import ParameterError
from palimpsest.planning.parameters import Training

SIZES: dict[str, dict[str, int]] = {
    "ntm": {"hidden": 100, "num_slots": 128, "slot_dim": 20},
    "dnc": {"hidden": 64, "num_slots": 16, "slot_dim": 16, "num_read_heads": 4},
}
"""Sizes of each cell, in the names of our configs: those of the papers' copy task, and of pytorch-dnc's copy task."""
BITS = 8
Bits = Float[Tensor, "length batch bits"]
Loss = Callable[[], Tensor]


class Public(NamedTuple):
    """Public code for a comparison."""

    cell: str
    """The cell of ours that it implements."""
    home: str
    """Where it is published."""
    package: str
    """The package that is imported."""
    module: str
    """The module of the package that defines the network."""
    network: str
    """The class of the network."""
    build: Callable[[Any, Bits], tuple[nn.Module, Loss]]
    """Builds the network at our sizes from its class, and the function that computes the loss of a step."""


def naive_ntm(bits: Bits) -> tuple[nn.Module, Loss]:
    """Return the naive NTM and its loss; END and blank are channels of their own, as in our task."""
    model = naive.NTM(BITS + 2, BITS, **SIZES["ntm"]).to(bits.device)
    return model, _recall(model, bits)


def naive_dnc(bits: Bits) -> tuple[nn.Module, Loss]:
    """Return the naive DNC and its loss."""
    model = naive.DNC(BITS + 2, BITS, **SIZES["dnc"]).to(bits.device)
    return model, _recall(model, bits)


def _recall(model: nn.Module, bits: Bits) -> Loss:
    inputs = _inputs(bits, BITS + 2)
    inputs[len(bits) + 1 :, :, BITS + 1] = 1
    return lambda: F.binary_cross_entropy_with_logits(model(inputs)[len(bits) + 1 :], bits)


def _inputs(bits: Bits, channels: int) -> Float[Tensor, "time batch channels"]:
    """Return the inputs of copy: the vectors, END, and as many empty steps."""
    length, batch, width = bits.shape
    inputs = bits.new_zeros(2 * length + 1, batch, channels)
    inputs[:length, :, :width] = bits
    inputs[length, :, width] = 1
    return inputs


def _pytorch_ntm(network: Any, bits: Bits) -> tuple[nn.Module, Loss]:
    """Train as its ``train.py`` does on copy: a probability for every bit, and no input during recall."""
    sizes, (length, batch, width) = SIZES["ntm"], bits.shape
    model = network(width + 1, width, sizes["hidden"], 1, 1, sizes["num_slots"], sizes["slot_dim"])
    inputs = _inputs(bits, width + 1)[: length + 1]

    def loss() -> Tensor:
        model.init_sequence(batch)
        for x in inputs:
            model(x)
        return F.binary_cross_entropy(torch.stack([model()[0] for _ in range(length)]), bits)

    return model, loss


def _pytorch_dnc(network: Any, bits: Bits) -> tuple[nn.Module, Loss]:
    """Use one hidden layer, as our DNC does, and otherwise the defaults of the class, which are fastest."""
    sizes, (length, _, width) = SIZES["dnc"], bits.shape
    model = network(
        width + 1,
        sizes["hidden"],
        num_hidden_layers=1,
        nr_cells=sizes["num_slots"],
        cell_size=sizes["slot_dim"],
        read_heads=sizes["num_read_heads"],
    )
    inputs = _inputs(bits, width + 1).transpose(0, 1).contiguous()

    def loss() -> Tensor:
        outputs, _ = model(inputs, (None, None, None), reset_experience=True)  # its outputs have time first
        return F.binary_cross_entropy_with_logits(outputs[length + 1 :, :, :width], bits)

    return model, loss


NAIVE: dict[str, tuple[str, Callable[[Bits], tuple[nn.Module, Loss]]]] = {
    "naive-ntm": ("ntm", naive_ntm),
    "naive-dnc": ("dnc", naive_dnc),
}
"""Cell and builder of each naive reference."""
PUBLIC = {
    "pytorch-ntm": Public(
        "ntm", "github.com/loudinthecloud/pytorch-ntm", "ntm", "aio", "EncapsulatedNTM", _pytorch_ntm
    ),
    "pytorch-dnc": Public("dnc", "github.com/ixaxaar/pytorch-dnc", "dnc", "dnc", "DNC", _pytorch_dnc),
}
"""Public code by the name of its repository, which is also the name of its option."""


def load(name: str, folder: Path) -> Any:
    """Load the network's class from a clone of the repository ``name``.

    Raises:
        ParameterError: there is no such package in the folder, or it cannot be imported.
    """
    public = PUBLIC[name]
    allowed = f"allowed: the folder of a clone of {public.home}"
    file = folder / public.package / f"{public.module}.py"
    if not file.is_file():
        raise ParameterError(f"--{name}: {folder}: no file {public.package}/{public.module}.py in it; {allowed}")
    try:
        return getattr(_package(f"_{name.replace('-', '_')}", folder / public.package, public.module), public.network)
    except Exception as error:  # foreign code may raise any exception
        message = (str(error).splitlines() or [""])[0]
        wrong = f"{public.package}.{public.module}.{public.network} cannot be imported"
        raise ParameterError(f"--{name}: {folder}: {wrong}: {type(error).__name__}: {message}; {allowed}") from error


def _package(alias: str, folder: Path, module: str) -> ModuleType:
    """Import a module of the package in ``folder`` under the name ``alias``."""
    for known in [name for name in sys.modules if name == alias or name.startswith(f"{alias}.")]:
        del sys.modules[known]
    places = [str(folder)]
    spec = importlib.util.spec_from_file_location(alias, folder / "__init__.py", submodule_search_locations=places)
    assert spec is not None
    assert spec.loader is not None
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        sys.modules[alias] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[alias])
        return importlib.import_module(f"{alias}.{module}")
    finally:
        sys.dont_write_bytecode = writes_bytecode


def step_of(model: nn.Module, loss: Loss, training: Training) -> Callable[[], None]:
    """Return a training step: forward, backward, gradients clipped at ``clip_value``, and PyTorch's RMSprop.

    Args:
        model: whose parameters are trained.
        loss: computes the loss, from the same data each time.
        training: the recipe of our own runs.
    """
    optimiser = torch.optim.RMSprop(
        model.parameters(),
        lr=training.learning_rate,
        alpha=training.alpha,
        momentum=training.momentum,
        eps=training.epsilon,
    )
    assert training.clip_value is not None
    largest = training.clip_value

    def step() -> None:
        optimiser.zero_grad()
        loss().backward()
        nn.utils.clip_grad_value_(model.parameters(), largest)
        optimiser.step()

    return step
