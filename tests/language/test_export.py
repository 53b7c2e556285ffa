"""Decoders as models of transformers: the same logits, saved and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from palimpsest.foundation.errors import ParameterError
from palimpsest.language.export import to_transformers
from palimpsest.layers.decoder import Decoder, DecoderConfig, RMSNorm
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.layers.transformer import causal_window

WINDOW = 12


def decoder(shape: str, runs: int = 2, **changes: Any) -> Decoder:
    sizes: dict[str, Any] = {
        "num_tokens": 19,
        "num_outputs": 19,
        "width": 16,
        "num_heads": 2,
        "feedforward": 24,
        "window": WINDOW,
    }
    model = Decoder(runs, DecoderConfig(shape=shape, **{**sizes, **changes}))
    reset_parameters(model, [torch.Generator().manual_seed(seed) for seed in range(runs)])
    with torch.no_grad():  # norms are not what they begin with
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(9)) * 0.1)
    return model


def logits(model: Decoder, inputs: torch.Tensor) -> torch.Tensor:
    places, time = torch.arange(inputs.shape[2]), inputs.shape[2]
    x = model.through(model.embed(inputs, places), places, causal_window(time, time), slice(None))
    return model.logits(model.norm(x))


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_an_exported_decoder_gives_the_same_logits(shape: str, tmp_path: Path) -> None:
    model = decoder(shape)
    inputs = torch.randint(19, (1, 3, WINDOW), generator=torch.Generator().manual_seed(0)).expand(2, -1, -1)
    own = logits(model, inputs)
    for run in range(2):
        exported = to_transformers(model, run)
        torch.testing.assert_close(exported(inputs[run]).logits, own[run], rtol=1e-4, atol=1e-5)
        exported.save_pretrained(tmp_path / str(run))
        again = AutoModelForCausalLM.from_pretrained(tmp_path / str(run))
        assert torch.equal(again(inputs[run]).logits, exported(inputs[run]).logits)


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_a_decoder_is_causal_and_a_run_does_not_see_its_company(shape: str) -> None:
    both, alone = decoder(shape), decoder(shape, 1)
    alone.load_state_dict({name: value[:1] for name, value in both.state_dict().items()})
    inputs = torch.randint(19, (2, 3, WINDOW), generator=torch.Generator().manual_seed(0))
    whole = logits(both, inputs)
    assert torch.equal(logits(alone, inputs[:1]), whole[:1])
    later = inputs.clone()
    later[..., 7:] = 0
    torch.testing.assert_close(logits(both, later)[:, :, :7], whole[:, :, :7])


def test_gradients_of_the_norm_are_those_of_its_formula() -> None:
    norm = RMSNorm(2, 5).double()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x,))
    plain = torch.nn.functional.rms_norm(x, (5,), eps=1e-5) * norm.weight[:, None]
    torch.testing.assert_close(norm(x), plain)
    given = x.detach()

    def of_weight(weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(norm, {"weight": weight}, (given,))

    assert torch.autograd.gradcheck(of_weight, (norm.weight,))


@pytest.mark.parametrize(
    ("changes", "run", "line"),
    [
        ({}, 2, "run: 2; allowed: 0 to 1"),
        ({"num_outputs": 3}, 0, "num_outputs: 3 for 19 tokens"),
        ({"code": "bits", "code_bits": 2}, 0, "for 19 tokens (bits)"),
    ],
)
def test_what_is_no_language_model_is_refused(changes: dict[str, object], run: int, line: str) -> None:
    with pytest.raises(ParameterError) as error:
        to_transformers(decoder("llama", **changes), run)
    assert line in str(error.value)
