"""The real-valued sequence of source 004, and how well a forecast does beside repeating the last value.

In the source's public code the target is the last vector of a sequence plus a tenth of its first one. The first vectors
are a third as large as the last, so that repeating the last vector is nearly perfect: R² = 0.9989. A model's error on
this task says little unless the naive forecast stands beside it, and only what a model explains of the rest,
:attr:`Forecast.skill`, needs a memory.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from palimpsest.foundation.errors import ParameterError
from palimpsest.memory.sizes import at_least_one

SPREADS = (0.1, 0.2, 0.3)
"""Standard deviations of the three thirds of a sequence."""
SHARE = 0.1
"""How much of the first vector the target has."""


def real_valued_sequences(
    examples: int, time: int, features: int, generator: Generator
) -> tuple[Float[Tensor, "examples time features"], Float[Tensor, "examples features"]]:
    """Draw sequences x of independent normal vectors, and the targets x_T + 0.1 x_1.

    Args:
        examples: how many sequences.
        time: vectors T of a sequence, a multiple of three.
        features: numbers of a vector.
        generator: draws them.

    Raises:
        ParameterError: a size is below one, or ``time`` is no multiple of three.
    """
    at_least_one(examples=examples, time=time, features=features)
    if time % len(SPREADS):
        raise ParameterError(f"time: {time}; allowed: a multiple of {len(SPREADS)}")
    spread = torch.tensor(SPREADS).repeat_interleave(time // len(SPREADS))
    x = torch.randn(examples, time, features, generator=generator) * spread[:, None]
    return x, x[:, -1] + SHARE * x[:, 0]


def naive_r_squared() -> float:
    """R² of the last vector as a forecast, over endless examples: 1 − a² σ_1² / (σ_T² + a² σ_1²), a the ``SHARE``.

    >>> round(naive_r_squared(), 4)
    0.9989
    """
    rest = (SHARE * SPREADS[0]) ** 2
    return 1 - rest / (SPREADS[-1] ** 2 + rest)


def r_squared(forecast: Float[Tensor, "examples features"], target: Float[Tensor, "examples features"]) -> float:
    """R² = 1 − Σ (y − ŷ)² / Σ (y − ȳ)², ȳ the mean of each feature; at most 1, and 0 for the mean itself.

    Raises:
        ParameterError: fewer than two examples, or targets that are all the same.
    """
    if len(target) < 2:
        raise ParameterError(f"target: {len(target)} examples; allowed: 2 or more")
    wanted = target.double()
    total = (wanted - wanted.mean(0)).square().sum()
    if not total:
        raise ParameterError("target: all the same; allowed: targets that differ")
    return float(1 - (wanted - forecast.double()).square().sum() / total)


class Forecast(NamedTuple):
    """How well a model forecasts, beside the last value."""

    naive: float
    """R² of repeating the last vector."""
    model: float
    """R² of the model."""

    @property
    def skill(self) -> float:
        """Share of the naive forecast's squared error that the model removes, 1 − (1 − R²) / (1 − R²_naive).

        1: a perfect model; 0: no better than repeating the last vector; below 0: worse.
        """
        return 1 - (1 - self.model) / (1 - self.naive)


def beside_naive(
    forecast: Float[Tensor, "examples features"],
    x: Float[Tensor, "examples time features"],
    target: Float[Tensor, "examples features"],
) -> Forecast:
    """Compare a model's forecasts with the last vectors of their sequences.

    Args:
        forecast: of the model.
        x: sequences.
        target: what follows.

    Raises:
        ParameterError: in the cases of :func:`r_squared`.
    """
    return Forecast(r_squared(x[:, -1], target), r_squared(forecast, target))
