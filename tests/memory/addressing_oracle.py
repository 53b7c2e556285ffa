"""Addressing in plain loops and double precision, from the papers' equations, one head and one memory at a time."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return e / e.sum()


def cosine(u: Array, v: Array) -> float:
    """Graves 2014, eq. 6; norms below 10⁻³ count as that."""
    return float(u @ v) / (max(np.sqrt(u @ u), 1e-3) * max(np.sqrt(v @ v), 1e-3))


def content(key: Array, slots: Array, strength: float, similarity: str = "cosine") -> Array:
    """Graves 2014, eq. 5."""
    alike = [cosine(key, slot) if similarity == "cosine" else float(key @ slot) for slot in slots]
    return softmax(strength * np.array(alike))


def interpolated(content: Array, previous: Array, gate: float) -> Array:
    """Graves 2014, eq. 7."""
    return gate * content + (1 - gate) * previous


def shifted(weights: Array, kernel: Array) -> Array:
    """Graves 2014, eq. 8, with s(−S) first."""
    count, most = len(weights), len(kernel) // 2
    after = np.zeros(count)
    for i in range(count):
        for j in range(count):
            for s in range(-most, most + 1):
                if (i - j - s) % count == 0:
                    after[i] += weights[j] * kernel[s + most]
    return after


def sharpened(weights: Array, sharpness: float) -> Array:
    """Graves 2014, eq. 9; divided by the largest first, which the quotient does not show."""
    powers = (weights / weights.max()) ** sharpness
    return powers / powers.sum()


def hybrid(
    key: Array,
    slots: Array,
    strength: float,
    previous: Array,
    gate: float,
    kernel: Array,
    sharpness: float,
    similarity: str = "cosine",
) -> Array:
    """Graves 2014, Figure 2."""
    at_content = content(key, slots, strength, similarity)
    return sharpened(shifted(interpolated(at_content, previous, gate), kernel), sharpness)


def allocation(usage: Array) -> Array:
    """Graves 2016, eq. 1; of slots used alike the first comes first."""
    free_list = sorted(range(len(usage)), key=lambda slot: (usage[slot], slot))
    weights, left = np.zeros(len(usage)), 1.0
    for slot in free_list:
        weights[slot] = (1 - usage[slot]) * left
        left *= usage[slot]
    return weights


def read(slots: Array, weights: Array) -> Array:
    """Graves 2014, eq. 2."""
    total = np.zeros(slots.shape[1])
    for weight, slot in zip(weights, slots, strict=True):
        total += weight * slot
    return total


def written(slots: Array, weights: Array, erase: Array, add: Array) -> Array:
    """Graves 2014, eqs. 3 and 4: every head (first axis) erases, then every head adds."""
    after = slots.copy()
    for w, e in zip(weights, erase, strict=True):
        for i in range(len(after)):
            after[i] = after[i] * (1 - w[i] * e)
    for w, a in zip(weights, add, strict=True):
        for i in range(len(after)):
            after[i] = after[i] + w[i] * a
    return after
