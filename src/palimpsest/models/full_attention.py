"""Upper bound: the same encoder, but CLS sees the whole sequence."""

from __future__ import annotations

from pydantic import Field

from palimpsest.models import no_memory


class Config(no_memory.Config):
    """Parameters of an encoder whose attention nothing limits."""

    segment: None = Field(None, description="nothing cuts the sequence")
    window: None = Field(None, description="nothing limits the window")


Model = no_memory.Model
