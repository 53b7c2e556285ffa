"""The study of a pretrained model: a row for every set of answers, the same bytes for the same seed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.language import study
from palimpsest.language.module import MemoryModule
from palimpsest.language.pretrained import Base
from palimpsest.language.study import Study
from palimpsest.language.study_rows import RECALL, TRANSCRIPTS
from tests.language.bases import reader

SMALL = Study(
    facts=(1, 2),
    seeds=(0, 1),
    words=12,
    segment=24,
    texts=8,
    distractors=3,
    test_texts=5,
    test_segments=(2, 3),
    whole_segments=(2,),
    num_slots=4,
    slot_dim=8,
    num_heads=2,
    untrained=2,
    steps=3,
    batch=2,
    most_segments=3,
    transcripts=2,
)


def ran(folder: Path) -> dict[str, str]:
    study.run(SMALL, Base(*reader()), folder, folder / "memories", lambda line: None)
    return {name: (folder / name).read_text(encoding="utf-8") for name in (RECALL, TRANSCRIPTS)}


def test_there_is_a_row_for_whoever_answers_and_the_bytes_repeat(tmp_path: Path) -> None:
    first = ran(tmp_path / "a")
    assert ran(tmp_path / "b") == first
    table = pd.read_csv(tmp_path / "a" / RECALL)
    rows = table.groupby(["facts", "memory"]).size()
    for facts in (1, 2):
        assert rows[facts, "alone"] == 2  # lengths
        assert rows[facts, "sees all"] == 1
        assert rows[facts, "untrained"] == 2 * 2  # memories
        assert rows[facts, "trained"] == 2 * 2 * 3  # seeds and controls
    answered = table.set_index("memory")
    assert (answered.loc["trained"].questions == 5 * answered.loc["trained"].facts).all()
    assert (answered.loc["sees all"].questions == 5).all()
    measures = table[["exact", "forced", "probability", "confidence", "calibration_error"]]
    assert ((measures >= 0) & (measures <= 1)).all(axis=None)
    said = pd.read_csv(tmp_path / "a" / TRANSCRIPTS)
    assert len(said) == 2 * SMALL.transcripts


def test_without_reads_a_trained_memory_answers_as_the_base_alone(tmp_path: Path) -> None:
    ran(tmp_path)
    table = pd.read_csv(tmp_path / RECALL).query("segments == 2").set_index(["facts", "memory"])
    for facts in (1, 2):
        off = table.loc[(facts, "trained")].query("control == 'off'")
        assert (off.probability == table.loc[(facts, "alone")].probability.item()).all()


def test_the_first_memory_of_each_number_of_facts_is_kept(tmp_path: Path) -> None:
    ran(tmp_path)
    found = MemoryModule.from_pretrained(tmp_path / "memories/facts-2")
    assert (found.cell.num_slots, found.cell.segment, found.layer) == (4, 24, "last")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"whole_segments": [16]}, r"study.yaml: whole_segments 16; allowed: 2, 4, 8, 32"),
        ({"steps": 0}, r"study.yaml: steps: "),
        ({"step": 3}, r"study.yaml: step: .*unknown key"),
    ],
)
def test_wrong_parameters_are_one_line(content: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        checked(Study, content, "study.yaml")
