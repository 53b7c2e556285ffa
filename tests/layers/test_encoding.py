"""What tokens are to a model of sequences: bits, levels and flags as counted by hand, or vectors that are learned."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.layers.encoding import SequenceConfig, TokenInput, bit_codes
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.tasks import copy, priority_sort, repeat_copy


def naive_code(token: int, num_tokens: int, bits: int, levels: int) -> list[float]:
    """Features of one token: bits from the lowest up, the level where there are levels, a channel for each flag."""
    vectors = 2**bits * max(1, levels)
    is_vector = token < vectors
    code = [float(token // 2**place % 2) if is_vector else 0.0 for place in range(bits)]
    if levels == 1:
        code.append(-1.0 if is_vector else 0.0)
    elif levels > 1:
        code.append(-1 + (token // 2**bits) * 2 / (levels - 1) if is_vector else 0.0)
    return code + [float(token == flag) for flag in range(vectors, num_tokens)]


@given(st.integers(0, 5), st.integers(0, 6), st.integers(0, 3))
def test_codes_are_what_counting_by_hand_gives(bits: int, levels: int, flags: int) -> None:
    num_tokens = 2**bits * max(1, levels) + flags
    found = bit_codes(num_tokens, bits, levels)
    expected = [naive_code(token, num_tokens, bits, levels) for token in range(num_tokens)]
    assert found.shape == (num_tokens, bits + (levels > 0) + flags)
    torch.testing.assert_close(found, torch.tensor(expected).view(found.shape))


@given(st.integers(0, 5), st.sampled_from([0, 2, 3, 6]), st.integers(0, 3))
def test_no_two_tokens_have_the_same_code_and_none_leaves_its_range(bits: int, levels: int, flags: int) -> None:
    codes = bit_codes(2**bits * max(1, levels) + flags, bits, levels)
    assert len({tuple(code) for code in codes.tolist()}) == len(codes)
    assert ((codes >= -1) & (codes <= 1)).all()


def test_levels_go_in_equal_steps_from_one_end_to_the_other() -> None:
    levels = bit_codes(4 * 5 + 1, 2, 5)[:20:4, 2]
    assert levels.tolist() == [-1, -0.5, 0, 0.5, 1]


@pytest.mark.parametrize(
    ("config", "features"),
    [(copy.Config(), 8 + 2), (priority_sort.Config(), 8 + 1 + 2), (repeat_copy.Config(), 8 + 1 + 1)],
)
def test_a_task_of_bits_has_a_channel_for_every_bit_level_and_flag(config: Any, features: int) -> None:
    assert TokenInput(1, SequenceConfig(**config.interface())).d_out == features


def token_input(runs: int, **changes: Any) -> TokenInput:
    """Drawn for 11 tokens: 3 bits and three flags, or 5 learned features."""
    content = {"num_tokens": 11, "code": "bits", "code_bits": 3, "width": 5, **changes}
    module = TokenInput(runs, SequenceConfig(**content))
    reset_parameters(module, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    return module


TOKENS = torch.arange(24).view(2, 3, 4) % 11


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tokens_become_their_codes(dtype: torch.dtype) -> None:
    module = token_input(2).to(dtype)
    features = module(TOKENS)
    assert features.shape == (2, 3, 4, module.d_out)
    assert features.dtype == dtype
    for place, token in enumerate(TOKENS.flatten().tolist()):
        assert features.view(24, -1)[place].tolist() == naive_code(token, 11, 3, 0)


def test_codes_are_no_parameters_and_are_not_stored() -> None:
    module = token_input(2)
    assert not list(module.parameters())
    assert not module.state_dict()


def test_learned_tokens_are_rows_of_every_runs_own_table() -> None:
    module = token_input(2, code="learned")
    assert module.embedding is not None
    features = module(TOKENS)
    assert features.shape == (2, 3, 4, 5) == (2, 3, 4, module.d_out)
    for run in range(2):
        for example in range(3):
            for step, token in enumerate(TOKENS[run, example].tolist()):
                assert torch.equal(features[run, example, step], module.embedding.weight[run, token])
    assert not torch.equal(module.embedding.weight[0], module.embedding.weight[1])
    assert [name for name, _ in module.named_parameters()] == ["embedding.weight"]


@pytest.mark.parametrize("code", ["bits", "learned"])
def test_a_run_alone_has_the_bits_that_it_has_in_a_pack(code: str) -> None:
    pack, alone = token_input(2, code=code), token_input(1, code=code)
    assert torch.equal(pack(TOKENS)[0], alone(TOKENS[:1])[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"code": "bits", "code_bits": 4, "num_tokens": 15},
            "num_tokens 15 is below the 16 vectors; allowed: that many",
        ),
        ({"code": "bits", "code_bits": 2, "code_levels": 5, "num_tokens": 19}, "num_tokens 19 is below the 20 vectors"),
        ({"code_bits": 15}, "code_bits: 15: .*less than or equal to 14"),
        ({"code_bits": -1}, "code_bits: -1: "),
        ({"code_levels": -1}, "code_levels: -1: "),
        ({"code": "one-hot"}, "code: 'one-hot': .*'learned' or 'bits'"),
        ({"num_outputs": 0}, "num_outputs: 0: "),
        ({"sequence_length": 0}, "sequence_length: 0: "),
        ({"width": 0}, "width: 0: "),
        ({"classes": 2}, "classes: 2: unknown key; allowed: asked, cls_position, code, code_bits, "),
    ],
)
def test_bad_sizes_are_refused_in_one_line(content: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        checked(SequenceConfig, content, "file")
    assert "\n" not in str(caught.value)


def test_learned_tokens_may_be_fewer_than_vectors() -> None:
    assert SequenceConfig(code="learned", code_bits=4, num_tokens=3).num_tokens == 3
