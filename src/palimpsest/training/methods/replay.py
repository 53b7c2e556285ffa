"""Experience replay: stored examples of earlier phases are trained on beside those of the current one.

Every run has a reservoir of M examples [Vitter 1985, algorithm R]: of n examples that came by, in any phase, each is in
it with probability M/n. Every batch is followed by examples drawn from it [Chaudhry et al. 2019, algorithm 1].

Deviates: the reservoir takes a phase's training split when the phase has ended, each example once; so a phase replays
earlier phases alone, and examples do not count twice where a phase has several epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional as F

from palimpsest.foundation.sections import Section
from palimpsest.tasks import Examples, Splits
from palimpsest.training import methods
from palimpsest.training.methods import Learner


class Config(Section):
    """How much is stored, and how much of it is replayed."""

    replay_capacity: int = Field(200, ge=1, description="M: examples that the reservoir of a run holds")
    replay_batch: int = Field(16, ge=1, description="stored examples that follow each batch after the first phase")


class State(NamedTuple):
    """The reservoir of every run."""

    stored: Examples
    """(R, M, …), filled from the front."""
    seen: Int[Tensor, " runs"]
    """n: examples that came by."""


class Method(methods.Method):
    """The hooks of experience replay."""

    config: Config

    @property
    def extra_examples(self) -> int:
        """Stored examples behind each batch."""
        return self.config.replay_batch

    def initial_state(self, pack: Learner, data: Sequence[Splits]) -> State:
        """Return empty reservoirs, as long as the longest example of any phase."""
        longest = max((splits.train for splits in data), key=lambda split: split.inputs.shape[1])

        def empty(values: Tensor) -> Tensor:
            return values.new_zeros(pack.runs, self.config.replay_capacity, *values.shape[1:])

        extras = {name: empty(value) for name, value in longest.extras.items()}
        stored = Examples(empty(longest.inputs), empty(longest.targets), extras)
        return State(stored, torch.zeros(pack.runs, dtype=torch.int64, device=pack.device))

    def examples(self, pack: Learner, state: State, batch: Examples) -> Examples:
        """Return the batch with as many stored examples behind it; in the first phase nothing is stored yet."""
        if pack.phase == 0:
            return batch
        filled = state.seen.clamp_max(self.config.replay_capacity).tolist()
        drawn = zip(filled, pack.generators("replay"), strict=True)
        rows = torch.stack([torch.randint(size, (self.config.replay_batch,), generator=g) for size, g in drawn])
        again = _rows_of_runs(state.stored, rows.to(pack.device))
        return _joined(_as_long_as(batch, again), again)

    def after_phase(self, pack: Learner, state: State, data: Splits) -> State:
        """Let the training split of the phase that ended pass by the reservoirs."""
        capacity = self.config.replay_capacity
        seen, generators = state.seen.tolist(), pack.generators("reservoir")
        came = len(data.train.targets)
        sources = [sources_of(n, came, capacity, g) for n, g in zip(seen, generators, strict=True)]
        source = torch.stack(sources).to(pack.device)
        new = data.train.rows(source.clamp_min(0))
        return State(_chosen(source >= 0, _as_long_as(new, state.stored), state.stored), state.seen + came)


def sources_of(seen: int, came: int, capacity: int, generator: Generator) -> Int[Tensor, " capacity"]:
    """Return which example each place of a reservoir takes, −1 where it stays as it is [Vitter 1985, algorithm R].

    Example number n, from 0, takes place n while there are free ones, and later a place drawn from 0 … n, if that is
    within the reservoir. Of two that take one place, the later one stays.

    Args:
        seen: examples that came by before.
        came: examples that come by now.
        capacity: M.
        generator: draws the places.
    """
    number = torch.arange(seen, seen + came)
    drawn = (torch.rand(came, generator=generator, dtype=torch.float64) * (number + 1)).long()
    place = torch.where(number < capacity, number, drawn).clamp_max(capacity)  # place M is outside
    latest = torch.full((capacity + 1,), -1)
    return latest.scatter_reduce(0, place, torch.arange(came), "amax")[:capacity]


def _rows_of_runs(stored: Examples, rows: Int[Tensor, "runs drawn"]) -> Examples:
    """Some rows of each run's examples, (R, drawn, …)."""
    runs = torch.arange(len(rows), device=rows.device)[:, None]
    extras = {name: value[runs, rows] for name, value in stored.extras.items()}
    return Examples(stored.inputs[runs, rows], stored.targets[runs, rows], extras)


def _as_long_as(examples: Examples, other: Examples) -> Examples:
    """The same examples, padded at their end to the time of others; nothing is asked in the padding."""
    extras = {name: _padded(value, other.extras[name], 0) for name, value in examples.extras.items()}
    targets = _padded(examples.targets, other.targets, -1)
    return Examples(_padded(examples.inputs, other.inputs, 0), targets, extras)


def _padded(value: Tensor, other: Tensor, fill: int) -> Tensor:
    """A tensor with every axis behind (R, B) as long as that of another."""
    missing = [long - own for own, long in zip(value.shape[2:], other.shape[2:], strict=True)]
    pads = [side for size in reversed(missing) for side in (0, max(0, size))]
    return F.pad(value, pads, value=fill) if any(pads) else value


def _joined(one: Examples, other: Examples) -> Examples:
    """Examples of each run behind those of another split, (R, B + B', …)."""
    extras = {name: torch.cat([value, other.extras[name]], 1) for name, value in one.extras.items()}
    return Examples(torch.cat([one.inputs, other.inputs], 1), torch.cat([one.targets, other.targets], 1), extras)


def _chosen(take: Tensor, new: Examples, old: Examples) -> Examples:
    """New examples where ``take`` (R, M) is true, old ones elsewhere."""

    def choose(fresh: Tensor, kept: Tensor) -> Tensor:
        return torch.where(take.view(*take.shape, *[1] * (fresh.dim() - 2)), fresh, kept)

    extras = {name: choose(value, old.extras[name]) for name, value in new.extras.items()}
    return Examples(choose(new.inputs, old.inputs), choose(new.targets, old.targets), extras)
