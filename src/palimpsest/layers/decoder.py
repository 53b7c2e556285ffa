"""Causal decoder blocks in the shapes of GPT-2 and of LLaMA, for every run of a pack.

They compute what ``transformers`` computes with the same weights (:mod:`palimpsest.language.export`).
Axes: R runs, B batch, T tokens, D features, V tokens of the alphabet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn
from torch.autograd.function import once_differentiable

from palimpsest.layers.activation import sigmoid, tanh
from palimpsest.layers.attention import attend
from palimpsest.layers.embedding import Embedding
from palimpsest.layers.encoding import SequenceConfig, WideInput
from palimpsest.layers.linear import Linear
from palimpsest.layers.norm import LayerNorm
from palimpsest.layers.product import product

Features = Float[Tensor, "runs batch time width"]
Places = Int[Tensor, " time"]

EPSILON = 1e-5
"""Added to the mean square."""
LONGEST_WAVE = 10000.0
"""Base of the wave lengths of rotary positions [Su et al. 2021, eq. 15]."""


class DecoderConfig(SequenceConfig):
    """Sizes of a decoder."""

    shape: Literal["llama", "gpt2"] = Field("llama", description="which parts the blocks are made of")
    width: int = Field(64, ge=1, description="features D of a token")
    num_heads: int = Field(4, ge=1, description="attention heads; divides width")
    num_layers: int = Field(2, ge=1, description="blocks on top of each other")
    feedforward: int = Field(128, ge=1, description="hidden units of the position-wise network")
    window: int = Field(32, ge=1, description="tokens W that the base is made for")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> DecoderConfig:
        if self.width % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide width {self.width}; allowed: a divisor")
        if self.shape == "llama" and (self.width // self.num_heads) % 2:
            raise ValueError(
                f"width {self.width} gives {self.num_heads} heads an odd number of features; "
                f"allowed with rotary positions: a multiple of {2 * self.num_heads}"
            )
        return self


class Projection(nn.Module):
    """y_r = x_r W_r for every run r, W drawn from U(±1/√d_in)."""

    def __init__(self, runs: int, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(runs, d_in, d_out))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Draw every run's weights with that run's own generator."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        for weight, generator in zip(self.weight, generators, strict=True):
            weight.uniform_(-bound, bound, generator=generator)

    def forward(self, x: Float[Tensor, "runs *inner d_in"]) -> Float[Tensor, "runs *inner d_out"]:
        """Map the last axis."""
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        return product(flat, self.weight).view(*x.shape[:-1], self.weight.shape[2])


class RMSNorm(nn.Module):
    """y = x / √(mean(x²) + 10⁻⁵) · γ_r over the last axis [Zhang, Sennrich 2019, eq. 4]."""

    def __init__(self, runs: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(runs, dim))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[Generator]) -> None:
        """Set γ = 1; nothing is drawn."""
        del generators
        self.weight.fill_(1)

    def forward(self, x: Float[Tensor, "runs *inner dim"]) -> Float[Tensor, "runs *inner dim"]:
        """Normalise the last axis."""
        return _Scale.apply(x, self.weight)  # pyright: ignore[reportReturnType]


class _Scale(torch.autograd.Function):
    """The norm and its gradient as one autograd node.

    With x̂ = x s, s = 1/√(mean(x²) + ε) and d = dy γ:  dx = s (d − x̂ mean(d x̂)),  dγ = Σ dy x̂.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """See :meth:`RMSNorm.forward`."""
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        scale = (flat * flat).mean(-1, keepdim=True).add_(EPSILON).rsqrt_()
        normal = flat * scale
        ctx.save_for_backward(normal, scale, weight)
        return (normal * weight[:, None]).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients of x and γ."""
        normal, scale, weight = ctx.saved_tensors
        flat = gradient.reshape(normal.shape)
        inner = flat * weight[:, None]
        share = (inner * normal).mean(-1, keepdim=True)
        grad_x = torch.addcmul(inner, normal, share, value=-1).mul_(scale)
        return grad_x.view(gradient.shape), (flat * normal).sum(1)


def rotated(
    x: Float[Tensor, "runs batch time heads dim"], places: Places
) -> Float[Tensor, "runs batch time heads dim"]:
    """Turn features i and i + d/2 by the angle t θ_i, θ_i = 10000^(−2i/d) [Su et al. 2021, eq. 34; halves as LLaMA's].

    Args:
        x: queries or keys.
        places: t of every token.
    """
    half = x.shape[-1] // 2
    waves = LONGEST_WAVE ** (-torch.arange(half, dtype=torch.float64, device=places.device) / half)
    angles = (places.double()[:, None] * waves)[:, None]
    cos, sin = angles.cos().to(x), angles.sin().to(x)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class Block(nn.Module):
    """Pre-norm: x ← x + attention(norm(x)); x ← x + network(norm(x)).

    =========  ===============================  ==============================================
    shape      ``llama``                        ``gpt2``
    =========  ===============================  ==============================================
    norm       RMS                              layer norm
    positions  rotary, in queries and keys      added to the tokens
    network    W₂ (silu(W₁ x) ⊙ W₃ x)           W₂ gelu(W₁ x + b₁) + b₂, tanh approximation
    biases     none                             in every linear map
    =========  ===============================  ==============================================
    """

    def __init__(self, runs: int, config: DecoderConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.feedforward
        self.num_heads, self.is_llama = config.num_heads, config.shape == "llama"
        linear = Projection if self.is_llama else Linear
        self.norm_attention = _norm(runs, config)
        self.project_in = linear(runs, width, 3 * width)
        self.project_out = linear(runs, width, width)
        self.norm_feedforward = _norm(runs, config)
        self.expand = linear(runs, width, 2 * hidden if self.is_llama else hidden)
        self.contract = linear(runs, hidden, width)

    def forward(self, x: Features, places: Places, mask: Bool[Tensor, "time time"]) -> Features:
        """Go through the block.

        Args:
            x: features.
            places: position of every token.
            mask: True where the row's token may attend to the column's.
        """
        projected = self.project_in(self.norm_attention(x))
        if self.is_llama:
            query, key, value = projected.unflatten(-1, (3, self.num_heads, -1)).unbind(-3)
            turned = [rotated(query, places), rotated(key, places), value]
            projected = torch.stack(turned, -3).flatten(-3)
        x = x + self.project_out(attend(projected, self.num_heads, mask))
        hidden = self.expand(self.norm_feedforward(x))
        return x + self.contract(_gated(hidden) if self.is_llama else gelu(hidden))


def _norm(runs: int, config: DecoderConfig) -> nn.Module:
    return RMSNorm(runs, config.width) if config.shape == "llama" else LayerNorm(runs, config.width)


def _gated(hidden: Float[Tensor, "runs batch time two_hidden"]) -> Float[Tensor, "runs batch time hidden"]:
    """Return silu(a) ⊙ b of the two halves, silu(a) = a σ(a)    [Shazeer 2020, SwiGLU]."""
    gate, value = hidden.chunk(2, -1)
    return gate * sigmoid(gate.contiguous()) * value


def gelu(x: Float[Tensor, "runs *inner hidden"]) -> Float[Tensor, "runs *inner hidden"]:
    """Return x Φ(x), Φ approximated: x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))    [Hendrycks, Gimpel 2016]."""
    return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


class Decoder(nn.Module):
    """Tokens → blocks → norm → a logit for every output.

    Args:
        runs: size R of the pack.
        config: sizes.
    """

    def __init__(self, runs: int, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        learned = config.code == "learned"
        self.tokens = Embedding(runs, config.num_tokens, config.width) if learned else WideInput(runs, config)
        self.positions = Embedding(runs, config.window, config.width) if config.shape == "gpt2" else None
        self.blocks = nn.ModuleList(Block(runs, config) for _ in range(config.num_layers))
        self.norm = _norm(runs, config)
        self.head = Projection(runs, config.width, config.num_outputs)

    def embed(self, inputs: Int[Tensor, "runs batch time"], places: Places) -> Features:
        """Return the features of tokens before the first block."""
        x = self.tokens(inputs)
        if self.positions is None:
            return x
        return x + self.positions(places.expand(len(inputs), -1))[:, None]

    def through(self, x: Features, places: Places, mask: Bool[Tensor, "time time"], blocks: slice) -> Features:
        """Go through some of the blocks."""
        for block in self.blocks[blocks]:
            x = block(x, places, mask)
        return x

    def logits(self, x: Features) -> Float[Tensor, "runs batch time outputs"]:
        """Return the logits of features behind the last norm."""
        return self.head(x)
