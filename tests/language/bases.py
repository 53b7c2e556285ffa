"""Tiny random language models of six architectures."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from palimpsest.language import facts

VOCABULARY, WIDTH, BLOCKS = 19, 8, 3
_SIZES = {"hidden_size": WIDTH, "num_hidden_layers": BLOCKS, "num_attention_heads": 2, "vocab_size": VOCABULARY}
_TOKENS = {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0, "max_position_embeddings": 128}
_GATED = _SIZES | _TOKENS | {"intermediate_size": 12, "num_key_value_heads": 1}

BUILD: dict[str, Any] = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(n_embd=WIDTH, n_layer=BLOCKS, n_head=2, vocab_size=VOCABULARY, n_positions=128, **_without_length())
    ),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_GATED)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_GATED)),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**_SIZES, **_TOKENS, intermediate_size=12)),
    "opt": lambda: OPTForCausalLM(OPTConfig(**_SIZES, **_TOKENS, ffn_dim=12, word_embed_proj_dim=WIDTH)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_GATED)),
}
"""By name of the architecture."""


def _without_length() -> dict[str, Any]:
    return {name: value for name, value in _TOKENS.items() if name != "max_position_embeddings"}


def base(name: str, kind: torch.dtype = torch.float32) -> Any:
    """A base with weights that are large enough for its features to differ from token to token."""
    torch.manual_seed(0)
    model = BUILD[name]().eval().to(kind)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def tokens(batch: int = 3, time: int = 21, seed: int = 0) -> torch.Tensor:
    """Texts without padding."""
    return torch.randint(2, VOCABULARY, (batch, time), generator=torch.Generator().manual_seed(seed))


def reader(width: int = 16) -> tuple[Any, PreTrainedTokenizerFast]:
    """A tiny LLaMA that knows the words of :mod:`palimpsest.language.facts`, and its tokenizer: a token a word."""
    own = Tokenizer(models.WordLevel(_words(), unk_token="?"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    sizes = _GATED | {"vocab_size": len(_words()), "hidden_size": width, "max_position_embeddings": 512}
    model = LlamaForCausalLM(LlamaConfig(**sizes)).eval().requires_grad_(False)
    return model, PreTrainedTokenizerFast(tokenizer_object=own, unk_token="?")


def _words() -> dict[str, int]:
    known = ["?", "The", "the", "secret", "word", "of", "is", ".", *facts.NAMES, *facts.WORDS]
    return {word: place for place, word in enumerate([*known, *facts.WHO, *facts.DOES, *facts.WHERE])}
