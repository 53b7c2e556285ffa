"""Facts, distractors and questions as sentences for a language model that reads real words (source 003).

Facts are "The secret word of Anna is apple.", questions end before the word: "The secret word of Anna is". Distractors
come from a small grammar, whose words are neither names nor secret words. A segment has a fixed number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from palimpsest.foundation.errors import ParameterError

NAMES = (
    "Anna",
    "Ben",
    "Carl",
    "Diana",
    "Edward",
    "Frank",
    "Grace",
    "Henry",
    "Ivan",
    "Jack",
    "Kate",
    "Laura",
    "Mark",
    "Nina",
    "Oscar",
    "Paul",
    "Rachel",
    "Sam",
    "Tom",
    "Victor",
    "Walter",
    "Alice",
    "Bob",
    "Clara",
    "David",
    "Emma",
    "George",
    "Helen",
    "Jane",
    "Kevin",
    "Lisa",
    "Maria",
)
WORDS = (
    "apple",
    "river",
    "hammer",
    "candle",
    "window",
    "bridge",
    "pencil",
    "mirror",
    "basket",
    "ladder",
    "bottle",
    "button",
    "carpet",
    "feather",
    "garden",
    "island",
    "jacket",
    "kettle",
    "lemon",
    "magnet",
    "needle",
    "orange",
    "pillow",
    "rabbit",
    "saddle",
    "tiger",
    "umbrella",
    "violin",
    "wagon",
    "anchor",
    "barrel",
    "castle",
)
WHO = ("farmer", "teacher", "doctor", "sailor", "painter", "child", "dog", "cat", "horse", "bird", "neighbour", "king")
DOES = ("sees", "likes", "follows", "finds", "watches", "helps", "calls", "meets")
WHERE = ("road", "hill", "market", "wall", "field", "train", "house", "school", "lake", "storm", "tree", "boat")
FEWEST = 8
"""Names and words without which there is no task."""

Facts = Int[Tensor, "texts facts two"]
"""Name and word of each, as their numbers."""


class Language:
    """Sentences in the tokens of a model.

    Names and words are those that the tokenizer gives one token; so an answer is one token.

    Args:
        tokenizer: of transformers.
        count: how many names and words to use at most.
        segment: tokens of a segment.
        held_out: words that go with each name in tests alone.

    Raises:
        ParameterError: too few names or words are one token, or a size is out of range.
    """

    def __init__(self, tokenizer: Any, count: int = 24, segment: int = 64, held_out: int = 4) -> None:
        self.tokenizer, self.segment = tokenizer, segment
        self.names = [name for name in NAMES if len(self.tokens(f" {name}")) == 1][:count]
        self.words = [word for word in WORDS if len(self.tokens(f" {word}")) == 1][:count]
        fewest = min(len(self.names), len(self.words))
        if fewest < FEWEST:
            raise ParameterError(f"tokenizer: {fewest} names or words are one token; allowed: {FEWEST} or more")
        if not 0 < held_out < len(self.words):
            raise ParameterError(f"held_out: {held_out}; allowed: 1 to {len(self.words) - 1}")
        self.held_out = held_out
        self.answers = torch.tensor([self.tokens(f" {word}")[0] for word in self.words])
        """Token of each word."""

    def tokens(self, text: str) -> list[int]:
        """The text as tokens, without special ones."""
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def fact(self, name: int, word: int) -> str:
        """The sentence that tells a fact."""
        return f" The secret word of {self.names[name]} is {self.words[word]}."

    def question(self, name: int) -> str:
        """The same sentence up to the word."""
        return f" The secret word of {self.names[name]} is"

    def distractor(self, generator: Generator) -> str:
        """A sentence of the grammar."""
        who, does, where = (_one(words, generator) for words in (WHO, DOES, WHERE))
        return f" The {who} {does} the {where}."

    def draw(self, texts: int, facts: int, training: bool, generator: Generator) -> Facts:
        """Draw facts about different names and with different words.

        A name goes with ``held_out`` of the words in tests alone.

        Raises:
            ParameterError: more facts than words that are held out, so that one might have none left.
        """
        most = min(len(self.names), self.held_out, len(self.words) - self.held_out)
        if not 1 <= facts <= most:
            raise ParameterError(f"facts: {facts}; allowed: 1 to {most}")
        return torch.tensor([self._one_text(facts, training, generator) for _ in range(texts)])

    def _one_text(self, facts: int, training: bool, generator: Generator) -> list[tuple[int, int]]:
        told: list[tuple[int, int]] = []
        for name in torch.randperm(len(self.names), generator=generator)[:facts].tolist():
            used = {word for _, word in told}
            free = [word for word in self._words_of(name, training) if word not in used]
            told.append((name, _one(free, generator)))
        return told

    def _words_of(self, name: int, training: bool) -> list[int]:
        """Words that may go with a name."""
        held = {(name + 7 * number) % len(self.words) for number in range(self.held_out)}
        return [word for word in range(len(self.words)) if (word in held) != training]

    def tell(self, facts: Sequence[Sequence[int]], generator: Generator) -> list[int]:
        """A segment with these facts, in any order among distractors; none is cut off.

        Half of the segments end in blank lines, as the last words of a conversation do.

        Raises:
            ParameterError: they do not fit into a segment.
        """
        sentences = [self.fact(*fact) for fact in facts]
        room = self.segment - sum(len(self.tokens(sentence)) for sentence in sentences)
        if room < 0:
            raise ParameterError(f"facts: {len(facts)} do not fit into {self.segment} tokens; allowed: fewer")
        blank = bool(torch.rand((), generator=generator) < 0.5)
        while not blank and (length := len(self.tokens(more := self.distractor(generator)))) <= room:
            sentences.append(more)
            room -= length
        order = torch.randperm(len(sentences), generator=generator).tolist()
        told = [token for place in order for token in self.tokens(sentences[place])]
        return self.blank(told) if blank else self._filled(told, generator)

    def distract(self, generator: Generator) -> list[int]:
        """A segment without facts."""
        return self._filled([], generator)

    def blank(self, tokens: list[int]) -> list[int]:
        """The tokens and blank lines behind them, up to the end of a segment."""
        return tokens + [blank_token(self.tokenizer)] * (-len(tokens) % self.segment)

    def _filled(self, tokens: list[int], generator: Generator) -> list[int]:
        """The tokens and distractors behind them, of which the last may be cut off."""
        ids = list(tokens)
        while len(ids) < self.segment:
            ids += self.tokens(self.distractor(generator))
        return ids[: self.segment]


def blank_token(tokenizer: Any) -> int:
    """The token of a line break, or of a full stop where line breaks are none."""
    found = (tokenizer(text, add_special_tokens=False).input_ids for text in ("\n", "."))
    return next(ids[-1] for ids in found if ids)


def _one(items: Sequence[Any], generator: Generator) -> Any:
    return items[int(torch.randint(len(items), (), generator=generator))]
