"""Attaching a memory to a language model by hooks, for as long as a block of code runs (source 003, Section 2.2)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.language.anatomy import dissect, features_of, with_features
from palimpsest.language.module import MemoryModule
from palimpsest.memory.control import Control
from palimpsest.memory.enhanced import EnhancedRecord, EnhancedState
from palimpsest.memory.persistence import load_state, save_state

TAKES_TOKENS_BACK = {
    "assistant_model": "assisted decoding",
    "prompt_lookup_num_tokens": "prompt lookup",
    "assistant_early_exit": "early exit",
}
"""Ways of generating that let a model see tokens which are not kept in the end."""


class _Call(NamedTuple):
    """One forward pass of the base."""

    valid: Tensor | None
    """(B, T), False at padding."""
    seen: int
    """Tokens in the base's cache after the call; 0: it has none."""
    state: EnhancedState | None
    record: EnhancedRecord | None


class Attached:
    """A memory that is attached to a base: what it holds, and how to save, load and empty it.

    The memory goes on from call to call, whether or not the base has a cache: a forward pass without one is the next
    part of the same texts. Sequences of a batch have memories of their own.
    """

    def __init__(self, memory: MemoryModule) -> None:
        self.memory = memory
        self.control: Control = "on"
        """What an evaluation does to the reads."""
        self._state: EnhancedState | None = None
        self._seen = 0
        self._call: _Call | None = None
        self.record: EnhancedRecord | None = None
        """What the last forward pass read and wrote."""

    @property
    def is_empty(self) -> bool:
        """Whether no token has come since the beginning or the last :meth:`reset`."""
        return self._state is None

    @property
    def state(self) -> EnhancedState:
        """The memory of every sequence.

        Raises:
            ParameterError: no token has come since the beginning or the last :meth:`reset`.
        """
        if self._state is None:
            raise ParameterError("state: the memory is empty; allowed: after a forward pass, or load")
        return self._state

    def reset(self) -> None:
        """Forget everything: the next call begins new texts, of any number."""
        self._state, self._seen, self.record = None, 0, None

    def detach(self) -> None:
        """Keep what is stored and cut its gradient: training goes on without looking further back."""
        if self._state is not None:
            self._state = EnhancedState(*(part.detach() for part in self._state))

    def save(self, path: str | Path) -> None:
        """Write what the memory holds as safetensors.

        Raises:
            ParameterError: it is empty.
            DataError: the file cannot be written.
        """
        save_state(Path(path), self.state)

    def load(self, path: str | Path) -> None:
        """Go on from what :meth:`save` wrote, with new texts as far as the base knows.

        Raises:
            DataError: the file is missing or corrupt, or of a memory of other sizes.
        """
        state, like = load_state(Path(path), EnhancedState), self.memory.cell.initial_state(1)
        for name, part, own in zip(EnhancedState._fields, state, like, strict=True):
            if part.dim() != own.dim() or part.shape[2:] != own.shape[2:] or part.dtype != own.dtype:
                found, wanted = f"{tuple(part.shape)} {part.dtype}", f"{(1, 'any', *own.shape[2:])} {own.dtype}"
                raise DataError(f"{path}: {name}: {found}; allowed: {wanted}, as this memory has")
        device = self.memory.cell.gain.device
        self._state, self._seen = EnhancedState(*(part.to(device) for part in state)), 0

    # What the hooks do. A call's state becomes the memory's own only when the whole forward pass has succeeded.

    def begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note what the base is called with."""
        bound = inspect.signature(model.forward).bind_partial(*args, **kwargs).arguments
        bound = {**bound, **bound.get("kwargs", {})}
        inputs = bound.get("input_ids") if bound.get("input_ids") is not None else bound.get("inputs_embeds")
        if inputs is None:
            raise ParameterError("input_ids: missing; allowed: input_ids or inputs_embeds")
        if model.training and getattr(model, "is_activation_checkpointing", False):
            raise ParameterError("gradient checkpointing: runs blocks twice, which would write twice; allowed: without")
        batch, time = inputs.shape[:2]
        cache = bound.get("cache") if bound.get("cache") is not None else bound.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        if past and past != self._seen:
            raise ParameterError(
                f"cache: the base remembers {past} tokens, the memory has seen {self._seen} with this cache; "
                "allowed: the same; tokens that are taken back cannot be unwritten"
            )
        if self._state is not None and self._state.slots.shape[1] != batch:
            held = self._state.slots.shape[1]
            raise ParameterError(
                f"input_ids: {batch} sequences, the memory holds {held}; allowed: {held}, or reset() first"
            )
        self._call = _Call(_valid(bound.get("attention_mask"), time), past + time, None, None)

    def change(self, output: Any) -> Any:
        """Return the output of a block, or of the body, with what the memory adds to its features."""
        call = self._call
        if call is None:  # the body was called by itself
            return output
        x, cell = features_of(output), self.memory.cell
        own = x.to(cell.gain.dtype)[None]
        state = cell.initial_state(len(x)) if self._state is None else self._state
        valid = None if call.valid is None else call.valid[None]
        y, after, record = cell(own, state, valid, self.control)
        self._call = call._replace(state=after, record=record)
        return with_features(output, y[0].to(x.dtype))

    def end(self) -> None:
        """Take over what the call has written."""
        if self._call is not None and self._call.state is not None:
            self._state, self._seen, self.record = self._call.state, self._call.seen, self._call.record
        self._call = None


def _valid(mask: Any, time: int) -> Tensor | None:
    """The last T columns of the attention mask.

    Raises:
        ParameterError: the mask does not say which tokens are padding.
    """
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.dim() != 2 or mask.shape[1] < time:
        shape = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ParameterError(f"attention_mask: {shape}; allowed: (batch, tokens), False at padding")
    return mask[:, mask.shape[1] - time :].bool()


@contextmanager
def attach(model: Any, memory: MemoryModule) -> Iterator[Attached]:
    """Let a memory take part in every forward pass of a causal language model, without touching one of its weights.

    Works with and without cache, under ``generate``, with padding on either side, in every float type. Beam search,
    assisted decoding and generation without a cache are refused, because they show the model tokens that are not kept,
    or the same token twice. The hooks are gone when the block is left, by an exception as well.

    Args:
        model: any causal language model of transformers.
        memory: of the base's width.

    Raises:
        ParameterError: the base is not supported or has another width, there is no such layer, or a memory is
            attached already.
    """
    anatomy = dissect(model)
    if memory.cell.d_in != anatomy.features:
        raise ParameterError(f"memory: {memory.cell.d_in} features; allowed: {anatomy.features}, as the base has")
    place = anatomy.place(memory.layer)
    if "generate" in vars(model):
        raise ParameterError("model: a memory is attached already; allowed: one")
    attached = Attached(memory)
    handles: list[RemovableHandle] = []
    try:
        model.generate = _careful(model.generate)
        handles.append(model.register_forward_pre_hook(_eager(attached.begin), with_kwargs=True))
        handles.append(place.register_forward_hook(_eager(lambda _, __, output: attached.change(output))))
        handles.append(model.register_forward_hook(_eager(lambda *_: attached.end())))
        yield attached
    finally:
        for handle in handles:
            handle.remove()
        vars(model).pop("generate", None)


def _eager(hook: Any) -> Any:
    """A hook that runs as it is written, in compiled models as well: it keeps state from call to call."""
    return torch.compiler.disable(hook)


def _careful(generate: Any) -> Any:
    """``generate`` that refuses what would write tokens that are not kept, or write them twice."""

    def checked(*args: Any, **kwargs: Any) -> Any:
        config = kwargs.get("generation_config") or generate.__self__.generation_config

        def chosen(name: str) -> Any:
            return kwargs[name] if kwargs.get(name) is not None else getattr(config, name, None)

        if (chosen("num_beams") or 1) > 1:
            raise ParameterError(f"num_beams: {chosen('num_beams')}: beams take tokens back; allowed: 1")
        for name, words in TAKES_TOKENS_BACK.items():
            if chosen(name):
                raise ParameterError(f"{name}: {words} takes tokens back; allowed: without")
        if chosen("use_cache") is False:
            raise ParameterError("use_cache: False: every token would be written again and again; allowed: True")
        return generate(*args, **kwargs)

    return checked
