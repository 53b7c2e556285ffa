"""The tables of a study of a pretrained model: their files, columns, and the names of who answers."""

from __future__ import annotations

from typing import NamedTuple

TRAINED, RANDOM, ALONE, WHOLE = "trained", "untrained", "alone", "sees all"
RECALL, TRANSCRIPTS = "recall.csv", "transcripts.csv"
WORDS = 24
"""Secret words of a study, unless it says otherwise: a guess is right once in so many."""


class Row(NamedTuple):
    """How one set of questions was answered; measures as of :func:`palimpsest.language.recall.score`, means."""

    facts: int
    memory: str
    seed: int
    segments: int
    control: str
    questions: int
    exact: float
    forced: float
    probability: float
    confidence: float
    brier: float
    calibration_error: float


class Transcript(NamedTuple):
    """What is said to one question."""

    facts: int
    segments: int
    question: str
    right: str
    alone: str
    with_memory: str
