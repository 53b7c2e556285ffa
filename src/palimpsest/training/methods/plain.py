"""Plain training: every phase trains on its own data, and nothing is remembered of the phases before."""

from __future__ import annotations

from palimpsest.foundation.sections import Section
from palimpsest.training import methods


class Config(Section):
    """Plain training has no parameters."""


class Method(methods.Method):
    """Every hook as it is by default."""
