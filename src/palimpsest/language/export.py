"""A decoder of the pipeline as a model of transformers, with the same weights."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from palimpsest.foundation.errors import ParameterError
from palimpsest.layers.decoder import EPSILON, LONGEST_WAVE, Decoder, DecoderConfig


def to_transformers(decoder: Decoder, run: int = 0) -> Any:
    """Return one run of a decoder as a ``LlamaForCausalLM`` or a ``GPT2LMHeadModel`` that gives the same logits.

    ``save_pretrained`` then writes it, and :func:`palimpsest.language.attachment.attach` takes it.

    Args:
        decoder: trained or not.
        run: which run of the pack.

    Raises:
        ParameterError: there is no such run, tokens are bits, or there are fewer outputs than tokens.
    """
    config, runs = decoder.config, len(decoder.head.weight)
    if not 0 <= run < runs:
        raise ParameterError(f"run: {run}; allowed: 0 to {runs - 1}")
    if config.code != "learned" or config.num_outputs != config.num_tokens:
        raise ParameterError(
            f"num_outputs: {config.num_outputs} for {config.num_tokens} tokens ({config.code}); "
            "allowed: an output for every token, and learned tokens"
        )
    own = {name: value[run].detach().cpu() for name, value in decoder.state_dict().items()}
    model = _llama(config) if config.shape == "llama" else _gpt2(config)
    model.load_state_dict(_renamed_llama(own, config) if config.shape == "llama" else _renamed_gpt2(own, config))
    return model.eval()


def _llama(config: DecoderConfig) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.num_tokens,
            hidden_size=config.width,
            intermediate_size=config.feedforward,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            max_position_embeddings=config.window,
            rms_norm_eps=EPSILON,
            rope_parameters={"rope_type": "default", "rope_theta": LONGEST_WAVE},
            tie_word_embeddings=False,
            **_NO_TOKENS,
        )
    )


def _gpt2(config: DecoderConfig) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.num_tokens,
            n_embd=config.width,
            n_inner=config.feedforward,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            n_positions=config.window,
            layer_norm_epsilon=EPSILON,
            activation_function="gelu_pytorch_tanh",
            tie_word_embeddings=False,
            **_NO_TOKENS,
        )
    )


_NO_TOKENS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def _renamed_llama(own: dict[str, Tensor], config: DecoderConfig) -> dict[str, Tensor]:
    """Weights by LLaMA's names; its linear maps are stored as (out, in)."""
    found = {
        "model.embed_tokens.weight": own["tokens.weight"],
        "model.norm.weight": own["norm.weight"],
        "lm_head.weight": own["head.weight"].T.contiguous(),
    }
    for index in range(config.num_layers):
        ours, theirs = f"blocks.{index}.", f"model.layers.{index}."
        found[f"{theirs}input_layernorm.weight"] = own[f"{ours}norm_attention.weight"]
        found[f"{theirs}post_attention_layernorm.weight"] = own[f"{ours}norm_feedforward.weight"]
        maps = (
            (own[f"{ours}project_in.weight"], ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
            (own[f"{ours}project_out.weight"], ("self_attn.o_proj",)),
            (own[f"{ours}expand.weight"], ("mlp.gate_proj", "mlp.up_proj")),
            (own[f"{ours}contract.weight"], ("mlp.down_proj",)),
        )
        for joined, names in maps:
            for name, part in zip(names, joined.chunk(len(names), 1), strict=True):
                found[f"{theirs}{name}.weight"] = part.T.contiguous()
    return found


def _renamed_gpt2(own: dict[str, Tensor], config: DecoderConfig) -> dict[str, Tensor]:
    """Weights by GPT-2's names; its linear maps are stored as (in, out), the output layer as (out, in)."""
    found = {
        "transformer.wte.weight": own["tokens.weight"],
        "transformer.wpe.weight": own["positions.weight"],
        "lm_head.weight": own["head.weight"].T.contiguous(),
    }
    parts = {"transformer.ln_f": "norm"}
    for index in range(config.num_layers):
        ours, theirs = f"blocks.{index}.", f"transformer.h.{index}."
        parts |= {
            f"{theirs}ln_1": f"{ours}norm_attention",
            f"{theirs}ln_2": f"{ours}norm_feedforward",
            f"{theirs}attn.c_attn": f"{ours}project_in",
            f"{theirs}attn.c_proj": f"{ours}project_out",
            f"{theirs}mlp.c_fc": f"{ours}expand",
            f"{theirs}mlp.c_proj": f"{ours}contract",
        }
    for theirs, ours in parts.items():
        for kind in ("weight", "bias"):
            found[f"{theirs}.{kind}"] = own[f"{ours}.{kind}"]
    return found
