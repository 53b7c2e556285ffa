"""Random numbers as a pure function of a key and a position, so that a run's noise does not depend on its company.

A generator would hand its numbers out in the order in which a pack asks for them. Here number i of stream s under
key k is a hash of (k, s, i) [counter-based generators: Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3"]; it mixes with the finaliser of the 32-bit MurmurHash3 [Appleby 2011], whose constants it takes. Integer
arithmetic wraps alike on every device, so that CPUs and GPUs draw the same bits.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

_GOLDEN = 0x9E3779B1


def _signed(value: int) -> int:
    """The 32-bit two's complement reading of an unsigned constant."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def _shift_right(x: Int32[Tensor, "*shape"], bits: int) -> Int32[Tensor, "*shape"]:
    """Logical shift: PyTorch's own keeps the sign."""
    return (x >> bits).bitwise_and_((1 << (32 - bits)) - 1)


def _mix(x: Int32[Tensor, "*shape"], between: Int32[Tensor, "*rows"] | int = 0) -> Int32[Tensor, "*shape"]:
    """Scramble ``x`` in place, so that every bit depends on every bit of it and of ``between``."""
    x ^= _shift_right(x, 16)
    x *= _signed(0x85EBCA6B)
    x += between
    x ^= _shift_right(x, 13)
    x *= _signed(0xC2B2AE35)
    x ^= _shift_right(x, 16)
    return x


def random_bits(key: Int[Tensor, " runs"], stream: int, shape: tuple[int, ...]) -> Int32[Tensor, "runs *shape"]:
    """32 random bits for every element of (runs, *shape).

    Args:
        key: any integers; equal keys give equal bits.
        stream: which of a key's independent streams, e.g. one a layer.
        shape: shape for one run; its product is at most 2³¹.
    """
    low = _mix(key.to(torch.int32) + _signed(_GOLDEN * (2 * stream + 1)))
    high = _mix((key >> 32).to(torch.int32) + low)
    counter = torch.arange(math.prod(shape), device=key.device, dtype=torch.int32) * _signed(_GOLDEN)
    return _mix(counter + low[:, None], high[:, None]).view(key.shape[0], *shape)


def uniform(key: Int[Tensor, " runs"], stream: int, shape: tuple[int, ...]) -> Float[Tensor, "runs *shape"]:
    """Uniform numbers in [0, 1), multiples of 2⁻²⁴, float32; arguments as in :func:`random_bits`."""
    return ((random_bits(key, stream, shape) >> 8) & 0xFFFFFF).to(torch.float32) * 2**-24


def dropout(x: Float[Tensor, "runs *inner"], rate: float, key: Int[Tensor, " runs"] | None, stream: int) -> Tensor:
    """Zero each element with probability ``rate`` and scale the others by 1/(1 − rate) [Srivastava et al. 2014].

    Args:
        x: any activation.
        rate: in [0, 1), taken to the nearest multiple of 2⁻¹⁶: 32 random bits decide about two elements.
        key: as in :func:`random_bits`; ``None`` switches dropout off, as evaluation does.
        stream: as in :func:`random_bits`.
    """
    if rate == 0 or key is None:
        return x
    count = math.prod(x.shape[1:])
    halves = random_bits(key, stream, (-(-count // 2),)).view(torch.int16)[:, :count]
    dropped = round(rate * 2**16)
    keep = (halves.view(x.shape) >= dropped - 2**15).to(x.dtype)
    return x * keep.mul_(1 / (1 - dropped * 2**-16))
