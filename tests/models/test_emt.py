"""EMT, its baselines and transformers: what a pack computes equals the parts taken apart, and what sees what."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from palimpsest import models
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.language.attachment import attach
from palimpsest.language.export import to_transformers
from palimpsest.language.module import MemoryModule
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.models import Batch
from palimpsest.models.emt import LAST

WINDOW, WORDS = 8, 13
RATES = {"update_rate": 0.4, "feedback": 0.9, "blend": 0.6}
SIZES: dict[str, Any] = {
    "num_tokens": WORDS, "num_outputs": WORDS, "sequence_length": 40, "width": 16, "num_heads": 2, "num_layers": 2,
    "feedforward": 12, "window": WINDOW, "num_slots": 4, "slot_dim": 8, "num_memory_heads": 2, "memory_tokens": 3,
    "memory_hidden": 6,
}  # fmt: skip


def build(name: str, **changes: Any) -> Any:
    """A small model of two runs."""
    config = models.load(name).Config
    content = {key: value for key, value in {**SIZES, **RATES, **changes}.items() if key in config.model_fields}
    model = models.load(name).Model(config(**content), 2)
    reset_parameters(model, [torch.Generator().manual_seed(seed) for seed in (5, 6)])
    return model


def tokens(time: int, seed: int = 0) -> Tensor:
    return torch.randint(WORDS, (1, 3, time), generator=torch.Generator().manual_seed(seed)).expand(2, -1, -1)


def hyper() -> dict[str, Tensor]:
    return {name: torch.full((2,), rate) for name, rate in RATES.items()}


@torch.no_grad()
def logits(model: Any, inputs: Tensor, control: models.Control = "on") -> Tensor:
    return model(Batch(inputs, torch.zeros(2, dtype=torch.int64), {}, control), hyper()).logits


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
@pytest.mark.parametrize("layer", [0, 1, LAST])
def test_it_equals_its_base_with_its_memory_attached(shape: str, layer: Any) -> None:
    """Segment by segment, as the base remembers nothing itself, a memory attached to it gives the same logits."""
    model, inputs = build("emt", shape=shape, layer=layer), tokens(3 * WINDOW)
    whole = logits(model, inputs)
    for run in range(2):
        base = to_transformers(model.base, run)
        memory = MemoryModule(
            SIZES["width"], SIZES["num_slots"], SIZES["slot_dim"], SIZES["num_memory_heads"],
            segment=WINDOW, layer=layer, **RATES,
        )  # fmt: skip
        memory.cell.load_state_dict({name: value[run : run + 1] for name, value in model.memory.state_dict().items()})
        with attach(base, memory), torch.no_grad():
            parts = [base(part).logits for part in inputs[run].split(WINDOW, 1)]
        torch.testing.assert_close(torch.cat(parts, 1), whole[run], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_without_feedback_it_is_the_base(shape: str) -> None:
    model = build("emt", shape=shape, layer=0)
    base = build("decoder", shape=shape)
    base.load_state_dict({name: value for name, value in model.state_dict().items() if name.startswith("base.")})
    inputs, without = tokens(3 * WINDOW), {**hyper(), "feedback": torch.zeros(2)}
    with torch.no_grad():
        own = model(Batch(inputs, torch.zeros(2, dtype=torch.int64), {}), without).logits
    assert torch.equal(own, logits(base, inputs))


@pytest.mark.parametrize("name", ["emt", "rmt"])
def test_memory_carries_what_the_window_does_not(name: str) -> None:
    """A word of the first segment changes the third; with reads zeroed it does not, and neighbours see their own."""
    model, inputs = build(name, layer=0), tokens(3 * WINDOW)
    other = inputs.clone()
    other[:, 0, 2] = (other[:, 0, 2] + 1) % WORDS
    for control, changes in (("on", [True, False]), ("off", [False, False]), ("shuffled", [False, True])):
        before, after = logits(model, inputs, control), logits(model, other, control)  # pyright: ignore[reportArgumentType]
        third = slice(2 * WINDOW, None)
        found = [not torch.equal(before[:, row, third], after[:, row, third]) for row in (0, 1)]
        assert found == changes, control


@pytest.mark.parametrize(("sight", "reach"), [("segment", 0), ("window", 1), ("full", 1)])
def test_a_base_sees_its_segment_a_window_or_everything(sight: str, reach: int) -> None:
    model, inputs = build("decoder", sight=sight, num_layers=1), tokens(2 * WINDOW)
    first = inputs.clone()
    first[..., WINDOW - 1] = (first[..., WINDOW - 1] + 1) % WORDS
    changed = (logits(model, inputs) != logits(model, first)).any(-1)[:, :, WINDOW:]
    assert changed.any() == bool(reach)
    if sight == "window":  # the last place from which position W − 1 is seen is 2 W − 2
        assert changed[:, :, : WINDOW - 1].all()
        assert not changed[:, :, WINDOW - 1 :].any()
    if sight == "full":
        assert changed.all()


@pytest.mark.parametrize("name", ["emt", "rmt", "decoder"])
@pytest.mark.parametrize("cut", [1, 5, WINDOW, WINDOW + 3, 2 * WINDOW])
def test_a_text_in_parts_gives_what_the_whole_gives(name: str, cut: int) -> None:
    model, inputs, state, parts, start = build(name, layer=0), tokens(2 * WINDOW + 5), None, [], 0
    with torch.no_grad():
        for part in inputs.split(cut, 2):
            given = Batch(part, torch.zeros(2, dtype=torch.int64), {}, start=start)
            output = model(given, hyper(), state)
            parts.append(output.logits)
            state, start = output.state, start + part.shape[2]
    torch.testing.assert_close(torch.cat(parts, 2), logits(model, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("emt", {"layer": 2}, "layer 2 is no block; allowed: 0 to 1, or last"),
        ("emt", {"layer": "first"}, "layer"),
        ("emt", {"num_memory_heads": 3}, "num_memory_heads 3 does not divide slot_dim 8; allowed: a divisor"),
        ("emt", {"feedback": 1.5}, "feedback"),
        ("emt", {"num_heads": 3}, "num_heads 3 does not divide width 16; allowed: a divisor"),
        ("emt", {"width": 6}, "width 6 gives 2 heads an odd number of features"),
        ("decoder", {"shape": "gpt2", "sight": "full"}, "sight 'full' with 8 learned positions; allowed: segment"),
        ("rmt", {"memory_tokens": 0}, "memory_tokens"),
    ],
)
def test_wrong_sizes_are_refused_in_one_line(name: str, content: dict[str, Any], line: str) -> None:
    config = models.load(name).Config
    given = {key: value for key, value in {**SIZES, **content}.items() if key in config.model_fields}
    with pytest.raises(ParameterError) as error:
        checked(config, given, "file.yaml")
    assert line in str(error.value)
