"""States come back from disk bit for bit, and whatever is wrong is named on one line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from palimpsest.foundation import tensors
from palimpsest.foundation.errors import DataError, PalimpsestError, ParameterError
from palimpsest.memory import episodic, lifecycle
from palimpsest.memory.persistence import load_state, save_state
from tests.memory.cells import CELLS, drawn, inputs, unroll


class Inner(NamedTuple):
    """Part of a state."""

    hidden: Tensor
    steps: int


class Outer(NamedTuple):
    """A state with parts of every sort."""

    slots: Tensor
    rate: float
    full: bool
    inner: Inner
    link: Tensor | None
    more: Inner | None


def outer(**changes: Any) -> Outer:
    state = Outer(torch.zeros(2), 0.1, True, Inner(torch.ones(1, dtype=torch.int64), 7), None, None)
    return state._replace(**changes)


def same(one: Any, other: Any) -> bool:
    """Whether two parts have the same types, shapes and bits."""
    if isinstance(one, Tensor):
        as_bits = {4: torch.int32, 8: torch.int64, 2: torch.int16, 1: torch.int8}[one.element_size()]
        return (
            one.dtype == other.dtype
            and one.shape == other.shape
            and torch.equal(one.view(as_bits), other.view(as_bits))
        )
    if isinstance(one, tuple):
        return type(one) is type(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("name", [name for name in sorted(CELLS) if not name.startswith("sparse")])
def test_every_cells_state_comes_back_bit_for_bit_and_goes_on_the_same(name: str, tmp_path: Path) -> None:
    cell = drawn(name)
    xs = inputs()
    whole, states = unroll(cell, xs)
    for state in (cell.initial_state(3), states[2]):
        save_state(tmp_path / "state.safetensors", state)
        again = load_state(tmp_path / "state.safetensors", type(state))
        assert same(state, again)
    assert torch.equal(unroll(cell, xs[:, :, 3:], again)[0], whole[:, :, 3:])


@pytest.mark.parametrize("mechanism", [episodic, lifecycle])
def test_states_of_other_memories_come_back_with_their_numbers(mechanism: Any, tmp_path: Path) -> None:
    state = mechanism.initial_state(1, 2, 3, 4)._replace(steps=5)
    save_state(tmp_path / "s", state)
    assert same(state, load_state(tmp_path / "s", type(state)))


@settings(max_examples=40)
@given(
    st.lists(st.floats(width=32), max_size=5),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    st.floats(allow_nan=False),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
)
def test_numbers_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[float],
    dtype: torch.dtype,
    rate: float,
    steps: int,
    more: bool,
) -> None:
    path = tmp_path_factory.mktemp("state") / "s"
    inner = Inner(torch.arange(3), steps)
    state = outer(slots=torch.tensor(values).to(dtype), rate=rate, inner=inner, more=inner if more else None)
    save_state(path, state)
    assert same(state, load_state(path, Outer))


def test_bad_numbers_and_signs_of_zero_come_back(tmp_path: Path) -> None:
    state = outer(slots=torch.tensor([math.nan, -0.0, math.inf, -math.inf]), link=torch.tensor(-0.0))
    save_state(tmp_path / "s", state)
    assert same(state, load_state(tmp_path / "s", Outer))


def test_equal_states_make_equal_files_and_parts_may_share_their_memory(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    save_state(tmp_path / "a", outer(slots=shared[::2], link=shared.expand(2, 6)))
    save_state(tmp_path / "b", outer(slots=torch.tensor([0.0, 2, 4]), link=shared.repeat(2, 1).requires_grad_()))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert not load_state(tmp_path / "b", Outer).link.requires_grad


def test_what_cannot_be_stored_is_named_and_no_file_is_made(tmp_path: Path) -> None:
    for state, message in (
        (outer(link=[1]), "Outer.link: list cannot be stored"),
        (outer(inner=Inner(torch.ones(1), "x")), "Outer.inner.steps: str cannot be stored"),
        ((torch.ones(1),), "state: tuple is no state; allowed: a named tuple"),
    ):
        with pytest.raises(ParameterError, match=message):
            save_state(tmp_path / "s", state)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with pytest.raises(DataError, match="s: no such file"):
        load_state(path, Outer)
    path.mkdir()
    with pytest.raises(DataError, match="s: cannot be read: Is a directory"):
        load_state(path, Outer)
    path.rmdir()
    path.write_bytes(b"12345678")
    with pytest.raises(DataError, match="s: corrupt"):
        load_state(path, Outer)
    save_state(path, outer())
    with pytest.raises(DataError, match="Inner.hidden is missing"):
        load_state(path, Inner)
    with pytest.raises(ParameterError, match="kind: .* is no type of a state"):
        load_state(path, int)
    content = tensors.read_tensors(path)
    tensors.write_tensors(path, content | {"Outer.other": torch.ones(1)})
    with pytest.raises(DataError, match="Outer.other is no part of it"):
        load_state(path, Outer)
    tensors.write_tensors(path, {key: value for key, value in content.items() if key != "Outer.inner.steps"})
    with pytest.raises(DataError, match="Outer.inner.steps is missing"):
        load_state(path, Outer)


def test_every_error_is_one_line_and_what_was_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "file" / "s"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PalimpsestError) as caught:
        save_state(path, outer())
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    save_state(tmp_path / "s", outer())
    before = (tmp_path / "s").read_bytes()
    with pytest.raises(ParameterError):
        save_state(tmp_path / "s", outer(link=object()))
    assert (tmp_path / "s").read_bytes() == before
    assert sorted(part.name for part in tmp_path.iterdir()) == ["file", "s"]
