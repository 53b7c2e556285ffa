"""Random numbers as a pure function of a key and a position, so that a run's noise does not depend on its pack.

An ordinary generator returns numbers in the order of requests, which depends on the pack. Here number i of stream s
under key k is a hash of (k, s, i) [counter-based generators: Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3"]. The hash uses the finaliser of the 32-bit MurmurHash3 [Appleby 2011] and its constants. Integer arithmetic
wraps in the same way on every device, so CPUs and GPUs draw the same bits.

Position and key are mixed separately. The hashes of positions are a table that every step reuses, so a draw takes six
passes over the array in place of fifteen.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int16, Int32
from torch import Tensor

_GOLDEN = 0x9E3779B1
_MULTIPLIER = 0x85EBCA6B


def _signed(value: int) -> int:
    """Return an unsigned constant as a signed 32-bit number, in two's complement."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def _fold(x: Int32[Tensor, "*shape"], bits: int) -> Int32[Tensor, "*shape"]:
    """X ← x ⊕ (x ≫ bits) in place, with a logical shift; PyTorch's own shift keeps the sign."""
    return x.bitwise_xor_((x >> bits).bitwise_and_((1 << (32 - bits)) - 1))


def _mix(x: Int32[Tensor, "*shape"]) -> Int32[Tensor, "*shape"]:
    """Scramble ``x`` in place, so that every bit of the result depends on every bit of ``x``."""
    _fold(x, 16).mul_(_signed(_MULTIPLIER))
    _fold(x, 13).mul_(_signed(0xC2B2AE35))
    return _fold(x, 16)


@functools.lru_cache(maxsize=32)
def _positions(size: int, device: torch.device) -> Int32[Tensor, " size"]:
    """Return the hashes of 0, 1, …; the table is constant and cached, because every step uses it."""
    return _mix(torch.arange(size, device=device, dtype=torch.int32) * _signed(_GOLDEN))


class Stream(NamedTuple):
    """One of the independent streams of every run's key."""

    summand: Int32[Tensor, "runs 1"]
    factor: Int32[Tensor, "runs 1"]

    def for_runs(self, runs: slice) -> Stream:
        """Return the same stream for some of the runs."""
        return Stream(self.summand[runs], self.factor[runs])


def open_stream(key: Int[Tensor, " runs"], number: int) -> Stream:
    """Mix a key and the number of a stream.

    Args:
        key: any integers; equal keys give equal bits.
        number: number of one of the key's independent streams; a layer has its own stream, for example.
    """
    low = _mix(key.to(torch.int32) + _signed(_GOLDEN * (2 * number + 1)))
    high = _mix((key >> 32).to(torch.int32) + low)
    return Stream(low[:, None], (high | 1)[:, None])


def random_bits(stream: Stream, shape: tuple[int, ...], first: int = 0) -> Int32[Tensor, "runs *shape"]:
    """Return 32 random bits for every element of (runs, *shape).

    They are mix((p_i + a) · b), where p_i is the hash of i, and a and b belong to the stream.

    Args:
        stream: see :func:`open_stream`.
        shape: shape for one run; its product is at most 2³⁰.
        first: number of the first element, for callers that process a large array in pieces.
    """
    count = math.prod(shape)
    device = stream.summand.device
    hashes = _positions(1 << (first + count - 1).bit_length(), device)[first : first + count]
    bits = (hashes + stream.summand).mul_(stream.factor)
    return _fold(bits, 16).mul_(_signed(_MULTIPLIER)).view(-1, *shape)


def uniform(key: Int[Tensor, " runs"], number: int, shape: tuple[int, ...]) -> Float[Tensor, "runs *shape"]:
    """Return uniform float32 numbers in [0, 1), multiples of 2⁻²⁴; for the arguments see :func:`open_stream`."""
    return ((random_bits(open_stream(key, number), shape) >> 8) & 0xFFFFFF).to(torch.float32) * 2**-24


def keep_mask(stream: Stream, shape: tuple[int, ...], rate: float, first: int = 0) -> Int16[Tensor, "runs *shape"]:
    """Return 0 with probability ``rate``, rounded to a multiple of 2⁻¹⁶, and 1 otherwise.

    32 random bits decide two elements. The mask has integers, because a CPU compares and converts integers with vector
    instructions, but truth values one by one.

    Args:
        stream: see :func:`open_stream`.
        shape: shape for one run.
        rate: in [0, 1).
        first: number of the first element, even; see :func:`random_bits`.
    """
    count = math.prod(shape)
    halves = random_bits(stream, (-(-count // 2),), first // 2).view(torch.int16)
    return halves.ge_(round(rate * 2**16) - 2**15)[:, :count].reshape(-1, *shape)


def keep_scale(rate: float) -> float:
    """Return 1/(1 − rate), the factor with which dropout multiplies the elements that it keeps."""
    return 1 / (1 - round(rate * 2**16) * 2**-16)


def dropout(x: Float[Tensor, "runs *inner"], rate: float, key: Int[Tensor, " runs"] | None, number: int) -> Tensor:
    """Zero each element with probability ``rate`` and scale the others by 1/(1 − rate) [Srivastava et al. 2014].

    Args:
        x: any activation.
        rate: in [0, 1); see :func:`keep_mask`.
        key: as in :func:`open_stream`; ``None`` switches dropout off, as in evaluation.
        number: as in :func:`open_stream`.
    """
    if rate == 0 or key is None:
        return x
    return x * keep_mask(open_stream(key, number), tuple(x.shape[1:]), rate).to(x.dtype).mul_(keep_scale(rate))
