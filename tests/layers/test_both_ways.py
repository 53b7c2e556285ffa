"""A GRU in each direction: PyTorch's own, run by run; its gradient; a run alone and in a pack."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from palimpsest.layers.both_ways import BothWays
from palimpsest.layers.initialisation import reset_parameters


def build(runs: int = 2) -> BothWays:
    """A small module."""
    module = BothWays(runs, 3, 4)
    reset_parameters(module, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    return module


@pytest.mark.parametrize("time", [1, 6])
def test_it_computes_the_same_as_pytorch_forwards_and_backwards(time: int) -> None:
    module = build().double()
    x = torch.randn(2, 5, time, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    module(x).sin().sum().backward()
    for run in range(2):
        own = nn.GRU(3, 4, bidirectional=True, batch_first=True).double()
        parts = {}
        for suffix, cell in (("l0", module.ahead), ("l0_reverse", module.back)):
            parts |= {f"weight_ih_{suffix}": cell.of_input.weight, f"weight_hh_{suffix}": cell.of_hidden.weight}
            parts |= {f"bias_ih_{suffix}": cell.of_input.bias, f"bias_hh_{suffix}": cell.of_hidden.bias}
        with torch.no_grad():
            for name, part in parts.items():
                getattr(own, name).copy_(part[run].T if part.dim() == 3 else part[run])
        given = x[run].detach().requires_grad_()
        own(given)[0].sin().sum().backward()
        torch.testing.assert_close(own(given)[0], module(x)[run])
        assert x.grad is not None
        torch.testing.assert_close(given.grad, x.grad[run])
        for name, part in parts.items():
            assert part.grad is not None
            found = part.grad[run]
            torch.testing.assert_close(getattr(own, name).grad, found.T if found.dim() == 2 else found)


def test_a_run_alone_has_the_bits_that_it_has_in_a_pack() -> None:
    pack, alone = build(3), build(1)
    with torch.no_grad():
        for mine, theirs in zip(alone.parameters(), pack.parameters(), strict=True):
            mine.copy_(theirs[2:])
    x = torch.randn(3, 5, 6, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(alone(x[2:])[0], pack(x)[2])
