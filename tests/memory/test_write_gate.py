"""The write gate: its equation, its threshold, and where gradients go."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.write_gate import WriteGate, fixed_writes, threshold_writes

GENERATOR = torch.Generator().manual_seed(5)


def test_gate_equals_its_equation() -> None:
    gate = WriteGate(2, 4, 3, bias=0.5)
    reset_parameters(gate, [GENERATOR] * 2)
    states = torch.randn(2, 3, 5, 4, generator=GENERATOR)
    for r in range(2):
        w1, b1 = gate.hidden.weight[r].detach().numpy(), gate.hidden.bias[r].detach().numpy()
        w2 = gate.logit.weight[r].detach().numpy()
        expected = (np.maximum(states[r].numpy() @ w1 + b1, 0) @ w2 + 0.5).squeeze(-1)
        np.testing.assert_allclose(gate(states)[r].detach().numpy(), expected, rtol=1e-5, atol=1e-6)


@given(st.floats(-20, 20, width=32), st.floats(0.01, 0.99), st.booleans())
def test_a_token_is_written_if_and_only_if_its_gate_exceeds_the_threshold(
    logit: float, threshold: float, straight_through: bool
) -> None:
    tau = torch.tensor([threshold])
    decision = threshold_writes(torch.full((1, 1, 1), logit), tau, straight_through=straight_through)
    assert (decision.weight.item() > 0.5) == bool(torch.tensor(logit).sigmoid() > tau)


def test_straight_through_passes_the_gates_gradient() -> None:
    logit = torch.tensor([[[-1.0, 0.5, 2.0]]], requires_grad=True)
    threshold_writes(logit, torch.tensor([0.5]), straight_through=True).weight.sum().backward()
    gate = logit.detach().sigmoid()
    torch.testing.assert_close(logit.grad, gate * (1 - gate))


def test_without_straight_through_no_gradient_passes() -> None:
    logit = torch.zeros(1, 1, 1, requires_grad=True)
    assert not threshold_writes(logit, torch.tensor([0.5]), straight_through=False).weight.requires_grad


def test_a_fixed_writer_has_no_logit() -> None:
    decision = fixed_writes(torch.tensor([[[1.0, 0.0]]]))
    assert decision.logit.abs().sum() == 0
    assert torch.equal(decision.weight, decision.gate)
