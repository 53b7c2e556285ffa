"""MemNet: what its window hides, what its bank carries, and which losses reach the addressing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from palimpsest.layers.initialisation import reset_parameters
from palimpsest.models import Batch, load
from palimpsest.models.memnet import Config
from palimpsest.tasks import delayed_copy

SIZES = {"num_train": 8, "num_validation": 8, "num_test": 8}
TASK = delayed_copy.Config(num_symbols=4, num_items=3, min_delay=4, max_delay=8, test_delays=(8, 20), **SIZES)
SMALL: dict[str, Any] = {
    "width": 8, "num_heads": 2, "num_layers": 2, "feedforward": 8, "window": 4, "chunk": 4, "num_slots": 8,
    "slot_dim": 8, "num_memory_heads": 2, "top_k": 3,
}  # fmt: skip
LOSSES = ("utilisation", "pressure", "entropy", "sparsity", "diversity")


def made(name: str = "memnet", **changes: Any) -> Any:
    module = load(name)
    content = {**TASK.interface(), **SMALL, **changes}
    content = {key: value for key, value in content.items() if key in module.Config.model_fields}
    model = module.Model(module.Config(**content), 1)
    reset_parameters(model, [torch.Generator().manual_seed(3)])
    return model.eval()


def batch(inputs: torch.Tensor, **more: Any) -> Batch:
    return Batch(inputs, torch.zeros(1, dtype=torch.int64), {}, **more)


def tokens(length: int = 20, seed: int = 0) -> torch.Tensor:
    return torch.randint(TASK.interface()["num_tokens"], (1, 2, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("window", [1, 3, 5])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_windowed_transformer_sees_its_receptive_field_and_nothing_else(window: int, layers: int) -> None:
    model, first, other = made("windowed_transformer", window=window, num_layers=layers), tokens(), tokens()
    other[:, :, 2] = (other[:, :, 2] + 1) % 4
    differ = (model(batch(first), {}).logits != model(batch(other), {}).logits).any(-1).any(0).any(0)
    field = layers * (window - 1) + 1
    assert differ.tolist() == [2 <= t < 2 + field for t in range(20)]


def test_beyond_that_only_the_bank_carries_anything() -> None:
    """What stood before the receptive field changes the logits, and not when reads are silenced."""
    model, first, other = made(), tokens(), tokens()
    other[:, :, 1] = (other[:, :, 1] + 1) % 4
    last = slice(12, None)  # the receptive field has 7 tokens; a chunk also sees the fused read of the chunk before
    for control, expected in (("on", True), ("off", False)):
        ours, theirs = (model(batch(given, control=control), {}).logits[:, :, last] for given in (first, other))
        assert bool((ours != theirs).any()) == expected


def test_a_persistent_bank_outlives_the_sequence_and_what_the_window_saw_does_not() -> None:
    model = made(memory="persistent")
    assert model.carries_state
    after = model(batch(tokens()), {}).state
    again, fresh = (model(batch(tokens(seed=1)), {}, state).logits for state in (after, None))
    assert not torch.equal(again, fresh)
    only_bank = model.initial_state(2)._replace(bank=after.bank)
    assert torch.equal(again, model(batch(tokens(seed=1)), {}, only_bank).logits)


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_reaches_the_addressing_unless_it_is_detached(loss: str, detached: bool) -> None:
    model = made(detached_losses=detached)
    term = model(batch(tokens()), {}).losses[loss].sum()
    if detached:
        assert not term.requires_grad
        return
    term.backward()
    bank = model.bank
    assert bank.interface.weight.grad is not None
    keys, _, strength, gate, *_ = bank.interface.weight.grad.split(bank.sizes, -1)
    reached = {"pressure": gate, "utilisation": keys, "diversity": keys}.get(loss, strength)
    assert reached.any()


def test_the_published_reading_sees_the_whole_prefix_and_takes_a_memory_step_a_token() -> None:
    model, first, other = made(window=None, chunk=1), tokens(), tokens()
    other[:, :, 0] = (other[:, :, 0] + 1) % 4
    ours, theirs = (model(batch(given, control="off"), {}).logits for given in (first, other))
    assert (ours != theirs).any(-1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_k": 9}, "top_k 9 exceeds num_slots 8; allowed: 1 to 8"),
        ({"bottleneck": 9}, "bottleneck 9 exceeds slot_dim 8; allowed: 1 to 8"),
        ({"num_memory_heads": 3}, "num_memory_heads 3 does not divide slot_dim 8; allowed: a divisor"),
        ({"window": 27}, "window 27 exceeds the sequence; allowed: 1 to 26, or null"),
        ({"lambda_pressure": -0.1}, "greater than or equal to 0"),
        ({"eviction": "oldest"}, "'lru', 'fifo', 'random' or 'blind'"),
    ],
)
def test_bad_parameters_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(**{**TASK.interface(), **SMALL, **changes})
