"""Elastic weight consolidation: weights that mattered in earlier phases are held near their values of then.

L_t(θ) = L_task(θ) + Σ_{k<t} λ/2 Σ_i F_{k,i} (θ_i − θ*_{k,i})²                  [Kirkpatrick et al. 2017, eq. 3]
F_{k,i} = 1/N Σ_n (∂ loss(x_n, y_n; θ*_k) / ∂θ_i)², the diagonal of the Fisher information of phase k

with one term for each earlier phase, as for several tasks in the source's Section 2. Squares are taken example by
example: those of a batch's mean gradient would be smaller by about the size of the batch, and λ larger by as much.
What y_n is decides about what F is [Kunstner, Balles and Hennig 2019]; ``fisher`` chooses: ``true``: the label of the
training split (the "empirical" Fisher); ``sampled``: a label drawn from the model's own predictions, so that the
expectation is the Fisher information; ``exact``: all labels, each weighed by the model's probability: that expectation.

Online: one term for all earlier phases, about the weights of the last one [Schwarz et al. 2018, Section 4]:
F̃_k = γ F̃_{k−1} + F_k.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Generator, Tensor

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import PerRun, Section
from palimpsest.tasks import Examples, Splits
from palimpsest.training import methods
from palimpsest.training.methods import Learner


class Config(Section):
    """How strongly earlier weights are held, and by which measure of what mattered."""

    ewc_strength: Annotated[float, PerRun()] = Field(100.0, ge=0, description="λ: weight of the quadratic penalty")
    fisher: Literal["true", "sampled", "exact"] = Field(
        "true", description="labels of the squared gradients: those of the data, drawn from the model, or all, weighed"
    )
    online_decay: float | None = Field(
        None, ge=0, le=1, description="γ: what the earlier sum keeps when a phase ends; null: a term for each phase"
    )
    fisher_examples: int = Field(64, ge=1, description="training examples from which F is estimated; all if fewer")


class Anchor(NamedTuple):
    """One term of the penalty, by parameter, each (R, …); all zero before its phase has ended."""

    fisher: dict[str, Tensor]
    weights: dict[str, Tensor]
    """θ*_k."""


class State(NamedTuple):
    """Terms of the penalty."""

    anchors: tuple[Anchor, ...]
    """One for each phase but the last; online one for all."""
    answers: Int[Tensor, "runs classes"]
    """The labels 0, 1, … of all phases."""


class Method(methods.Method):
    """The hooks of elastic weight consolidation."""

    config: Config

    def initial_state(self, pack: Learner, data: Sequence[Splits]) -> State:
        """Return empty terms.

        Raises:
            ParameterError: labels are to be drawn or weighed where an example has several.
        """
        asked = torch.cat([(splits.train.targets >= 0).sum(1) for splits in data])
        if self.config.fisher != "true" and bool((asked != 1).any()):
            raise ParameterError(
                f"method ewc: fisher {self.config.fisher!r} of examples with {int(asked.max())} answers; "
                "allowed: 'true', or a task that asks once"
            )

        def zeros() -> dict[str, Tensor]:
            return {name: torch.zeros_like(value, requires_grad=False) for name, value in pack.moving().items()}

        terms = pack.num_phases - 1 if self.config.online_decay is None else min(1, pack.num_phases - 1)
        answers = 1 + max(int(splits.train.targets.max()) for splits in data) if self.config.fisher != "true" else 1
        every = torch.arange(answers, device=pack.device).expand(pack.runs, -1).contiguous()
        return State(tuple(Anchor(zeros(), zeros()) for _ in range(terms)), every)

    def penalty(self, pack: Learner, state: State) -> Float[Tensor, " runs"]:
        """λ/2 Σ_k Σ_i F_{k,i} (θ_i − θ*_{k,i})², over the phases that have ended."""
        total = torch.zeros(pack.runs, device=pack.device)
        for anchor in state.anchors[: pack.phase]:
            for name, value in pack.moving().items():
                term = anchor.fisher[name] * (value - anchor.weights[name]).square()
                total = total + term.flatten(1).sum(1)
        return pack.hyper["ewc_strength"] / 2 * total

    def after_phase(self, pack: Learner, state: State, data: Splits) -> State:
        """Store the Fisher information and the weights of the phase that ended; the last phase needs neither."""
        if pack.phase + 1 >= pack.num_phases:
            return state
        weights = {name: value.detach().clone() for name, value in pack.moving().items()}
        fisher, decay = self._fisher(pack, state, data), self.config.online_decay
        if decay is not None:
            before = state.anchors[0].fisher
            fisher = {name: decay * before[name] + value for name, value in fisher.items()}
        anchors = list(state.anchors)
        anchors[pack.phase if decay is None else 0] = Anchor(fisher, weights)
        return state._replace(anchors=tuple(anchors))

    def _fisher(self, pack: Learner, state: State, data: Splits) -> dict[str, Tensor]:
        """F_k: mean squared gradients, one example of every run at a time."""
        parameters = pack.moving()
        count = min(self.config.fisher_examples, len(data.train.targets))
        places = [torch.randperm(len(data.train.targets), generator=g)[:count] for g in pack.generators("fisher")]
        totals = [torch.zeros_like(value, requires_grad=False) for value in parameters.values()]
        labels = pack.generators("fisher", "labels")
        for chosen in torch.stack(places).to(data.train.targets.device).split(1, 1):
            for loss, weight in self._losses(pack, state, data.train.rows(chosen), labels):
                gradients = torch.autograd.grad(
                    loss.sum(), list(parameters.values()), allow_unused=True, retain_graph=self.config.fisher == "exact"
                )
                for total, gradient in zip(totals, gradients, strict=True):
                    if gradient is not None:
                        total += weight.view(-1, *[1] * (gradient.dim() - 1)) * gradient.square()
        return {name: total / count for name, total in zip(parameters, totals, strict=True)}

    def _losses(
        self, pack: Learner, state: State, example: Examples, labels: Sequence[Generator]
    ) -> Iterator[tuple[Float[Tensor, " runs"], Float[Tensor, " runs"]]]:
        """Losses of one example of every run under the labels that count, and how much the square of each counts."""
        if self.config.fisher == "true":
            yield pack.loss(example)[:, 0], torch.ones(pack.runs, device=pack.device)
            return
        losses = pack.loss(with_every_label(example, state.answers))
        shares = (-losses.detach()).softmax(1)  # of the labels that there are; they are all that the model names
        if self.config.fisher == "exact":
            yield from zip(losses.unbind(1), shares.unbind(1), strict=True)
            return
        uniform = torch.stack([torch.rand(1, generator=g) for g in labels]).to(shares.device)
        drawn = (shares.cumsum(1) < uniform).sum(1, keepdim=True).clamp_max(shares.shape[1] - 1)
        yield losses.gather(1, drawn)[:, 0], torch.ones_like(shares[:, 0])


def with_every_label(example: Examples, answers: Int[Tensor, "runs classes"]) -> Examples:
    """Return one example of every run as many times as there are labels, with another label each time.

    Args:
        example: (R, 1, …), which asks once.
        answers: the labels.
    """
    count = answers.shape[1]

    def repeated(value: Tensor) -> Tensor:
        return value.expand(-1, count, *value.shape[2:])

    targets = repeated(example.targets)
    labelled = torch.where(targets >= 0, answers[..., None], targets)
    extras = {name: repeated(value) for name, value in example.extras.items()}
    return Examples(repeated(example.inputs), labelled, extras)
