"""The Differentiable Neural Computer [Graves et al. 2016] over a sequence of tokens (source 004)."""

from __future__ import annotations

from pydantic import Field, model_validator

from palimpsest.layers.encoding import SequenceConfig
from palimpsest.memory.dnc import DNCCell
from palimpsest.models.shared.recurrent import RecurrentModel


class Config(SequenceConfig):
    """Sizes of the network; by default those of the paper's copy task."""

    hidden: int = Field(64, ge=1, description="hidden units of the controller")
    num_slots: int = Field(16, ge=1, description="slots N of the memory")
    slot_dim: int = Field(16, ge=1, description="features W of a slot")
    num_read_heads: int = Field(4, ge=1, description="read heads H")
    sparse_links: int | None = Field(
        None, ge=1, description="predecessors and successors K that are remembered of a slot; null: all"
    )

    @model_validator(mode="after")
    def _links_are_to_slots(self) -> Config:
        if self.sparse_links is not None and self.sparse_links > self.num_slots:
            raise ValueError(f"sparse_links {self.sparse_links} exceeds num_slots {self.num_slots}; allowed: up to it")
        return self


class Model(RecurrentModel):
    """Tokens → controller and memory → y_t = W_y h_t + W_r r_t; that map is the head of :class:`RecurrentModel`.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    config: Config

    def make_cell(self, runs: int, d_in: int) -> DNCCell:
        """The cell for inputs of ``d_in`` features; its output is (h, r), so that the head maps all steps at once."""
        config = self.config
        return DNCCell(
            runs,
            d_in,
            config.hidden,
            config.num_slots,
            config.slot_dim,
            config.num_read_heads,
            sparse_links=config.sparse_links,
        )
