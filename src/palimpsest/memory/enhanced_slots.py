"""What each slot of an enhanced memory would give to a token that reads it alone."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from palimpsest.memory.enhanced import EnhancedMemory, Slots


def read_alone(memory: EnhancedMemory, slots: Slots) -> Float[Tensor, "runs batch slots d_in"]:
    """Return γ P r_i, where all read weights lie on slot i and the gate is open.

    With one slot, attention returns what it stores whatever the question: so this is the read, without feedback and
    blend, of a memory that has slot i and no other.

    Args:
        memory: knows addresses, values and γ.
        slots: m_i.
    """
    addressed = memory.norm_slots(slots) + memory.address[:, None]
    runs, batch, count, width = addressed.shape
    alone = addressed.reshape(runs, batch * count, 1, width)
    found, _ = memory.find(alone, alone)  # attention over one slot, whose weight is one
    return memory.project_out(found.view(runs, batch, count, width)) * memory.gain[:, None, None]
