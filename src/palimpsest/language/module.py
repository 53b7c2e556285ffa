"""The memory that is attached to a language model, and its files (source 003)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field
from torch import Generator, nn

from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import read_json, write_json
from palimpsest.foundation.sections import Section, checked
from palimpsest.foundation.tensors import read_tensors, write_tensors
from palimpsest.language.anatomy import AFTER_LAST_NORM, Layer, dissect
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.enhanced import EnhancedMemory

CONFIG, WEIGHTS = "memory.json", "memory.safetensors"


class Sizes(Section):
    """What a memory is made with, as in its file; the ranges of sizes are checked by the memory itself."""

    features: int = Field(description="features D of a token in the base")
    num_slots: int = Field(64, description="slots N")
    slot_dim: int = Field(256, description="features of a slot")
    num_heads: int = Field(4, description="heads of the attentions; divides slot_dim")
    segment: int = Field(32, description="tokens that are written together")
    update_rate: float = Field(0.5, description="how far a slot moves towards its candidate")
    feedback: float = Field(0.7, description="weight of what is read")
    blend: float = Field(0.6, description="share of the enhanced features")
    initial_gain: float = Field(1.0, description="gain of what is read, before training")
    layer: Layer = Field(AFTER_LAST_NORM, description="behind which block; last: behind the last norm")


class MemoryModule(nn.Module):
    """Slots beside a language model, written by a GRU and read through a gate by every token.

    Equations: :class:`palimpsest.memory.enhanced.EnhancedMemory`. The defaults are the values that the source calls
    optimal [Section 4]: 64 slots of 256 features, 4 heads, update rate .5, feedback .7, blend .6, behind the last norm.

    >>> import torch
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2}
    >>> base = LlamaForCausalLM(LlamaConfig(vocab_size=11, **sizes))
    >>> memory = MemoryModule(8, num_slots=3, slot_dim=4, num_heads=2, layer=0)
    >>> from palimpsest.language.attachment import attach
    >>> tokens = torch.ones(2, 40, dtype=torch.int64)
    >>> with attach(base, memory) as attached:
    ...     logits = base(tokens).logits
    >>> attached.state.segments.tolist()  # of one run and two sequences: segments of 32 tokens that were written
    [[1, 1]]

    Args:
        features: D, features of a token in the base.
        num_slots: N.
        slot_dim: features of a slot.
        num_heads: heads of the attentions; divides ``slot_dim``.
        segment: tokens that are written together.
        update_rate: ρ in [0, 1].
        feedback: φ in [0, 1].
        blend: ω in [0, 1].
        initial_gain: γ before training; 0 begins with a memory that changes nothing.
        layer: behind which block it stands, or ``last``: behind the last norm.
        seed: of the first weights.

    Raises:
        ParameterError: a size is below one, ``num_heads`` does not divide ``slot_dim``, or a rate lies outside [0, 1].
    """

    def __init__(
        self,
        features: int,
        num_slots: int = 64,
        slot_dim: int = 256,
        num_heads: int = 4,
        *,
        segment: int = 32,
        update_rate: float = 0.5,
        feedback: float = 0.7,
        blend: float = 0.6,
        initial_gain: float = 1.0,
        layer: Layer = AFTER_LAST_NORM,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.cell = EnhancedMemory(
            1,
            features,
            num_slots,
            slot_dim,
            num_heads,
            segment=segment,
            update_rate=update_rate,
            feedback=feedback,
            blend=blend,
            initial_gain=initial_gain,
        )
        self.layer = layer
        reset_parameters(self.cell, [Generator().manual_seed(seed)])

    @classmethod
    def for_model(cls, model: Any, **sizes: Any) -> MemoryModule:
        """Return a memory of the base's width.

        Args:
            model: a causal language model of transformers.
            sizes: as for the class.

        Raises:
            ParameterError: the base is not supported, or a size is wrong.
        """
        memory = cls(dissect(model).features, **sizes)
        dissect(model).place(memory.layer)
        return memory

    @property
    def sizes(self) -> Sizes:
        """What it was made with."""
        cell = self.cell
        return Sizes(
            features=cell.d_in,
            num_slots=cell.num_slots,
            slot_dim=cell.slot_dim,
            num_heads=cell.num_heads,
            segment=cell.segment,
            update_rate=cell.update_rate,
            feedback=cell.feedback,
            blend=cell.blend,
            initial_gain=cell.initial_gain,
            layer=self.layer,
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the memory's sizes and weights, and nothing of the base, into a folder."""
        write_tensors(Path(folder) / WEIGHTS, self.state_dict())
        write_json(Path(folder) / CONFIG, self.sizes.model_dump())

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MemoryModule:
        """Read what :meth:`save_pretrained` wrote.

        Raises:
            DataError: a file is missing or corrupt, or the weights do not have the sizes.
            ParameterError: a size is of the wrong type or out of range.
        """
        sizes, path = Path(folder) / CONFIG, Path(folder) / WEIGHTS
        config = checked(Sizes, read_json(sizes), sizes)
        try:
            memory = cls(**config.model_dump())
        except ParameterError as error:
            raise ParameterError(f"{sizes}: {error}") from None
        if not path.exists():
            raise DataError(f"{path}: no such file")
        tensors, own = read_tensors(path), memory.state_dict()
        for name in sorted(own.keys() | tensors.keys()):
            found = tuple(tensors[name].shape) if name in tensors else "missing"
            wanted = tuple(own[name].shape) if name in own else "nothing of this name"
            if found != wanted:
                raise DataError(f"{path}: {name}: {found}; allowed: {wanted}")
        memory.load_state_dict(tensors)
        return memory
