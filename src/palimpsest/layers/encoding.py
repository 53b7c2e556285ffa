"""Features of tokens for sequence models: learned vectors, or the bits and flags that the tokens encode."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from palimpsest.foundation.sections import Section
from palimpsest.layers.embedding import Embedding


class SequenceConfig(Section):
    """Sizes of a model with an output at every step; the task sets the first six."""

    num_tokens: int = Field(10, ge=1, description="token alphabet (set by the task)")
    num_outputs: int = Field(8, ge=1, description="what is said at a step: bits or classes (set by the task)")
    sequence_length: int = Field(16, ge=1, description="tokens T of the longest sequence (set by the task)")
    code: Literal["learned", "bits"] = Field("learned", description="what tokens are to a model (set by the task)")
    code_bits: int = Field(0, ge=0, le=14, description="bits of a token's vector (set by the task)")
    code_levels: int = Field(0, ge=0, description="levels that come with a vector; 0: none (set by the task)")
    width: int = Field(32, ge=1, description="features of a token, where they are learned")

    @model_validator(mode="after")
    def _tokens_have_codes(self) -> SequenceConfig:
        vectors = 2**self.code_bits * max(1, self.code_levels)
        if self.code == "bits" and self.num_tokens < vectors:
            raise ValueError(f"num_tokens {self.num_tokens} is below the {vectors} vectors; allowed: that many or more")
        return self


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
