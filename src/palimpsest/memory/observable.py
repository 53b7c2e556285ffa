"""Parts of a memory's state that all memories name alike: what analyses, figures and users can look at."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

ObservablePart = Literal["slots", "read_weights", "write_weights", "usage", "link"]
"""Fields or properties of a state; no memory has to have any of them."""


def observable(state: Any, part: ObservablePart) -> Tensor | None:
    """Return a part of a memory's state; ``None`` where the memory has no such part.

    Args:
        state: of any cell; the part is a field or a property of it.
        part: slots (R, B, N, W), read and write weights (R, B, H, N), usage (R, B, N), or links (R, B, N, N).
    """
    return getattr(state, part, None)
