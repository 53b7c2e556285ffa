"""Trees keep their shape whatever is done to their tensors, however deep they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from palimpsest.foundation import tree
from palimpsest.memory.versioned import Version


class Pair(NamedTuple):
    """A part of a state."""

    first: Any
    second: Any


BATCH = 4
DRAWN = st.integers(0, 2**20).map(
    lambda seed: torch.randn(2, BATCH, 3, generator=torch.Generator().manual_seed(seed)).requires_grad_()
)
TREES = st.recursive(
    st.one_of(DRAWN, st.integers(), st.booleans(), st.none(), st.text(max_size=3)),
    lambda parts: st.one_of(
        st.builds(Pair, parts, parts),
        st.tuples(parts, parts),
        st.dictionaries(st.sampled_from("abc"), parts, max_size=3),
    ),
    max_leaves=12,
)


def every_leaf(value: Any, visit: Callable[[Any], None]) -> None:
    """Visit every leaf: a second, independent walk."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        for part in value:
            every_leaf(part, visit)
    else:
        visit(value)


def same(one: Any, other: Any) -> bool:
    """Whether two trees have the same types, names and values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@given(TREES, st.integers(0, BATCH + 1))
def test_a_tree_is_cut_and_detached_at_every_depth(value: Any, size: int) -> None:
    cut = tree.first_examples(tree.detached(value), size)
    expected: list[Any] = []
    found: list[Any] = []
    every_leaf(value, lambda leaf: expected.append(leaf[:, :size].detach() if isinstance(leaf, Tensor) else leaf))
    every_leaf(cut, found.append)
    assert all(map(same, found, expected))
    assert len(found) == len(expected)
    assert not any(leaf.requires_grad for leaf in found if isinstance(leaf, Tensor))


@given(TREES)
def test_types_and_names_stay_and_other_leaves_too(value: Any) -> None:
    assert same(tree.map_tensors(lambda tensor: tensor, value), value)
    assert same(tree.on_device(value, "cpu"), value)
    gone = tree.map_tensors(lambda tensor: tensor[:, :0], value)
    shape = tree.leaves(gone, "x")
    assert list(shape) == list(tree.leaves(value, "x"))


@given(TREES)
def test_a_tree_is_made_again_from_its_leaves(value: Any) -> None:
    found = tree.leaves(value, "state")
    assert all(name == "state" or name.startswith("state.") for name in found)
    assert same(tree.with_leaves(value, found, "state"), value)


def test_a_missing_leaf_is_named() -> None:
    with pytest.raises(KeyError, match=r"state\.second\.0"):
        tree.with_leaves(Pair(1, (2,)), {"state.first": 1}, "state")


def test_storable_parts_are_cut_and_made_again_from_their_tensors() -> None:
    part = Version({"rows": torch.arange(12.0).view(1, 4, 3)})
    state = Pair(part, None)
    cut = tree.first_examples(state, 2)
    assert torch.equal(cut.first.whole("rows"), torch.arange(6.0).view(1, 2, 3))
    assert torch.equal(part.whole("rows"), torch.arange(12.0).view(1, 4, 3))
    again = tree.with_leaves(state, tree.leaves(cut, "s"), "s")
    assert torch.equal(again.first.whole("rows"), cut.first.whole("rows"))
    assert tree.detached(state).first is part
