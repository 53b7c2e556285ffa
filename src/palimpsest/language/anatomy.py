"""Where the parts of a causal language model of transformers are, found by its structure and not by its class."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from palimpsest.foundation.errors import ParameterError

AFTER_LAST_NORM = "last"
Layer = int | str
"""Where features are taken and given back: behind block 0, 1, …, or ``last``, behind the last norm."""


class Anatomy(NamedTuple):
    """The parts of a base that a memory needs."""

    body: nn.Module
    """Everything between embedding and output layer; returns the features behind the last norm."""
    blocks: nn.ModuleList
    features: int
    """D of a block's output."""

    def place(self, layer: Layer) -> nn.Module:
        """Return the module whose output the memory changes.

        Raises:
            ParameterError: there is no such layer.
        """
        if layer == AFTER_LAST_NORM:
            return self.body
        if not isinstance(layer, int) or isinstance(layer, bool) or not 0 <= layer < len(self.blocks):
            allowed = f"0 to {len(self.blocks) - 1}, or {AFTER_LAST_NORM}"
            raise ParameterError(f"layer: {layer!r} is no block of the base; allowed: {allowed}")
        return self.blocks[layer]


def dissect(model: Any) -> Anatomy:
    """Find the blocks of a causal language model: the one list of modules that is as long as it says that it is deep.

    Args:
        model: a model of transformers.

    Raises:
        ParameterError: it is no causal language model, or its blocks are not found.
    """
    kind, config = type(model).__name__, getattr(model, "config", None)
    if config is None or not hasattr(model, "get_output_embeddings") or not hasattr(model, "get_decoder"):
        raise ParameterError(f"model: {kind} is no model of transformers; allowed: a causal language model")
    if model.get_output_embeddings() is None or getattr(config, "is_encoder_decoder", False):
        raise ParameterError(f"model: {kind} is no causal language model; allowed: one that continues a text")
    body, depth = model.get_decoder(), config.num_hidden_layers
    lists = [part for part in body.modules() if isinstance(part, nn.ModuleList) and len(part) == depth]
    own = [blocks for blocks in lists if not any(blocks is not other and _holds(other, blocks) for other in lists)]
    if len(own) != 1:
        raise ParameterError(
            f"model: {kind} has {len(own)} lists of {depth} modules; allowed: one, which are its blocks"
        )
    return Anatomy(body, own[0], config.hidden_size)


def _holds(whole: nn.Module, part: nn.Module) -> bool:
    return any(module is part for module in whole.modules())


def features_of(output: Any) -> Tensor:
    """Return the features in the output of a block or a body: the output itself, or what it begins with."""
    return output if isinstance(output, Tensor) else output[0]


def with_features(output: Any, features: Tensor) -> Any:
    """Return the output with other features."""
    if isinstance(output, Tensor):
        return features
    if isinstance(output, tuple):
        return (features, *output[1:])
    output["last_hidden_state"] = features
    return output
