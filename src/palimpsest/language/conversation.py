"""A conversation with a base and its memory: what is said goes into memory, and the base sees the last words alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from palimpsest.foundation.errors import ParameterError
from palimpsest.language.attachment import Attached, attach
from palimpsest.language.facts import blank_token
from palimpsest.language.module import MemoryModule
from palimpsest.language.pretrained import Base
from palimpsest.memory.enhanced_slots import read_alone

SHOWN = 3
"""Words that a slot is shown by."""


class Slot(NamedTuple):
    """What one slot holds."""

    number: int
    size: float
    """Root mean square of its features."""
    written: float
    """How far the last segment moved it to its candidate, in [0, 1]."""
    words: tuple[str, ...]
    """Tokens whose logits it raises most, read by itself through an open gate, the likeliest first."""


class Conversation:
    """Turns with a base, each continued by it, and the memory that carries them on.

    A turn is what is said and what is answered; behind it come blank lines up to the end of a segment, so that all of
    it is written. The base begins anew in every turn: what was said before reaches it through the memory.

    Args:
        base: continues what is said.
        attached: its memory.
        tokens: of an answer at most.
    """

    def __init__(self, base: Base, attached: Attached, tokens: int = 12) -> None:
        self.base, self.attached, self.tokens = base, attached, tokens
        self._moved = torch.zeros(attached.memory.cell.num_slots)

    @torch.no_grad()
    def say(self, text: str) -> str:
        """Say something and return how the base goes on, up to the first line break.

        Raises:
            ParameterError: nothing was said, or more than the base can see at once.
        """
        said = self.base.tokenizer(f" {text.strip()}", add_special_tokens=False).input_ids
        most = getattr(self.base.model.config, "max_position_embeddings", None)
        if not text.strip():
            raise ParameterError("text: is empty; allowed: a word or more")
        if most is not None and len(said) + self.tokens > most:
            raise ParameterError(f"text: {len(said)} tokens; allowed: {most - self.tokens}, so that an answer fits")
        ids = torch.tensor([said])
        made = self.base.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=self.tokens, do_sample=False, pad_token_id=0
        )
        self._complete()
        answer = self.base.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
        return next(iter(answer.strip().splitlines()), "")

    def _complete(self) -> None:
        """Fill the open segment with blank lines, so that it is written."""
        state, segment = self.attached.state, self.attached.memory.cell.segment
        left = -int(state.begun) % segment
        if left:
            self.base.model(torch.full((1, left), blank_token(self.base.tokenizer)), use_cache=False)
        if self.attached.record is not None and self.attached.record.write_gate.shape[2]:
            self._moved = self.attached.record.write_gate[0, 0].amax(0)

    @torch.no_grad()
    def slots(self) -> list[Slot]:
        """Return every slot, the largest first; nothing if nothing was said."""
        if self.attached.is_empty:
            return []
        cell, held = self.attached.memory.cell, self.attached.state.slots
        head = self.base.model.get_output_embeddings()
        logits = head(read_alone(cell, held)[0, 0].to(head.weight.dtype))
        best = logits.topk(SHOWN, -1).indices.tolist()
        sizes = held[0, 0].square().mean(-1).sqrt()
        found = [
            Slot(number, float(size), float(moved), tuple(self.base.tokenizer.decode([word]).strip() for word in words))
            for number, (size, moved, words) in enumerate(zip(sizes, self._moved, best, strict=True))
        ]
        return sorted(found, key=lambda slot: -slot.size)

    def forget(self) -> None:
        """Empty the memory."""
        self.attached.reset()
        self._moved.zero_()

    def save(self, path: Path) -> None:
        """Write what the memory holds, whole or not at all; nothing if it is empty."""
        if not self.attached.is_empty:
            self.attached.save(path)


@contextmanager
def conversation(base: Base, memory: MemoryModule, state: Path | None, tokens: int = 12) -> Iterator[Conversation]:
    """Attach the memory for as long as a conversation goes on, and go on from a saved one.

    Args:
        base: a pretrained model.
        memory: of its width.
        state: file of the memory's content; it is read if it is there.
        tokens: of an answer at most.

    Raises:
        ParameterError: the memory does not fit the base.
        DataError: the file is corrupt, or of a memory of other sizes, or of more than one text.
    """
    with attach(base.model, memory) as attached:
        if state is not None and state.exists():
            attached.load(state)
        yield Conversation(base, attached, tokens)
