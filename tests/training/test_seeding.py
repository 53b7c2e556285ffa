"""Orders and keys: permutations, by run, that stay within the groups of a stream."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.training import seeding

GROUPS = st.lists(st.integers(0, 5), min_size=1, max_size=30).map(torch.tensor)
SEEDS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=4)


@given(SEEDS, GROUPS)
def test_a_stream_shows_every_example_once_and_at_each_place_one_of_its_group(
    seeds: list[int], groups: torch.Tensor
) -> None:
    orders = seeding.stream_order(seeds, groups)
    assert orders.shape == (len(seeds), len(groups))
    assert orders.dtype == torch.int64
    for order in orders.tolist():
        assert sorted(order) == list(range(len(groups)))
        for place, example in enumerate(order):
            assert groups[place] == groups[example]


@given(SEEDS, GROUPS)
def test_a_run_sees_a_stream_in_the_same_order_whatever_its_company(seeds: list[int], groups: torch.Tensor) -> None:
    together = seeding.stream_order(seeds, groups)
    for place, seed in enumerate(seeds):
        assert torch.equal(together[place], seeding.stream_order([seed], groups)[0])


def test_a_stream_of_groups_of_one_stays_as_it_is() -> None:
    assert seeding.stream_order([0, 7], torch.arange(9)).tolist() == [list(range(9))] * 2


def test_within_a_group_every_order_is_as_likely() -> None:
    groups = torch.tensor([1, 0, 1, 1])
    orders = seeding.stream_order(range(6000), groups)
    counts = Counter(map(tuple, orders.tolist()))
    assert all(order[1] == 1 for order in counts)
    assert len(counts) == 6
    assert all(abs(count - 1000) < 4.5 * 1000**0.5 for count in counts.values())


def test_the_order_of_a_stream_is_no_order_of_an_epoch() -> None:
    one_group = torch.zeros(40, dtype=torch.int64)
    stream = seeding.stream_order([3], one_group)
    assert all(not torch.equal(stream, seeding.epoch_order([3], epoch, 40)) for epoch in range(5))


@pytest.mark.parametrize("step", [0, 1, 2**31])
def test_a_key_of_noise_has_the_seed_above_and_the_step_below(step: int) -> None:
    keys = seeding.noise_key(torch.tensor([0, 5, 2**31 - 1]), step)
    assert keys.tolist() == [seed * 2**32 + step for seed in (0, 5, 2**31 - 1)]
    assert keys.min() >= 0


def test_generators_differ_by_seed_and_by_purpose_and_not_by_anything_else() -> None:
    purposes = [(0, "order", 1), (0, "order", 2), (0, "stream"), (1, "stream"), (0, "initialisation")]
    drawn = [torch.randint(2**62, (), generator=seeding.generator(seed, *rest)).item() for seed, *rest in purposes]
    again = [torch.randint(2**62, (), generator=seeding.generator(seed, *rest)).item() for seed, *rest in purposes]
    assert drawn == again
    assert len(set(drawn)) == len(purposes)
