"""Joint training: every batch is drawn from the data of several phases at once; an upper bound, not continual learning.

It sees all that a method of continual learning must do without, in batches of the same size and in as many steps. Every
place of a batch has an example of the current phase, or one of an example of another phase, so that all the phases that
are drawn from are equally likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import Section
from palimpsest.tasks import Examples, Splits
from palimpsest.training import methods
from palimpsest.training.methods import Learner


class Config(Section):
    """Which phases are drawn from."""

    joint: Literal["until_now", "all"] = Field(
        "until_now", description="phases whose data a batch is drawn from: those until the current one, or all"
    )


class State(NamedTuple):
    """The training splits of all phases, of every run: the same values, as one array."""

    examples: Examples
    """(R, all examples, …), phase by phase."""
    first: Int[Tensor, "runs bounds"]
    """Number of the first example of each phase, and behind it how many there are."""


class Method(methods.Method):
    """The hooks of joint training."""

    config: Config

    def initial_state(self, pack: Learner, data: Sequence[Splits]) -> State:
        """Return the training splits of all phases, one behind the other.

        Raises:
            ParameterError: examples of the phases differ in length.
        """
        splits = [part.train for part in data]
        shapes = {(*split.inputs.shape[1:], *split.targets.shape[1:]) for split in splits}
        if len(shapes) > 1:
            raise ParameterError(f"method joint: examples of {len(shapes)} lengths; allowed: one length in all phases")

        def together(parts: list[Tensor]) -> Tensor:
            joined = torch.cat(parts)
            return joined.expand(pack.runs, *joined.shape).contiguous()

        extras = {name: together([split.extras[name] for split in splits]) for name in splits[0].extras}
        joined = Examples(together([s.inputs for s in splits]), together([s.targets for s in splits]), extras)
        sizes = torch.tensor([0, *(len(split.targets) for split in splits)], device=pack.device)
        return State(joined, sizes.cumsum(0).expand(pack.runs, -1).contiguous())

    def examples(self, pack: Learner, state: State, batch: Examples) -> Examples:
        """Return as many examples, of which some are of the other phases."""
        last = pack.phase if self.config.joint == "until_now" else pack.num_phases - 1
        if last == 0:
            return batch
        bounds = state.first[0].tolist()
        rows = [_drawn(generator, batch.targets.shape[1], bounds, last) for generator in pack.generators("joint")]
        phase, row = (torch.stack(part).to(pack.device) for part in zip(*rows, strict=True))
        runs, own = torch.arange(pack.runs, device=pack.device)[:, None], phase == pack.phase

        def mixed(current: Tensor, stored: Tensor) -> Tensor:
            return torch.where(own.view(*own.shape, *[1] * (current.dim() - 2)), current, stored[runs, row])

        extras = {name: mixed(value, state.examples.extras[name]) for name, value in batch.extras.items()}
        inputs, targets = mixed(batch.inputs, state.examples.inputs), mixed(batch.targets, state.examples.targets)
        return Examples(inputs, targets, extras)


def _drawn(
    generator: torch.Generator, size: int, bounds: list[int], last: int
) -> tuple[Int[Tensor, " size"], Int[Tensor, " size"]]:
    """Draw a phase from 0 … ``last`` for each place of a batch, and one of its examples.

    Returns:
        Phases, and numbers of examples among those of all phases.

    Args:
        generator: draws.
        size: places.
        bounds: number of the first example of each phase, and the number of all.
        last: the last phase that is drawn from.
    """
    phase = torch.randint(last + 1, (size,), generator=generator)
    first = torch.tensor(bounds)
    within = torch.rand(size, generator=generator, dtype=torch.float64) * (first[phase + 1] - first[phase])
    return phase, first[phase] + within.long()
