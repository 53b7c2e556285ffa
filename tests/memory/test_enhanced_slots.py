"""What a slot gives alone is what is read where there is no other slot."""

import torch
from torch import Generator

from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory.enhanced import EnhancedMemory
from palimpsest.memory.enhanced_slots import read_alone

RUNS, BATCH, SLOTS, WIDTH, FEATURES = 2, 3, 4, 8, 6


def memory(slots: int) -> EnhancedMemory:
    found = EnhancedMemory(RUNS, FEATURES, slots, WIDTH, 2, segment=4, update_rate=1.0, feedback=1.0, blend=1.0)
    reset_parameters(found, [Generator().manual_seed(seed) for seed in range(RUNS)])
    return found


def test_a_memory_of_one_slot_with_an_open_gate_reads_the_same() -> None:
    whole = memory(SLOTS)
    slots = torch.randn(RUNS, BATCH, SLOTS, WIDTH, generator=Generator().manual_seed(0))
    found = read_alone(whole, slots)
    assert found.shape == (RUNS, BATCH, SLOTS, FEATURES)
    x = torch.randn(RUNS, BATCH, 1, FEATURES, generator=Generator().manual_seed(1))
    for number in range(SLOTS):
        one = memory(1)
        state = whole.state_dict() | {"address": whole.address[:, number : number + 1].detach()}
        one.load_state_dict(state)
        with torch.no_grad():
            one.gate.weight.zero_()
            one.gate.bias.fill_(torch.inf)
            begun = one.initial_state(BATCH)
            held = begun._replace(slots=slots[:, :, number : number + 1], segments=begun.segments + 1)
            y, _, _ = one(x, held)
        torch.testing.assert_close(y - x, found[:, :, number : number + 1].detach(), rtol=1e-4, atol=1e-5)
