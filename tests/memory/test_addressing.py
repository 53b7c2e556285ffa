"""Addressing against loops in NumPy, its invariants, its gradients, and the numbers that used to break it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from palimpsest.foundation.errors import ParameterError
from palimpsest.memory import addressing
from tests.memory import addressing_oracle as oracle

TOLERANCE = {torch.float32: {"rtol": 2e-5, "atol": 2e-6}, torch.float64: {"rtol": 1e-9, "atol": 1e-12}}


class Drawn:
    """One of each parameter of the heads, for R × B memories."""

    def __init__(
        self,
        seed: int,
        runs: int = 2,
        batch: int = 2,
        heads: int = 2,
        num_slots: int = 6,
        dim: int = 4,
        shifts: int = 3,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(runs, batch, *shape, generator=generator, dtype=torch.float64).to(dtype)

        self.key, self.slots = normal(heads, dim), normal(num_slots, dim)
        self.strength, self.sharpness = 3 * normal(heads).abs(), 1 + 2 * normal(heads).abs()
        self.gate = normal(heads).sigmoid()
        self.previous = (3 * normal(heads, num_slots)).softmax(-1)
        self.content = (3 * normal(heads, num_slots)).softmax(-1)
        self.kernel = (2 * normal(heads, shifts)).softmax(-1)
        self.erase, self.add = normal(heads, dim).sigmoid(), normal(heads, dim)
        self.usage = (2 * normal(num_slots)).sigmoid()

    def of_hybrid(self) -> tuple[Tensor, ...]:
        return self.key, self.slots, self.strength, self.previous, self.gate, self.kernel, self.sharpness

    def of_write(self) -> tuple[Tensor, ...]:
        return self.slots, self.previous, self.erase, self.add


def by_head(expected: Callable[..., np.ndarray], *tensors: Tensor, shared: int = -1) -> Tensor:
    """The oracle for every run, element and head; argument number ``shared`` has no axis of heads."""
    arrays = [tensor.double().numpy() for tensor in tensors]
    runs, batch, heads = arrays[0].shape[:3]
    found = [
        expected(*(array[r, b] if n == shared else array[r, b, h] for n, array in enumerate(arrays)))
        for r, b, h in np.ndindex(runs, batch, heads)
    ]
    return torch.tensor(np.array(found)).view(runs, batch, heads, -1)


SIZES = {
    "runs": st.integers(1, 3),
    "batch": st.integers(1, 3),
    "heads": st.integers(1, 3),
    "num_slots": st.integers(3, 9),
    "dim": st.integers(1, 5),
    "shifts": st.sampled_from([1, 3]),
    "seed": st.integers(0, 10_000),
    "dtype": st.sampled_from([torch.float32, torch.float64]),
}
DRAWN = st.builds(Drawn, **SIZES)
few = settings(max_examples=25)


@few
@given(DRAWN, st.sampled_from(["cosine", "dot"]))
def test_content_weights_equal_the_oracle_and_sum_to_one(drawn: Drawn, similarity: str) -> None:
    weights = addressing.content_weights(drawn.key, drawn.slots, drawn.strength, similarity)
    expected = by_head(
        lambda key, slots, strength: oracle.content(key, slots, float(strength), similarity),
        drawn.key,
        drawn.slots,
        drawn.strength,
        shared=1,
    )
    torch.testing.assert_close(weights.double(), expected, **TOLERANCE[drawn.key.dtype])
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(drawn.strength))


@few
@given(DRAWN)
def test_interpolation_equals_the_oracle_and_keeps_the_sum(drawn: Drawn) -> None:
    weights = addressing.interpolate(drawn.content, drawn.previous, drawn.gate)
    expected = by_head(oracle.interpolated, drawn.content, drawn.previous, drawn.gate)
    torch.testing.assert_close(weights.double(), expected, **TOLERANCE[drawn.key.dtype])
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(drawn.gate))


def test_a_closed_gate_keeps_the_place_and_an_open_one_leaves_it() -> None:
    drawn = Drawn(0, dtype=torch.float32)
    shut, wide = torch.zeros_like(drawn.gate), torch.ones_like(drawn.gate)
    assert torch.equal(addressing.interpolate(drawn.content, drawn.previous, shut), drawn.previous)
    torch.testing.assert_close(addressing.interpolate(drawn.content, drawn.previous, wide), drawn.content)


@few
@given(DRAWN)
def test_shift_equals_the_oracle_and_keeps_the_sum(drawn: Drawn) -> None:
    weights = addressing.shift(drawn.previous, drawn.kernel)
    expected = by_head(oracle.shifted, drawn.previous, drawn.kernel)
    torch.testing.assert_close(weights.double(), expected, **TOLERANCE[drawn.key.dtype])
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(drawn.gate))


@few
@given(st.integers(5, 9), st.integers(-2, 2), st.integers(0, 99))
def test_a_sharp_kernel_rolls_the_weights_round(num_slots: int, by: int, seed: int) -> None:
    drawn = Drawn(seed, num_slots=num_slots)
    kernel = torch.nn.functional.one_hot(torch.tensor(by + 2), 5).double().expand(2, 2, 2, 5)
    assert torch.equal(addressing.shift(drawn.previous, kernel), drawn.previous.roll(by, -1))


@pytest.mark.parametrize("shifts", [2, 4, 7, 8])
def test_a_kernel_without_a_middle_or_wider_than_the_memory_is_refused(shifts: int) -> None:
    drawn = Drawn(0, num_slots=6, shifts=shifts)
    with pytest.raises(ParameterError, match=rf"^kernel: {shifts} shifts of 6 slots; allowed: an odd number[^\n]*$"):
        addressing.shift(drawn.previous, drawn.kernel)


@few
@given(DRAWN)
def test_sharpening_equals_the_oracle_and_sums_to_one(drawn: Drawn) -> None:
    weights = addressing.sharpen(drawn.previous, drawn.sharpness)
    expected = by_head(lambda w, g: oracle.sharpened(w, float(g)), drawn.previous, drawn.sharpness)
    torch.testing.assert_close(weights.double(), expected, **TOLERANCE[drawn.key.dtype])
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(drawn.gate))
    assert (weights.argmax(-1) == drawn.previous.argmax(-1)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("sharpness", [1.0, 20.0, 1e4])
def test_sharpening_of_zeros_and_of_what_a_power_would_lose(dtype: torch.dtype, sharpness: float) -> None:
    given_weights = torch.tensor([[0.0, 1, 0, 0], [1e-4, 3e-4, 1e-4, 0], [0, 0, 0, 0]], dtype=dtype).view(1, 1, 3, 4)
    given_weights.requires_grad_()
    power = torch.full((1, 1, 3), sharpness, dtype=dtype, requires_grad=True)
    weights = addressing.sharpen(given_weights, power)
    assert weights[0, 0, 0, 1] > 0.99
    assert weights[0, 0, 1].argmax() == 1
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(power), rtol=1e-2, atol=1e-2)
    rows = 2 if dtype == torch.float16 else 3  # what a sum of zero owes to its parts, γ / tiny, exceeds float16
    weights[:, :, :rows, 1].sum().backward()
    assert torch.isfinite(given_weights.grad).all()
    assert torch.isfinite(power.grad).all()


def test_the_gradient_of_sharpening_at_a_weight_of_zero_is_that_of_the_equation() -> None:
    weights = torch.tensor([0.0, 0.75, 0.25], dtype=torch.float64).view(1, 1, 1, 3).requires_grad_()
    sharp = addressing.sharpen(weights, torch.ones(1, 1, 1, dtype=torch.float64))
    sharp[..., 0].sum().backward()  # w_0 / Σ w, whose derivative at w_0 = 0 is 1 / Σ w
    torch.testing.assert_close(weights.grad.flatten(), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))


@few
@given(DRAWN, st.sampled_from(["cosine", "dot"]))
def test_hybrid_addressing_equals_the_oracle(drawn: Drawn, similarity: str) -> None:
    weights = addressing.hybrid(*drawn.of_hybrid(), similarity)
    expected = by_head(
        lambda key, slots, strength, previous, gate, kernel, sharpness: oracle.hybrid(
            key, slots, float(strength), previous, float(gate), kernel, float(sharpness), similarity
        ),
        *drawn.of_hybrid(),
        shared=1,
    )
    tolerance = {"rtol": 1e-3, "atol": 1e-5} if drawn.key.dtype == torch.float32 else {"rtol": 1e-8, "atol": 1e-11}
    torch.testing.assert_close(weights.double(), expected, **tolerance)


@few
@given(st.lists(st.sampled_from([0.0, 0.2, 0.5, 1 - 1e-6, 1.0]), min_size=1, max_size=8))
def test_allocation_equals_the_oracle_with_ties_and_at_both_ends(usage: list[float]) -> None:
    weights = addressing.allocation(torch.tensor(usage, dtype=torch.float64).view(1, 1, -1))
    torch.testing.assert_close(
        weights.flatten(), torch.tensor(oracle.allocation(np.array(usage))), rtol=1e-4, atol=len(usage) * 2e-6
    )


@few
@given(st.integers(1, 40), st.integers(0, 999), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_allocation_is_a_weighting_and_goes_to_the_least_used(num_slots: int, seed: int, dtype: torch.dtype) -> None:
    usage = torch.rand(2, 3, num_slots, generator=torch.Generator().manual_seed(seed)).to(dtype)
    weights = addressing.allocation(usage)
    assert (weights >= 0).all()
    assert (weights.double().sum(-1) <= 1 + 4 * torch.finfo(dtype).eps).all()
    assert not addressing.allocation(torch.ones_like(usage)).any()
    free = addressing.allocation(torch.zeros_like(usage))
    assert (free[..., 0] > 0.99).all()  # all free: the first of those alike


@pytest.mark.parametrize("num_slots", [1, 2, 128, 1000])
@pytest.mark.parametrize("usage", [0.0, 1e-30, 0.5, 1.0])
def test_allocation_among_slots_used_alike_has_a_finite_gradient(num_slots: int, usage: float) -> None:
    used = torch.full((1, 1, num_slots), usage, requires_grad=True)
    weights = addressing.allocation(used)
    (weights * torch.linspace(-1, 1, num_slots)).sum().backward()
    assert torch.isfinite(weights).all()
    assert torch.isfinite(used.grad).all()


@few
@given(DRAWN)
def test_reads_equal_the_oracle(drawn: Drawn) -> None:
    expected = by_head(lambda weights, slots: oracle.read(slots, weights), drawn.previous, drawn.slots, shared=1)
    found = addressing.read(drawn.slots, drawn.previous)
    torch.testing.assert_close(found.double(), expected, **TOLERANCE[drawn.key.dtype])


@few
@given(DRAWN)
def test_writes_equal_the_oracle_for_any_number_of_heads(drawn: Drawn) -> None:
    after = addressing.erase_and_add(*drawn.of_write())
    slots, weights, erase, add = (part.double().numpy() for part in drawn.of_write())
    for r, b in np.ndindex(slots.shape[:2]):
        expected = oracle.written(slots[r, b], weights[r, b], erase[r, b], add[r, b])
        torch.testing.assert_close(after[r, b].double(), torch.tensor(expected), **TOLERANCE[drawn.key.dtype])


@pytest.mark.parametrize("heads", [1, 3])
def test_the_order_of_write_heads_does_not_matter(heads: int) -> None:
    drawn = Drawn(1, heads=heads)
    slots, *parameters = drawn.of_write()
    turned = addressing.erase_and_add(slots, *(part.flip(2) for part in parameters))
    torch.testing.assert_close(turned, addressing.erase_and_add(slots, *parameters))


@pytest.mark.parametrize("heads", [1, 2])
def test_a_full_write_replaces_a_slot_and_leaves_the_others_as_they_are(heads: int) -> None:
    drawn = Drawn(2, heads=heads, dtype=torch.float32)
    weights = torch.zeros_like(drawn.previous)
    weights[:, :, 0, 3] = 1
    after = addressing.erase_and_add(drawn.slots, weights, torch.ones_like(drawn.erase), drawn.add)
    assert torch.equal(after[:, :, 3], drawn.add[:, :, 0])
    others = [0, 1, 2, 4, 5]
    assert torch.equal(after[:, :, others], drawn.slots[:, :, others])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rows_of_zeros_resemble_nothing_and_have_finite_gradients(dtype: torch.dtype) -> None:
    drawn = Drawn(3, dtype=dtype)
    key, slots = drawn.key.clone(), drawn.slots.clone()
    key[:, :, 0], slots[:, :, 2] = 0, 0
    key.requires_grad_()
    slots.requires_grad_()
    alike = addressing.cosine_similarity(key, slots)
    assert not alike[:, :, 0].any()
    assert not alike[..., 2].any()
    assert (alike.abs() <= 1 + 4 * torch.finfo(dtype).eps).all()
    alike.square().sum().add(alike.sum()).backward()
    assert torch.isfinite(key.grad).all()
    assert torch.isfinite(slots.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 300.0])
def test_half_precision_neither_overflows_nor_divides_by_zero(dtype: torch.dtype, scale: float) -> None:
    drawn = Drawn(4, dtype=dtype, num_slots=64, dim=20)
    key, slots = (scale * drawn.key).requires_grad_(), (scale * drawn.slots).requires_grad_()
    weights = addressing.hybrid(key, slots, *drawn.of_hybrid()[2:])
    after = addressing.erase_and_add(slots, weights, drawn.erase, drawn.add)
    assert torch.isfinite(weights).all()
    assert (weights.float().sum(-1) - 1).abs().max() < 0.05
    (weights.square().sum() + after.mean()).backward()
    for tensor in (key, slots):
        assert torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize("strength", [0.0, 1e3, 1e8])
def test_any_strength_gives_a_weighting(strength: float) -> None:
    drawn = Drawn(5, dtype=torch.float32)
    beta = torch.full_like(drawn.strength, strength).requires_grad_()
    weights = addressing.content_weights(drawn.key, drawn.slots, beta)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(beta))
    if strength == 0:
        assert (weights == weights[..., :1]).all()
    else:
        assert (weights.argmax(-1) == addressing.cosine_similarity(drawn.key, drawn.slots).argmax(-1)).all()
    weights[..., 0].sum().backward()
    assert torch.isfinite(beta.grad).all()


@pytest.mark.parametrize("similarity", ["cosine ", "euclidean", ""])
def test_an_unknown_similarity_is_refused_in_one_line(similarity: str) -> None:
    drawn = Drawn(6)
    with pytest.raises(ParameterError, match=rf"^similarity: '{similarity}' is unknown; allowed: cosine, dot$"):
        addressing.content_weights(drawn.key, drawn.slots, drawn.strength, similarity)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_gradients_agree_with_finite_differences(heads: int, similarity: str) -> None:
    drawn = Drawn(7, runs=1, batch=1, heads=heads, num_slots=4, dim=3)
    of_hybrid = [part.clone().requires_grad_() for part in drawn.of_hybrid()]
    assert torch.autograd.gradcheck(lambda *parts: addressing.hybrid(*parts, similarity), of_hybrid)
    of_write = [part.clone().requires_grad_() for part in drawn.of_write()]
    assert torch.autograd.gradcheck(addressing.erase_and_add, of_write)
    assert torch.autograd.gradcheck(addressing.allocation, (drawn.usage.requires_grad_(),))


@few
@given(st.builds(Drawn, **SIZES | {"runs": st.just(3), "dtype": st.just(torch.float32)}))
def test_a_run_alone_has_the_bits_that_it_has_in_a_pack(drawn: Drawn) -> None:
    calls: list[tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = [
        (addressing.hybrid, drawn.of_hybrid()),
        (addressing.erase_and_add, drawn.of_write()),
        (addressing.allocation, (drawn.usage,)),
        (addressing.read, (drawn.slots, drawn.previous)),
        (addressing.dot_similarity, (drawn.key, drawn.slots)),
    ]
    for function, parts in calls:
        pack = [part.clone().requires_grad_() for part in parts]
        found = function(*pack)
        of_pack = torch.autograd.grad(found.square().sum(), pack)
        for run in range(3):
            mine = [part[run : run + 1].clone().requires_grad_() for part in parts]
            alone = function(*mine)
            assert torch.equal(alone[0], found[run]), function
            for gradient, other in zip(torch.autograd.grad(alone.square().sum(), mine), of_pack, strict=True):
                assert torch.equal(gradient[0], other[run]), function
