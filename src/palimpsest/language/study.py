"""What a memory does beside a pretrained model: untrained and trained, one fact and several, near and far (source 003).

One table, a row for each set of answers: who answered, over how many segments, under which control, and how well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Generator

from palimpsest.foundation.files import write_text
from palimpsest.foundation.sections import Section
from palimpsest.language import recall
from palimpsest.language.attachment import attach
from palimpsest.language.facts import Language
from palimpsest.language.module import MemoryModule
from palimpsest.language.pretrained import Base
from palimpsest.language.recall import Answers, Plan, Pool, Progress, Texts
from palimpsest.language.study_rows import (
    ALONE,
    RANDOM,
    RECALL,
    TRAINED,
    TRANSCRIPTS,
    WHOLE,
    WORDS,
    Row,
    Transcript,
)
from palimpsest.memory.control import Control

CONTROLS: tuple[Control, ...] = ("on", "off", "shuffled")
Count = Annotated[int, Field(ge=1)]
Segments = Annotated[int, Field(ge=2)]


class Study(Section):
    """Parameters of the study; budgets are the same for every number of facts."""

    facts: tuple[Count, ...] = Field((1, 2, 4), description="facts of a text; each is asked for")
    seeds: tuple[int, ...] = Field((0, 1, 2), description="of memories that are trained, and of their texts")
    words: int = Field(WORDS, ge=8, le=32, description="names, and as many secret words")
    held_out: int = Field(4, ge=1, le=16, description="words that go with each name in tests alone")
    segment: int = Field(64, ge=16, description="tokens of a segment")
    texts: int = Field(600, ge=2, description="segments with facts in training")
    distractors: int = Field(120, ge=1, description="segments without facts, of each split")
    test_texts: int = Field(200, ge=2, description="texts of the test")
    test_segments: tuple[Segments, ...] = Field((2, 4, 8, 32), description="segments of the test's texts")
    whole_segments: tuple[Segments, ...] = Field((2, 4), description="those at which the base is shown everything")
    num_slots: int = Field(16, ge=1, description="slots of the memory that is trained")
    slot_dim: int = Field(64, ge=1, description="features of a slot")
    num_heads: int = Field(4, ge=1, description="heads; divides slot_dim")
    initial_gain: float = Field(8.0, description="gain before training; a feature behind the last norm is about 2")
    untrained: int = Field(10, ge=1, description="random memories of the source's sizes and rates")
    steps: int = Field(600, ge=1, description="steps of training")
    batch: int = Field(16, ge=1, description="texts of a step")
    learning_rate: float = Field(0.001, gt=0, description="step size of Adam")
    near: float = Field(0.5, ge=0, le=1, description="share of the steps at two segments")
    most_segments: Segments = Field(8, description="most segments in training")
    transcripts: int = Field(6, ge=0, description="texts of which answers are written down, of each number of facts")

    @model_validator(mode="after")
    def _lengths_are_tested(self) -> Study:
        missing = sorted(set(self.whole_segments) - set(self.test_segments))
        if missing:
            raise ValueError(f"whole_segments {missing[0]}; allowed: {', '.join(map(str, self.test_segments))}")
        return self

    @property
    def plan(self) -> Plan:
        """Budget of the training."""
        return Plan(self.steps, self.batch, self.learning_rate, self.near, self.most_segments)

    def memory(self, features: int, seed: int) -> MemoryModule:
        """A memory to train, at full rates."""
        return MemoryModule(
            features,
            self.num_slots,
            self.slot_dim,
            self.num_heads,
            segment=self.segment,
            update_rate=1.0,
            feedback=1.0,
            blend=1.0,
            initial_gain=self.initial_gain,
            seed=seed,
        )


def run(study: Study, base: Base, folder: Path, memories: Path, progress: Progress) -> None:
    """Run the study and write its tables; trained memories of the first seed are kept.

    Args:
        study: its parameters.
        base: the pretrained model.
        folder: for :data:`RECALL` and :data:`TRANSCRIPTS`.
        memories: for the memories, a folder each: ``facts-1`` and so on.
        progress: called with a line now and then.
    """
    language = Language(base.tokenizer, study.words, study.segment, study.held_out)
    rows: list[Row] = []
    said: list[Transcript] = []
    for facts in study.facts:
        training, test = (_pool(study, base, language, facts, split, progress) for split in (True, False))
        rows += _without_training(study, base, language, test)
        for seed in study.seeds:
            progress(f"{facts} facts, seed {seed}")
            memory = study.memory(base.model.config.hidden_size, seed)
            recall.train(base, memory, training, language, study.plan, seed, progress)
            rows += _with(study, base, language, test, memory, (TRAINED, seed))
            if seed == study.seeds[0]:
                memory.save_pretrained(memories / f"facts-{facts}")
                said += transcripts(study, base, language, memory, facts)
    write_text(folder / RECALL, _csv(rows, Row))
    write_text(folder / TRANSCRIPTS, _csv(said, Transcript))


def _pool(study: Study, base: Base, language: Language, facts: int, training: bool, progress: Progress) -> Pool:
    return recall.make_pool(
        base,
        language,
        facts=facts,
        texts=study.texts if training else study.test_texts,
        distractors=study.distractors,
        training=training,
        seed=2 * facts + training,
        progress=progress,
    )


def _test_texts(study: Study, pool: Pool) -> Iterator[tuple[int, Texts]]:
    """The texts of each length: the same for whoever answers."""
    for segments in study.test_segments:
        yield segments, recall.compose(pool, None, segments, Generator().manual_seed(segments))


def _without_training(study: Study, base: Base, language: Language, pool: Pool) -> Iterator[Row]:
    """The base alone, the base that sees all, and random memories as the source has them."""
    facts = pool.facts.shape[1]
    for segments, texts in _test_texts(study, pool):
        yield _row(recall.alone(base, pool, texts), language, (facts, ALONE, 0, segments, "on"))
        if segments in study.whole_segments:
            shown = _shown(study, base, language, pool, segments)
            yield _row(shown, language, (facts, WHOLE, 0, segments, "on"))
    for seed in range(study.untrained):
        memory = MemoryModule.for_model(base.model, segment=study.segment, seed=seed)
        yield from _with(study, base, language, pool, memory, (RANDOM, seed), controls=("on",))


def _with(
    study: Study,
    base: Base,
    language: Language,
    pool: Pool,
    memory: MemoryModule,
    who: tuple[str, int],
    controls: tuple[Control, ...] = CONTROLS,
) -> Iterator[Row]:
    facts = pool.facts.shape[1]
    with torch.no_grad():
        for segments, texts in _test_texts(study, pool):
            for control in controls:
                found = recall.answer(base, memory, pool, texts, control)
                yield _row(found, language, (facts, *who, segments, control))


def _shown(study: Study, base: Base, language: Language, pool: Pool, segments: int) -> Answers:
    """A base that sees every segment, about the first fact of each text; distractors are drawn anew."""
    generator = Generator().manual_seed(segments)
    rows = []
    for text in pool.facts.tolist():
        told = language.tell(text, generator)
        others = [language.distract(generator) for _ in range(segments - 2)]
        rows.append(
            [*told, *(token for other in others for token in other), *language.tokens(language.question(text[0][0]))]
        )
    return recall.whole(base, torch.tensor(rows), pool.facts[:, 0, 1])


def _row(found: Answers, language: Language, who: tuple[int, str, int, int, str]) -> Row:
    scores = recall.score(found, language)
    error = recall.calibration_error(scores["confidence"].tolist(), scores["exact"].tolist())
    exact, forced, probability, confidence, brier = (float(value.mean()) for value in scores.values())
    return Row(*who, len(found.words), exact, forced, probability, confidence, brier, error)


def transcripts(study: Study, base: Base, language: Language, memory: MemoryModule, facts: int) -> Iterator[Transcript]:
    """What is said about held-out facts, by the base alone and with the memory attached, word by word."""
    generator = Generator().manual_seed(facts)
    lengths = study.test_segments
    for number, text in enumerate(language.draw(study.transcripts, facts, False, generator).tolist()):
        segments = lengths[number % len(lengths)]
        parts = [language.tell(text, generator), *(language.distract(generator) for _ in range(segments - 2))]
        name, word = text[0]
        question = language.question(name)
        without = continued(base, question)
        with attach(base.model, memory), torch.no_grad():
            for part in parts:
                base.model(torch.tensor([part]), use_cache=False)
            said = continued(base, question)
        yield Transcript(facts, segments, question.strip(), language.words[word], without, said)


def continued(base: Base, text: str, tokens: int = 12) -> str:
    """The likeliest next tokens, on one line."""
    ids = torch.tensor([base.tokenizer(text, add_special_tokens=False).input_ids])
    made = base.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=0
    )
    return " ".join(base.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).split())


def _csv(rows: Sequence[Row] | Sequence[Transcript], kind: type[Row] | type[Transcript]) -> str:
    return pd.DataFrame(rows, columns=kind._fields).to_csv(index=False, lineterminator="\n", float_format="%.4f")
