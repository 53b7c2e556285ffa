"""A memory behind the last norm of a pretrained model: trained beside it, and asked, with and without it (source 003).

Behind the last norm the base's features do not depend on the memory. So segments are encoded once, and texts are put
together from what was encoded: a pool of segments with facts, one of distractors, and one question a name. The base
sees one segment at a time; the question begins the last one, so that a base alone sees nothing but the question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor

from palimpsest.language.anatomy import dissect, features_of
from palimpsest.language.facts import Facts, Language
from palimpsest.language.module import MemoryModule
from palimpsest.language.pretrained import Base
from palimpsest.memory.control import Control

Told = Float[Tensor, "texts segment features"]
Logits = Float[Tensor, "questions vocabulary"]
Progress = Callable[[str], None]
AT_ONCE = 8
"""Segments that the base encodes in one call."""


class Pool(NamedTuple):
    """Encoded segments of one split, each pool by itself."""

    facts: Facts
    told: Told
    """The segment that tells the facts."""
    distractors: Told
    questions: Float[Tensor, "names tokens features"]
    """The question of every name."""


class Answers(NamedTuple):
    """What was answered to every question of a set of texts."""

    logits: Logits
    words: Int[Tensor, " questions"]
    """What is right."""


class Plan(NamedTuple):
    """Budget of the training, the same for every number of facts."""

    steps: int = 600
    batch: int = 16
    """Texts of a step; each asks about all of its facts."""
    learning_rate: float = 0.001
    near: float = 0.5
    """Share of the steps at two segments; in the others a text has two to ``most``."""
    most: int = 8
    clip_norm: float = 1.0


def encode(base: Base, segments: list[list[int]], progress: Progress) -> Told:
    """Features behind the last norm, each segment by itself.

    Args:
        base: its body is called without gradient.
        segments: of one length.
        progress: called with a line now and then.
    """
    body, found = dissect(base.model).body, []
    with torch.no_grad():
        for start in range(0, len(segments), AT_ONCE):
            ids = torch.tensor(segments[start : start + AT_ONCE])
            found.append(features_of(body(input_ids=ids, use_cache=False)).half())
            if start // AT_ONCE % 25 == 0:
                progress(f"encoding segments: {start} of {len(segments)}")
    return torch.cat(found)


def make_pool(
    base: Base,
    language: Language,
    *,
    facts: int,
    texts: int,
    distractors: int,
    training: bool,
    seed: int,
    progress: Progress,
) -> Pool:
    """Draw and encode the segments of one split.

    Args:
        base: reads them.
        language: writes them.
        facts: of each text.
        texts: segments with facts.
        distractors: segments without.
        training: whether pairs that are held out are left out, or stand alone.
        seed: of everything that is drawn.
        progress: called with a line now and then.
    """
    generator = Generator().manual_seed(seed)
    drawn = language.draw(texts, facts, training, generator)
    told = [language.tell(text, generator) for text in drawn.tolist()]
    others = [language.distract(generator) for _ in range(distractors)]
    encoded = encode(base, told + others, progress)
    asked = [language.tokens(language.question(name)) for name in range(len(language.names))]
    return Pool(drawn, encoded[:texts], encoded[texts:], encode(base, asked, progress).float())


class Texts(NamedTuple):
    """Which segments make up each text; the question of each fact follows."""

    told: Int[Tensor, " texts"]
    distractors: Int[Tensor, "texts more"]


def compose(pool: Pool, texts: int | None, segments: int, generator: Generator) -> Texts:
    """Draw texts of ``segments`` segments, the one with the questions included.

    Args:
        pool: of one split.
        texts: how many, with replacement; ``None``: every text of the pool once.
        segments: two or more.
        generator: draws.
    """
    count = len(pool.told) if texts is None else texts
    told = torch.arange(count) if texts is None else torch.randint(len(pool.told), (count,), generator=generator)
    return Texts(told, torch.randint(len(pool.distractors), (count, segments - 2), generator=generator))


def answer(base: Base, memory: MemoryModule, pool: Pool, texts: Texts, control: Control = "on") -> Answers:
    """Logits behind the question of every fact of every text.

    Args:
        base: gives the output layer.
        memory: stands behind the last norm.
        pool: encoded segments.
        texts: of the pool.
        control: what an evaluation does to the reads.
    """
    cell, facts = memory.cell, pool.facts[texts.told]
    state = cell.initial_state(len(facts))
    for segment in (pool.told[texts.told], *pool.distractors[texts.distractors].unbind(1)):
        _, state, _ = cell(segment.float()[None], state)
    each = facts.shape[1]
    state = type(state)(*(part.repeat_interleave(each, 1) for part in state))
    questions = pool.questions[facts[..., 0].flatten()]
    changed, _, _ = cell(questions[None], state, None, control)
    return Answers(output(base, changed[0, :, -1]), facts[..., 1].flatten())


def output(base: Base, features: Float[Tensor, "questions features"]) -> Logits:
    """Logits of features behind the last norm."""
    return base.model.get_output_embeddings()(features)


def alone(base: Base, pool: Pool, texts: Texts) -> Answers:
    """The same of the base alone, which sees the question."""
    facts = pool.facts[texts.told]
    return Answers(output(base, pool.questions[facts[..., 0].flatten(), -1]), facts[..., 1].flatten())


def whole(base: Base, tokens: Int[Tensor, "questions time"], words: Int[Tensor, " questions"]) -> Answers:
    """The same of a base that sees the whole text, question included."""
    body, found = dissect(base.model).body, []
    with torch.no_grad():
        for start in range(0, len(tokens), AT_ONCE):
            features = features_of(body(input_ids=tokens[start : start + AT_ONCE], use_cache=False))
            found.append(output(base, features[:, -1]))
    return Answers(torch.cat(found), words)


def train(
    base: Base, memory: MemoryModule, pool: Pool, language: Language, plan: Plan, seed: int, progress: Progress
) -> None:
    """Train the memory, with the base frozen, to give the right word the highest logit of the whole vocabulary.

    Args:
        base: none of its weights moves.
        memory: is changed.
        pool: of training.
        language: knows the words' tokens.
        plan: the budget.
        seed: of the texts of each step.
        progress: called with a line now and then.
    """
    generator = Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(memory.parameters(), plan.learning_rate)
    for step in range(plan.steps):
        near = step < plan.near * plan.steps
        segments = 2 if near else int(torch.randint(2, plan.most + 1, (), generator=generator))
        found = answer(base, memory, pool, compose(pool, plan.batch, segments, generator))
        loss = F.cross_entropy(found.logits, language.answers[found.words])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(memory.parameters(), plan.clip_norm)
        optimiser.step()
        if (step + 1) % 100 == 0:
            progress(f"training: step {step + 1} of {plan.steps}, loss {loss.item():.3f}")


def score(found: Answers, language: Language) -> dict[str, Float[Tensor, " questions"]]:
    """Measures of every answer.

    ``exact``: the word has the highest logit of the vocabulary. ``forced``: of all words. ``probability``: of the word.
    ``confidence``: the largest probability. ``brier``: squared distance between the probabilities and the right answer
    [Brier 1950]; in [0, 2].
    """
    tokens = language.answers[found.words]
    probability = found.logits.detach().softmax(-1)
    right = probability.gather(1, tokens[:, None])[:, 0]
    return {
        "exact": (found.logits.argmax(1) == tokens).float(),
        "forced": (found.logits[:, language.answers].argmax(1) == found.words).float(),
        "probability": right,
        "confidence": probability.amax(1),
        "brier": probability.square().sum(1) - 2 * right + 1,
    }


def calibration_error(confidence: Iterable[float], right: Iterable[float], bins: int = 10) -> float:
    """Expected calibration error [Naeini et al. 2015; Guo et al. 2017, eq. 3], in [0, 1].

    Answers are sorted into ``bins`` equal intervals of their confidence; the error is the mean over answers of the
    distance between mean confidence and share of right answers of their interval.
    """
    sure, good = torch.tensor(list(confidence)), torch.tensor(list(right))
    place = (sure * bins).long().clamp(max=bins - 1)
    gaps = [(good[place == b].mean() - sure[place == b].mean()).abs() * (place == b).sum() for b in place.unique()]
    return float(torch.stack(gaps).sum() / len(sure))
