"""Baseline: a Transformer with a sliding window and no memory; a token sees num_layers · (window − 1) tokens back."""

from __future__ import annotations

from pydantic import Field, model_validator

from palimpsest.models import no_memory


class Config(no_memory.Config):
    """Parameters of a windowed encoder; where CLS alone asks, it must not see the places of answers."""

    window: int | None = Field(16, ge=1, description="tokens that a token sees, itself included")

    @model_validator(mode="after")
    def _window_is_shorter_than_the_distance(self) -> Config:
        if self.window is None:
            raise ValueError("window null; allowed: a number of tokens")
        if self.asked is None or self.cls_position is None:  # answers stand anywhere before their questions
            return self
        if self.cls_position - self.num_layers * (self.window - 1) < self.sequence_length // 2:
            raise ValueError(
                f"window {self.window} over {self.num_layers} layers reaches the answer; allowed: at most "
                f"{(self.cls_position - self.sequence_length // 2) // self.num_layers + 1}"
            )
        return self


Model = no_memory.Model
