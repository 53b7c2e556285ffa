"""Joint training: which phases a batch is drawn from, how often, and that each run draws its own."""

from __future__ import annotations

from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.training.methods.joint import _drawn
from tests.training.methods.continual import built, through_phase


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(0, 2**20))
def test_a_row_lies_within_its_phase(sizes: list[int], seed: int) -> None:
    bounds = torch.tensor([0, *sizes]).cumsum(0).tolist()
    phase, row = _drawn(torch.Generator().manual_seed(seed), 50, bounds, len(sizes) - 1)
    assert all(bounds[p] <= r < bounds[p + 1] for p, r in zip(phase.tolist(), row.tolist(), strict=True))


def test_all_phases_are_equally_likely_whatever_their_sizes() -> None:
    phase, _ = _drawn(torch.Generator().manual_seed(0), 9000, [0, 1, 100, 1000], 2)
    assert all(abs(count - 3000) < 5 * (9000 * 2 / 9) ** 0.5 for count in Counter(phase.tolist()).values())


def test_the_first_phase_draws_from_itself_alone_unless_all_are_asked_for() -> None:
    for joint, drawn_from in (("until_now", {0}), ("all", {0, 1, 2})):
        pack, data = built({"name": "joint", "config": {"joint": joint}})
        batch = data[0].train.rows(torch.arange(32).expand(2, -1))
        found = pack.method.examples(pack, pack.method_state, batch)
        assert set(found.extras["slice"].flatten().tolist()) == drawn_from
        assert found.inputs.shape == batch.inputs.shape


def test_a_later_phase_draws_examples_of_the_earlier_ones_with_their_own_answers() -> None:
    pack, data = built({"name": "joint"})
    through_phase(pack, data)
    batch = data[1].train.rows(torch.arange(32).expand(2, -1))
    found = pack.method.examples(pack, pack.method_state, batch)
    known = {
        (*image, *label)
        for d in data[:2]
        for image, label in zip(d.train.inputs.tolist(), d.train.targets.tolist(), strict=True)
    }
    rows = [
        (*i, *t) for i, t in zip(found.inputs.flatten(0, 1).tolist(), found.targets.flatten(0, 1).tolist(), strict=True)
    ]
    assert set(rows) <= known
    assert set(found.extras["slice"].flatten().tolist()) == {0, 1}
    assert not torch.equal(found.inputs[0], found.inputs[1])
    assert pack.method.extra_examples == 0
