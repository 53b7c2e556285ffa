"""One contract for all architectures: what is attached changes no weight, sees each token once, and leaves no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.language.anatomy import Layer, dissect
from palimpsest.language.attachment import attach
from palimpsest.language.module import CONFIG, WEIGHTS, MemoryModule
from tests.language.bases import BLOCKS, BUILD, WIDTH, base, tokens

NAMES = sorted(BUILD)
LAYERS: tuple[Layer, ...] = ("last", 1)
SEGMENT = 4


def memory(layer: Layer = 1, **more: Any) -> MemoryModule:
    sizes = {"num_slots": 5, "slot_dim": 4, "num_heads": 2, "segment": SEGMENT} | more
    return MemoryModule(WIDTH, layer=layer, **sizes)


def hooks(model: Any) -> int:
    """How many hooks a model has."""
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())


def logits(model: Any, ids: Tensor, own: MemoryModule, mask: Tensor | None = None, control: str = "on") -> Tensor:
    with attach(model, own) as attached, torch.no_grad():
        attached.control = control
        return model(ids, attention_mask=mask).logits


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_without_feedback_logits_are_the_bases_bit_for_bit(name: str, layer: Layer, kind: torch.dtype) -> None:
    model, ids = base(name, kind), tokens()
    with torch.no_grad():
        plain = model(ids).logits
    assert torch.equal(logits(model, ids, memory(layer, feedback=0.0)), plain)
    assert torch.equal(logits(model, ids, memory(layer), control="off"), plain)
    changed = logits(model, ids, memory(layer))
    assert torch.equal(changed[:, :SEGMENT], plain[:, :SEGMENT])
    assert not torch.equal(changed[:, SEGMENT:], plain[:, SEGMENT:])
    with torch.no_grad():
        assert torch.equal(model(ids).logits, plain)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layer", LAYERS)
def test_with_a_cache_every_token_reaches_the_memory_once(name: str, layer: Layer) -> None:
    model, ids, own = base(name), tokens(), memory(layer)
    whole = logits(model, ids, own)
    with attach(model, own) as attached, torch.no_grad():
        cache, parts = None, []
        for part in ids.split([7, 1, 1, 6, 1, 5], 1):
            output = model(part, cache=cache, use_cache=True)
            cache = output.past_key_values
            parts.append(output.logits)
        assert (attached.state.segments * SEGMENT + attached.state.begun == ids.shape[1]).all()
    close(torch.cat(parts, 1), whole)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layer", LAYERS)
def test_generation_with_a_cache_is_that_of_whole_texts(name: str, layer: Layer) -> None:
    model, ids, own = base(name), tokens(2, 9), memory(layer)
    with attach(model, own) as attached:
        text = model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)
        seen = attached.state.segments * SEGMENT + attached.state.begun
        assert (seen == text.shape[1] - 1).all()  # the last token was not fed in
    answers = logits(model, text, own).argmax(-1)
    assert torch.equal(answers[:, 8:-1], text[:, 9:])


@pytest.mark.parametrize("name", NAMES)
def test_padding_on_either_side_changes_nothing(name: str) -> None:
    model, own = base(name), memory()
    short, long = tokens(1, 9, seed=1), tokens(1, 13, seed=2)
    alone = [logits(model, ids, own) for ids in (short, long)]
    filler = torch.zeros(1, 4, dtype=torch.int64)
    for left in (True, False):
        padded = torch.cat([filler, short] if left else [short, filler], 1)
        ids, mask = torch.cat([padded, long]), torch.ones(2, 13, dtype=torch.int64)
        mask[0, slice(0, 4) if left else slice(9, 13)] = 0
        positions = (mask.cumsum(1) - 1).clamp_min(0)
        more = {} if name == "opt" else {"position_ids": positions}  # OPT counts by the mask itself
        with attach(model, own) as attached, torch.no_grad():
            both = model(ids, attention_mask=mask, **more).logits
            assert attached.state.segments[0].tolist() == [9 // SEGMENT, 13 // SEGMENT]
        close(both[:1, 4:] if left else both[:1, :9], alone[0])
        close(both[1:], alone[1])


@pytest.mark.parametrize("name", NAMES)
def test_sequences_of_a_batch_do_not_see_each_other(name: str) -> None:
    model, ids, own = base(name), tokens(), memory()
    order = torch.tensor([2, 0, 1])
    close(logits(model, ids[order], own), logits(model, ids, own)[order])
    assert not torch.equal(logits(model, ids, own), logits(model, ids, own, control="shuffled"))


@pytest.mark.parametrize("name", NAMES)
def test_only_the_memory_learns_and_gradients_go_back_over_segments(name: str) -> None:
    model, own = base(name), memory()
    model.requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimiser = torch.optim.SGD(own.parameters(), lr=0.1)
    with attach(model, own):
        model(tokens(time=9))
        model(tokens(time=6, seed=1)).logits.square().sum().backward()
    assert [key for key, value in own.named_parameters() if value.grad is None or not value.grad.any()] == []
    optimiser.step()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_blocks_are_found_by_structure(name: str) -> None:
    anatomy = dissect(base(name))
    assert (len(anatomy.blocks), anatomy.features) == (BLOCKS, WIDTH)


def test_hooks_are_gone_after_an_exception_and_nothing_half_written_stays() -> None:
    model, ids, own = base("llama"), tokens(), memory(0)

    def fail(*_: Any) -> None:
        raise RuntimeError("a block fails")

    def broken(attached: Any) -> None:
        before = attached.state
        handle = model.model.layers[2].register_forward_hook(fail)
        try:
            model(ids)
        finally:
            handle.remove()
            assert attached.state is before

    def attached_once() -> None:
        with attach(model, own) as attached:
            model(ids)
            broken(attached)

    with pytest.raises(RuntimeError, match="a block fails"):
        attached_once()
    assert hooks(model) == 0
    assert "generate" not in vars(model)


def test_a_memory_persists_is_reset_saved_and_loaded(tmp_path: Path) -> None:
    model, first, second, own = base("llama"), tokens(), tokens(seed=1), memory()
    with attach(model, own) as attached, torch.no_grad():
        model(first)
        attached.save(tmp_path / "state.safetensors")
        later = model(second).logits
        attached.reset()
        fresh = model(second).logits
        attached.load(tmp_path / "state.safetensors")
        assert torch.equal(model(second).logits, later)
    assert not torch.equal(later, fresh)
    close(fresh, logits(model, second, own))


def test_generation_goes_on_from_what_was_read_before() -> None:
    model, own = base("llama"), memory()
    with attach(model, own) as attached:
        fresh = model.generate(tokens(2, 5), max_new_tokens=6, do_sample=False, pad_token_id=0)
        attached.reset()
        with torch.no_grad():
            model(tokens(2, 17, seed=3))
        seen = int(attached.state.segments[0, 0]) * SEGMENT + int(attached.state.begun[0, 0])
        model.generate(tokens(2, 5), max_new_tokens=6, do_sample=False, pad_token_id=0)
        assert int(attached.state.segments[0, 0]) * SEGMENT + int(attached.state.begun[0, 0]) == seen + 5 + 5
    assert fresh.shape == (2, 11)


def test_what_is_saved_is_the_memory_alone_and_comes_back(tmp_path: Path) -> None:
    model, own = base("gpt2"), memory(0, seed=5)
    own.save_pretrained(tmp_path)
    again = MemoryModule.from_pretrained(tmp_path)
    assert again.sizes == own.sizes
    assert torch.equal(logits(model, tokens(), again), logits(model, tokens(), own))
    sizes = sum(value.numel() * 4 for value in own.state_dict().values())
    assert (tmp_path / WEIGHTS).stat().st_size < sizes + 10_000


def test_a_compiled_base_gives_the_same() -> None:
    model, ids, own = base("llama"), tokens(), memory()
    expected = logits(model, ids, own)
    compiled = torch.compile(model, backend="eager")
    with attach(model, own) as attached, torch.no_grad():
        close(compiled(ids).logits, expected)
        assert (attached.state.segments == ids.shape[1] // SEGMENT).all()


# Bad input


def test_tokens_that_are_taken_back_are_refused() -> None:
    model, own = base("llama"), memory()
    with attach(model, own), torch.no_grad():
        cache = model(tokens(2, 8), use_cache=True).past_key_values
        cache.crop(-3)
        with pytest.raises(ParameterError, match="the base remembers 5 tokens, the memory has seen 8"):
            model(tokens(2, 1), cache=cache)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"num_beams": 2}, "num_beams: 2: beams take tokens back; allowed: 1"),
        ({"use_cache": False}, "use_cache: False: every token would be written again"),
        ({"prompt_lookup_num_tokens": 2}, "prompt_lookup_num_tokens: prompt lookup takes tokens back"),
    ],
)
def test_ways_of_generating_that_show_tokens_twice_are_refused(more: dict[str, Any], message: str) -> None:
    model = base("llama")
    with attach(model, memory()), pytest.raises(ParameterError, match=message):
        model.generate(tokens(2, 5), max_new_tokens=2, **more)


def test_another_number_of_sequences_is_refused() -> None:
    model = base("llama")
    with attach(model, memory()) as attached, torch.no_grad():
        model(tokens(2))
        with pytest.raises(ParameterError, match=r"3 sequences, the memory holds 2; allowed: 2, or reset\(\) first"):
            model(tokens(3))
        assert attached.state.slots.shape[1] == 2
        attached.reset()
        model(tokens(3))


@pytest.mark.parametrize("layer", [BLOCKS, -1, "middle"])
def test_a_layer_that_the_base_does_not_have_is_refused(layer: Any) -> None:
    model = base("llama")
    with (
        pytest.raises(ParameterError, match="is no block of the base; allowed: 0 to 2, or last"),
        attach(model, memory(layer)),
    ):
        pass
    assert hooks(model) == 0


def test_what_is_no_causal_language_model_is_refused() -> None:
    with (
        pytest.raises(ParameterError, match="model: Linear is no model of transformers"),
        attach(torch.nn.Linear(2, 2), memory()),
    ):
        pass
    with (
        pytest.raises(ParameterError, match="model: LlamaModel is no causal language model"),
        attach(base("llama").model, memory()),
    ):
        pass


def test_a_memory_of_another_width_and_a_second_one_are_refused() -> None:
    model = base("llama")
    wide = MemoryModule(WIDTH + 1, 5, 4, 2)
    with pytest.raises(ParameterError, match="memory: 9 features; allowed: 8, as the base has"), attach(model, wide):
        pass
    with attach(model, memory()):
        with pytest.raises(ParameterError, match="a memory is attached already"), attach(model, memory()):
            pass
        assert hooks(model) == 3
    assert hooks(model) == 0


def test_an_empty_memory_has_no_state() -> None:
    with attach(base("llama"), memory()) as attached, pytest.raises(ParameterError, match="state: the memory is empty"):
        attached.save("nowhere")


def test_a_state_of_another_size_is_refused(tmp_path: Path) -> None:
    model, path = base("llama"), tmp_path / "state.safetensors"
    with attach(model, memory()) as attached, torch.no_grad():
        model(tokens())
        attached.save(path)
    with attach(model, memory(num_slots=6)) as attached:
        with pytest.raises(DataError, match=r"slots: \(1, 3, 5, 4\) torch.float32; allowed: \(1, 'any', 6, 4\)"):
            attached.load(path)
        with pytest.raises(DataError, match="no such file"):
            attached.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (WEIGHTS, None, "no such file"),
        (WEIGHTS, b"torn", WEIGHTS),
        (CONFIG, None, CONFIG),
        (CONFIG, b"[]", CONFIG),
        (CONFIG, b'{"features": 8, "slots": 3}', "slots: 3: unknown key; allowed: "),
        (CONFIG, b'{"features": 8, "num_slots": "x"}', "num_slots"),
        (CONFIG, b'{"features": 8, "feedback": 2}', "feedback: 2.0 is out of range"),
        (
            CONFIG,
            b'{"features": 8, "num_slots": 6, "slot_dim": 4, "num_heads": 2}',
            r"address: \(1, 5, 4\); allowed: \(1, 6, 4\)",
        ),
    ],
)
def test_a_wrong_file_of_a_memory_is_one_line(tmp_path: Path, file: str, content: bytes | None, message: str) -> None:
    memory().save_pretrained(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises((DataError, ParameterError), match=message) as caught:
        MemoryModule.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)
