"""MemNet: a causal Transformer that sees a window of tokens and reads and writes a bank of slots (source 002).

The published reading and the repaired one are two settings of the same parts:

====================  ==================================  ====================================
                      published                           repaired
====================  ==================================  ====================================
``window``            null: the whole prefix              shorter than the distance to the answer
``chunk``             1: a memory step a token            a memory step a window
``utilisation_sign``  printed: entropy is minimised       maximised
``detached_losses``   true                                false
====================  ==================================  ====================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from palimpsest.foundation.sections import PerRun
from palimpsest.layers.encoding import WideInput
from palimpsest.layers.linear import Linear
from palimpsest.layers.norm import LayerNorm
from palimpsest.memory import bank_losses
from palimpsest.memory.slot_bank import BankState, Eviction, MultiHeadMemoryBank, Step, Weights, bank_record
from palimpsest.models import Batch, Control, ModelOutput, under
from palimpsest.models.shared.window import TransformerController, WindowConfig

Features = Float[Tensor, "runs batch time width"]


class Config(WindowConfig):
    """Parameters of MemNet."""

    chunk: int = Field(16, ge=1, description="tokens of a memory step: they read at once, then write at once")
    num_slots: int = Field(48, ge=1, description="slots N of each head")
    slot_dim: int = Field(32, ge=1, description="features D of a slot, over all heads")
    num_memory_heads: int = Field(1, ge=1, description="heads H of the bank; divides slot_dim")
    top_k: int = Field(4, ge=1, description="slots k that a read takes, at most N")
    bottleneck: int | None = Field(
        None, ge=1, description="hidden features of the semantic bottleneck, at most slot_dim; null: half of that"
    )
    eviction: Eviction = Field("lru", description="which slots a write takes first")
    weights: Weights = Field("softmax", description="how the k slots share a read")
    decay_bias: float | None = Field(-6.0, description="initial logit of a slot's decay; null: slots never decay")
    write_bias: float = Field(1.0, description="initial logit of the write gate")
    utilisation_sign: Literal["printed", "maximised"] = Field("maximised", description="sign of the utilisation loss")
    detached_losses: bool = Field(False, description="whether auxiliary losses are cut off from the addressing")
    memory: Literal["episodic", "persistent"] = Field("episodic", description="for a sequence, or kept over batches")
    lambda_utilisation: Annotated[float, PerRun()] = Field(0.0, ge=0, description="weight of slot utilisation")
    lambda_pressure: Annotated[float, PerRun()] = Field(0.0, ge=0, description="weight of memory pressure")
    lambda_entropy: Annotated[float, PerRun()] = Field(0.0, ge=0, description="weight of the entropy of reads")
    lambda_sparsity: Annotated[float, PerRun()] = Field(0.0, ge=0, description="weight of the sparsity of reads")
    lambda_diversity: Annotated[float, PerRun()] = Field(0.0, ge=0, description="weight of the likeness of heads")

    @model_validator(mode="after")
    def _sizes_fit(self) -> Config:
        for name, other in (("top_k", "num_slots"), ("bottleneck", "slot_dim")):
            value, largest = getattr(self, name), getattr(self, other)
            if value is not None and value > largest:
                raise ValueError(f"{name} {value} exceeds {other} {largest}; allowed: 1 to {largest}")
        if self.slot_dim % self.num_memory_heads:
            raise ValueError(
                f"num_memory_heads {self.num_memory_heads} does not divide slot_dim {self.slot_dim}; allowed: a divisor"
            )
        return self


class MemNetState(NamedTuple):
    """What MemNet carries from one part of a sequence to the next."""

    bank: BankState
    history: Float[Tensor, "runs batch slot_dim"]
    """The fused read of the last token of the last complete memory step."""
    past: Float[Tensor, "runs batch layers seen width"]
    """Inputs of each layer in complete memory steps, as far back as a window sees."""
    open: Float[Tensor, "runs batch begun width"]
    """Features of the tokens of the memory step that is not complete."""


class Lived(NamedTuple):
    """Memory steps of a forward pass."""

    steps: list[Step]
    fused: list[Features]


class Model(nn.Module):
    """Tokens → controller and bank, a memory step at a time → logits at the asked steps.

        h_t = controller(x_t + U f_{s−1})           f_{s−1}: the fused read at the end of the memory step before
        r_t = what h_t reads from the bank           h_t then writes (:class:`MultiHeadMemoryBank`)
        f_t = norm(r_t + f_{s−1})                    LayerNorm on reads; the current read is fused with the history
        y_t = norm(h_t + V f_t), logits by a linear map

    Deviates: the source encodes the whole prefix again at every step, T encodings of up to T tokens. Layers are causal
    here, so that what they gave for earlier tokens stays, and a step encodes the new tokens alone.

    Args:
        config: sizes and switches.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {
        name: f"lambda_{name}" for name in ("utilisation", "pressure", "entropy", "sparsity", "diversity")
    }
    drifts: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: Config, runs: int) -> None:
        super().__init__()
        self.config = config
        self.carries_state = config.memory == "persistent"
        self.input = WideInput(runs, config)
        self.controller = TransformerController(runs, config)
        self.bank = MultiHeadMemoryBank(
            runs,
            config.width,
            config.num_slots,
            config.slot_dim,
            config.num_memory_heads,
            top_k=config.top_k,
            bottleneck=config.bottleneck,
            eviction=config.eviction,
            weights=config.weights,
            decay_bias=config.decay_bias,
            write_bias=config.write_bias,
        )
        self.feedback = Linear(runs, config.slot_dim, config.width, bias_value=0.0)
        self.norm_read = LayerNorm(runs, config.slot_dim)
        self.fuse = Linear(runs, config.slot_dim, config.width)
        self.norm_fused = LayerNorm(runs, config.width)
        self.head = Linear(runs, config.width, config.num_outputs)

    def initial_state(self, batch: int) -> MemNetState:
        """Return an empty bank, and nothing seen."""
        weight, config = self.head.weight, self.config
        shape = (len(weight), batch)
        return MemNetState(
            bank=self.bank.initial_state(batch),
            history=weight.new_zeros(*shape, config.slot_dim),
            past=weight.new_zeros(*shape, config.num_layers, 0, config.width),
            open=weight.new_zeros(*shape, 0, config.width),
        )

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: MemNetState | None = None) -> ModelOutput:
        """Logits (R, B, Q, O) at the asked steps.

        Args:
            batch: tokens of R × B sequences, or of parts of them.
            hyper: not used here; the weights of the auxiliary losses are taken from it.
            state: after the tokens before; of a sequence that begins, only the bank is taken. ``None``: an empty bank.
        """
        del hyper
        begun = self.initial_state(batch.inputs.shape[1])
        if state is not None:
            begun = begun._replace(bank=state.bank) if batch.start == 0 else state
        start = batch.start
        x = self.input(batch.inputs)
        known, outputs, lived, after = begun.open.shape[2], [], Lived([], []), begun
        first = (start - known) // self.config.chunk
        for number, part in enumerate(torch.cat([begun.open, x], 2).split(self.config.chunk, 2), first):
            y, after = self._memory_step(part, after, batch, number, lived)
            outputs.append(y)
        answers = self.config.at_asked_steps(torch.cat(outputs, 2)[:, :, known:], start)
        return ModelOutput(self.head(answers), self.losses(lived), self._record(batch, lived, known), after)

    def _memory_step(
        self, x: Features, state: MemNetState, batch: Batch, number: int, lived: Lived
    ) -> tuple[Features, MemNetState]:
        """Go through the tokens of one memory step; they are written only when all of them have come."""
        key = batch.noise_key + (number << 20)
        steered = x + self.feedback(state.history)[:, :, None]
        hidden, inputs = self.controller(steered, state.past, key if self.training else None)
        step = self.bank.step(self.bank.wishes(hidden), state.bank, batch.control, batch.noise_key, number)
        fused = self.norm_read(step.reads, state.history[:, :, None].expand_as(step.reads))
        lived.steps.append(step)
        lived.fused.append(fused)
        y = self.norm_fused(hidden, self.fuse(fused))
        if x.shape[2] < self.config.chunk:
            return y, state._replace(open=x)
        return y, MemNetState(step.state, fused[:, :, -1], self.controller.needed(inputs), x[:, :, :0])

    def losses(self, lived: Lived) -> dict[str, Tensor]:
        """The unweighted auxiliary terms, each (R,)."""
        weights = torch.cat([step.read_weights for step in lived.steps], 3)
        reads = torch.cat([step.reads for step in lived.steps], 2).unflatten(-1, (self.bank.num_heads, -1))
        usage = torch.stack([step.state.usage for step in lived.steps], 2)
        if self.config.detached_losses:
            weights, reads, usage = weights.detach(), reads.detach(), usage.detach()
        return {
            "utilisation": bank_losses.utilisation(weights, self.config.utilisation_sign),
            "pressure": bank_losses.pressure(usage),
            "entropy": bank_losses.read_entropy(weights),
            "sparsity": bank_losses.sparsity(weights),
            "diversity": bank_losses.diversity(reads),
        }

    def _record(self, batch: Batch, lived: Lived, known: int) -> Any:
        """What was read and written at every new token, if somebody watches."""
        return None if batch.watch is None else bank_record(lived.steps, known)

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """Output under each control; nothing is written at random, so that ``random_writes`` is ``on``."""
        outputs: dict[Control, ModelOutput] = {}
        for control, state in states.items():
            does: Control = "on" if control == "random_writes" else control
            if does not in outputs:
                outputs[does] = self(under(batch, does), hyper, state)
        return [outputs["on" if control == "random_writes" else control] for control in states]
