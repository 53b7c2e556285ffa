"""Upper bound: the same encoder, but CLS sees the whole sequence."""

from __future__ import annotations

from pydantic import model_validator

from palimpsest.models import no_memory


class Config(no_memory.Config):
    """Parameters of an encoder whose attention nothing limits: ``segment`` and ``window`` stay null."""

    @model_validator(mode="after")
    def _nothing_limits_attention(self) -> Config:
        for name in ("segment", "window"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} {getattr(self, name)} limits attention; allowed: null")
        return self


Model = no_memory.Model
