"""What every task has in common: examples by rows, splits with generators of their own, what a task asks for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest import tasks
from palimpsest.tasks import Examples, drawn


def sequences(count: int = 6, time: int = 5) -> Examples:
    """Examples that hold their own number: token 10 e + t at step t, all of it asked for."""
    tokens = 10 * torch.arange(count)[:, None] + torch.arange(time)
    extras = {"length": torch.arange(count) % time + 1, "slice": torch.arange(count)}
    return Examples(tokens, tokens + 1, extras)


@given(st.lists(st.integers(0, 5), max_size=6), st.integers(1, 5) | st.none())
def test_rows_are_the_examples_that_are_asked_for_as_far_as_they_go(rows: list[int], time: int | None) -> None:
    part = sequences().rows(torch.tensor(rows, dtype=torch.int64), time)
    steps = range(5 if time is None else time)
    assert part.inputs.tolist() == [[10 * row + step for step in steps] for row in rows]
    assert part.targets.tolist() == [[10 * row + step + 1 for step in steps] for row in rows]
    assert part.extras["slice"].tolist() == rows
    assert part.extras["length"].tolist() == [row % 5 + 1 for row in rows]


def test_rows_may_be_those_of_every_run() -> None:
    part = sequences().rows(torch.tensor([[0, 3], [5, 5]]), 2)
    assert part.inputs.tolist() == [[[0, 1], [30, 31]], [[50, 51], [50, 51]]]
    assert part.targets.shape == (2, 2, 2)
    assert part.extras["slice"].tolist() == [[0, 3], [5, 5]]


def test_rows_of_one_class_an_example_keep_their_class() -> None:
    examples = Examples(torch.arange(8).view(4, 2), torch.arange(4), {})
    part = examples.rows(slice(1, 3))
    assert part.inputs.tolist() == [[2, 3], [4, 5]]
    assert part.targets.tolist() == [1, 2]


def test_lengths_are_known_where_examples_may_differ_in_them() -> None:
    lengths = sequences().lengths()
    assert lengths is not None
    assert lengths.tolist() == [1, 2, 3, 4, 5, 1]
    assert lengths.device.type == "cpu"
    assert Examples(torch.zeros(2, 3), torch.zeros(2), {}).lengths() is None


@given(st.integers(0, 1000), st.tuples(*[st.integers(2, 9)] * 3))
def test_splits_have_their_sizes_and_seeds_of_their_own(seed: int, sizes: tuple[int, int, int]) -> None:
    config = SimpleNamespace(**dict(zip(("num_train", "num_validation", "num_test"), sizes, strict=True)))
    seen: list[tuple[object, int, int]] = []

    def draw(given_config: object, size: int, of_split: int) -> Examples:
        seen.append((given_config, size, of_split))
        return Examples(torch.full((size, 1), of_split), torch.zeros(size), {})

    splits = drawn(config, seed, draw)
    assert seen == [(config, size, 3 * seed + index) for index, size in enumerate(sizes)]
    assert [len(split.inputs) for split in splits] == list(sizes)
    assert [int(split.inputs[0]) for split in splits] == [3 * seed, 3 * seed + 1, 3 * seed + 2]


def test_no_two_data_sets_share_the_seed_of_a_split() -> None:
    seeds: list[int] = []

    def draw(config: object, size: int, of_split: int) -> Examples:
        seeds.append(of_split)
        return Examples(torch.zeros(1, 1), torch.zeros(1), {})

    for seed in range(20):
        drawn(SimpleNamespace(num_train=2, num_validation=2, num_test=2), seed, draw)
    assert len(set(seeds)) == 60


@pytest.mark.parametrize("name", ["copy", "mqar", "delayed_qa"])
def test_examples_go_to_a_device_with_all_that_belongs_to_them(name: str) -> None:
    splits = tasks.load(name).Config(num_train=2, num_validation=2, num_test=8).build(0)
    for split, moved in zip(splits, tasks.on_device(splits, "meta"), strict=True):
        assert moved.inputs.is_meta
        assert moved.targets.is_meta
        assert moved.extras.keys() == split.extras.keys()
        assert all(value.is_meta and value.shape == split.extras[key].shape for key, value in moved.extras.items())
