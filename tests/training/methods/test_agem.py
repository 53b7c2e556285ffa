"""A-GEM: the step is the projected gradient, no step goes against the stored examples, and nothing else is changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from palimpsest.training.methods import agem
from palimpsest.training.pack import Pack
from tests.training.methods.continual import built, through_phase

AGEM = {"name": "agem", "config": {"agem_capacity": 16, "agem_batch": 8}}
VALUES = st.floats(-2, 2, width=32).filter(lambda value: value == 0 or abs(value) > 1e-3)


@given(arrays(np.float64, (2, 5), elements=VALUES), arrays(np.float64, (2, 5), elements=VALUES))
def test_a_gradient_is_projected_where_it_points_against_the_reference(own: np.ndarray, other: np.ndarray) -> None:
    parts = [[torch.from_numpy(g[:, :2]), torch.from_numpy(g[:, 2:]).view(2, 3, 1)] for g in (own, other)]
    found = agem.correction(*parts)
    for run, (g, reference) in enumerate(zip(own, other, strict=True)):
        along = float(g @ reference)
        if along >= 0:
            assert found[run] == 0
            continue
        projected = g + found[run].item() * reference
        expected = g - along / float(reference @ reference) * reference  # eq. 11
        assert projected == pytest.approx(expected, abs=1e-9)
        assert projected @ reference == pytest.approx(0, abs=1e-9)


def vector(pack: Pack, loss: torch.Tensor, run: int) -> np.ndarray:
    """The gradient of one run, all parameters in one row."""
    found = torch.autograd.grad(loss.sum(), list(pack.moving().values()), retain_graph=True)
    return torch.cat([part[run].flatten() for part in found]).double().numpy()


def test_loss_and_penalty_together_have_the_projected_gradient_of_every_run() -> None:
    pack, data = built(AGEM, seeds=(0, 1, 2))
    through_phase(pack, data)
    rows = torch.arange(8).expand(3, -1)
    turned = 0
    for _ in range(12):
        batch = data[1].train.rows(rows)
        assert pack.method.examples(pack, pack.method_state, batch) is batch
        own, stored = pack.method._step  # type: ignore[attr-defined]
        assert torch.equal(own.inputs, batch.inputs)
        loss, penalty = pack.loss(batch).mean(1), pack.method.penalty(pack, pack.method_state)
        assert penalty is not None
        assert penalty.tolist() == [0, 0, 0]
        for run in range(3):
            g, reference = vector(pack, loss, run), vector(pack, pack.loss(stored).mean(1), run)
            along = float(g @ reference)
            expected = g if along >= 0 else g - along / float(reference @ reference) * reference
            assert vector(pack, loss + penalty, run) == pytest.approx(expected, abs=1e-6)
            turned += along < 0
        rows = rows + 1
        pack.steps += 1
        pack.optimiser.zero_grad()
        (loss + penalty).sum().backward()
        pack.optimiser.step()
    assert turned > 0


def test_nothing_is_turned_in_the_first_phase_and_stored_examples_are_of_earlier_ones() -> None:
    pack, data = built(AGEM)
    batch = data[0].train.rows(torch.arange(8).expand(2, -1))
    pack.method.examples(pack, pack.method_state, batch)
    penalty = pack.method.penalty(pack, pack.method_state)
    assert penalty is not None
    assert not penalty.requires_grad
    through_phase(pack, data)
    pack.method.examples(pack, pack.method_state, data[1].train.rows(torch.arange(8).expand(2, -1)))
    _, stored = pack.method._step  # type: ignore[attr-defined]
    known = {tuple(row.flatten().tolist()) for row in data[0].train.inputs}
    assert {tuple(row.flatten().tolist()) for row in stored.inputs.flatten(0, 1)} <= known
    assert stored.targets.shape[:2] == (2, 8)
    assert pack.method.extra_examples == 0


def test_a_run_is_the_same_alone_and_in_a_pack() -> None:
    together, data = built(AGEM)
    alone, _ = built(AGEM, seeds=(1,))
    for pack in (together, alone):
        through_phase(pack, data)
        through_phase(pack, data)
    for name, value in together.moving().items():
        assert torch.equal(value[1], alone.moving()[name][0])
