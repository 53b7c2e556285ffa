"""The penalty that holds all weights alike: its value, when there is none, and that it holds."""

from __future__ import annotations

import pytest
import torch

from palimpsest.training import loop
from tests.training.methods.continual import built, through_phase


def test_there_is_none_before_a_phase_has_ended_and_then_it_is_half_the_squared_distance() -> None:
    pack, data = built({"name": "l2", "config": {"l2_strength": 3.0}})
    assert pack.method.penalty(pack, pack.method_state).tolist() == [0, 0]
    through_phase(pack, data)
    anchor = {name: value.detach().clone() for name, value in pack.moving().items()}
    assert pack.method.penalty(pack, pack.method_state).tolist() == [0, 0]
    loop.train_epoch(pack, data[1].train, 0)
    found = pack.method.penalty(pack, pack.method_state)
    for run in range(2):
        squares = sum(
            float((v[run] - anchor[n][run]).detach().double().square().sum()) for n, v in pack.moving().items()
        )
        assert found[run].item() == pytest.approx(1.5 * squares, rel=1e-4)
        assert squares > 0


def test_the_anchor_is_what_the_last_phase_left_not_the_first() -> None:
    pack, data = built({"name": "l2"})
    through_phase(pack, data)
    through_phase(pack, data)
    assert all(torch.equal(pack.method_state.weights[name], value) for name, value in pack.moving().items())


def test_a_stronger_penalty_moves_less() -> None:
    moved = []
    for strength in (0.0, 10.0):
        pack, data = built({"name": "l2", "config": {"l2_strength": strength}})
        through_phase(pack, data)
        before = {name: value.detach().clone() for name, value in pack.moving().items()}
        loop.train_epoch(pack, data[1].train, 0)
        moved.append(sum(float((v - before[n]).detach().square().sum()) for n, v in pack.moving().items()))
    assert 0 < moved[1] < moved[0]
