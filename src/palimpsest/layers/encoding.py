"""Sizes that a task gives to a model, and features of tokens: learned vectors, or the bits and flags they encode."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from palimpsest.foundation.sections import Section
from palimpsest.layers.embedding import Embedding
from palimpsest.layers.linear import Linear


class SequenceConfig(Section):
    """Sizes of a model; the task sets the first eight."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Extras of a task without which the model cannot run."""

    num_tokens: int = Field(10, ge=1, description="token alphabet (set by the task)")
    num_outputs: int = Field(8, ge=1, description="outputs O of an asked step: bits or classes (set by the task)")
    sequence_length: int = Field(16, ge=1, description="tokens T of the longest sequence (set by the task)")
    code: Literal["learned", "bits"] = Field("learned", description="what tokens are to a model (set by the task)")
    code_bits: int = Field(0, ge=0, le=14, description="bits of a token's vector (set by the task)")
    code_levels: int = Field(0, ge=0, description="levels that come with a vector; 0: none (set by the task)")
    asked: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None, min_length=1, description="steps at which an answer is asked; null: every step (set by the task)"
    )
    cls_position: int | None = Field(
        None, ge=0, description="token whose state asks; null: that of the asked step (set by the task)"
    )
    width: int = Field(32, ge=1, description="features of a token, where they are learned")

    @model_validator(mode="after")
    def _tokens_have_codes(self) -> SequenceConfig:
        vectors = 2**self.code_bits * max(1, self.code_levels)
        if self.code == "bits" and self.num_tokens < vectors:
            raise ValueError(f"num_tokens {self.num_tokens} is below the {vectors} vectors; allowed: that many or more")
        return self

    @model_validator(mode="after")
    def _questions_lie_in_the_sequence(self) -> SequenceConfig:
        length = self.sequence_length
        if self.cls_position is not None and self.cls_position >= length:
            raise ValueError(f"cls_position {self.cls_position} lies outside the {length} tokens; allowed: below that")
        asked = self.asked or ()
        if list(asked) != sorted(set(asked)) or any(step >= length for step in asked):
            raise ValueError(f"asked {list(asked)}; allowed: steps below {length}, in order, each once")
        return self

    def questions(self, start: int, time: int) -> list[Question]:
        """The questions of a part of a sequence, in order.

        Args:
            start: position of its first token.
            time: its tokens.
        """
        steps = range(start, start + time) if self.asked is None else self.asked
        inside = [step - start for step in steps if start <= step < start + time]
        return [Question(step, step if self.cls_position is None else self.cls_position - start) for step in inside]

    def at_asked_steps(
        self, values: Float[Tensor, "runs batch time features"], start: int
    ) -> Float[Tensor, "runs batch asked features"]:
        """What there is at the asked steps of a part of a sequence that begins at position ``start``."""
        if self.asked is None:
            return values
        steps = [question.step for question in self.questions(start, values.shape[2])]
        return values[:, :, steps[0] : steps[0] + 1] if len(steps) == 1 else values[:, :, steps]


class Question(NamedTuple):
    """A step at which an answer is asked; both count from the first token of the part that a model sees."""

    step: int
    token: int
    """Token whose state asks."""


def bit_codes(num_tokens: int, bits: int, levels: int) -> Float[Tensor, "tokens features"]:
    """Return the features of each token: its bits, its level if there are levels, and one channel for each flag.

    Token v + 2^bits · l is the vector whose bit i is bit i of v, at level l of P levels. The level's feature is
    2l/(P − 1) − 1, in [−1, 1]. Every token from 2^bits · max(1, P) on is a flag.

    Args:
        num_tokens: number of vectors and flags.
        bits: number of bits of a vector.
        levels: P; 0: tokens have no level.
    """
    vectors = 2**bits * max(1, levels)
    token = torch.arange(num_tokens)
    is_vector = (token < vectors).float()[:, None]
    parts = [((token[:, None] >> torch.arange(bits)) & 1).float() * is_vector]
    if levels:
        parts.append((2 * (token // 2**bits).float()[:, None] / max(1, levels - 1) - 1) * is_vector)
    parts.append((token[:, None] == torch.arange(vectors, num_tokens)).float())
    return torch.cat(parts, 1)


class TokenInput(nn.Module):
    """Maps tokens to vectors.

    Args:
        runs: size R of the pack.
        config: kind and sizes of the code.
    """

    def __init__(self, runs: int, config: SequenceConfig) -> None:
        super().__init__()
        self.embedding = Embedding(runs, config.num_tokens, config.width) if config.code == "learned" else None
        codes = torch.empty(0, config.width)
        if config.code == "bits":
            codes = bit_codes(config.num_tokens, config.code_bits, config.code_levels)
        self.register_buffer("codes", codes, persistent=False)
        self.d_out = codes.shape[1]

    def forward(self, inputs: Int[Tensor, "runs batch time"]) -> Float[Tensor, "runs batch time features"]:
        """Return the :attr:`d_out` features of every token."""
        return self.codes[inputs] if self.embedding is None else self.embedding(inputs)  # type: ignore[index]


class WideInput(nn.Module):
    """Tokens as vectors of ``config.width`` features: learned ones, or a learned linear map of what they encode.

    Args:
        runs: size R of the pack.
        config: which code, and its sizes.
    """

    def __init__(self, runs: int, config: SequenceConfig) -> None:
        super().__init__()
        self.input = TokenInput(runs, config)
        self.widen = Linear(runs, self.input.d_out, config.width)

    def forward(self, inputs: Int[Tensor, "runs batch time"]) -> Float[Tensor, "runs batch time width"]:
        """Features of every token."""
        return self.widen(self.input(inputs))
