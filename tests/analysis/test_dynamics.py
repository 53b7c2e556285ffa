"""What memories did, computed by hand for traces of two or three examples, and traces that must be refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from palimpsest.analysis import dynamics, experiment_tables
from palimpsest.cli.door import app
from palimpsest.foundation.errors import DataError
from palimpsest.foundation.tensors import write_tensors
from palimpsest.memory import lifecycle
from palimpsest.planning import plan
from palimpsest.planning.parameters import Params
from tests.analysis import made_up
from tests.training import presets


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    params = presets.read(tmp_path)
    made_up.write_tree(params, tmp_path)
    return dynamics.write_positions(params, tmp_path, "tiny")


def one_run(table: pd.DataFrame, alignment: str) -> list[list[float]]:
    chosen = table[(table["mem_lambda"] == 0.1) & (table["seed"] == 1) & (table["alignment"] == alignment)]
    return chosen[["position", "gate_mean", "write_mean", "n"]].to_numpy(dtype=float).tolist()


def test_by_position(table):
    assert one_run(table, "absolute") == [[0, 0, 0, 2], [1, 0.5, 0.5, 2], [2, 0.5, 1, 2], [3, 0.5, 0.5, 2]]


def test_by_distance_from_the_answer(table):
    # answers at 1 and 3: offsets −1…2 and −3…0
    expected = [[-3, 0, 0, 1], [-2, 0, 0, 1], [-1, 0.25, 0.5, 2], [0, 0.875, 1, 2], [1, 0.5, 1, 1], [2, 0.25, 0, 1]]
    assert one_run(table, "from_answer") == expected


def test_models_without_memory_give_no_rows(table):
    assert set(table["model"]) == {"nema_lite"}


def test_it_reads_back_as_it_was(table, tmp_path):
    table.to_csv(tmp_path / "w.csv", index=False)
    pd.testing.assert_frame_equal(dynamics.read_write_positions(tmp_path / "w.csv"), table)


@pytest.mark.parametrize("damage", ["missing", "corrupt", "shape", "answer"])
def test_a_broken_trace_is_named(tmp_path: Path, damage: str):
    params = presets.read(tmp_path)
    made_up.write_tree(params, tmp_path)
    path = tmp_path / "results/tiny/track=repaired/model=nema_lite/mem_lambda=0/write_threshold=0.5/seed=2"
    path /= "trace.safetensors"
    trace = {"write_gate": torch.zeros(2, 4), "writes": torch.zeros(2, 4), "answer_position": torch.tensor([1, 3])}
    if damage == "missing":
        path.unlink()
    elif damage == "corrupt":
        path.write_bytes(path.read_bytes()[:20])
    elif damage == "shape":
        write_tensors(path, {**trace, "writes": torch.zeros(2, 3)})
    else:
        write_tensors(path, {**trace, "answer_position": torch.tensor([1, 3, 3])})
    with pytest.raises(DataError, match=str(path)):
        dynamics.write_positions(params, tmp_path, "tiny")


RUN = "results/tiny/track=repaired/model=nema_lite/mem_lambda=0/write_threshold=0.5/seed=0"
FREE, RETAIN, UPDATE, WRITE, FORGET, REPLACE = range(len(dynamics.OPERATIONS))
STEPPED: dict[str, torch.Tensor] = {  # three examples of eight tokens, in two memory steps, with three slots
    "inputs": torch.zeros(3, 8, dtype=torch.int16),
    "answer_position": torch.tensor([1, 4, -1]),
    "write_gate": torch.tensor([[1.0, 0.0], [0.5, 0.25], [0.0, 0.75]]),
    "writes": torch.tensor([[1, 0], [1, 0], [0, 1]], dtype=torch.uint8),
    "utilisation": torch.tensor([[0.25, 0.5], [0.75, 0.5], [0.5, 0.5]]),
    "age_steps": torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]),
    "operations": torch.tensor(
        [
            [[WRITE, FREE, FREE], [RETAIN, FREE, FREE]],
            [[WRITE, UPDATE, FREE], [UPDATE, FORGET, FREE]],
            [[RETAIN, FREE, FREE], [REPLACE, FREE, FREE]],
        ],
        dtype=torch.uint8,
    ),
}


def stepped(root: Path, run: str = RUN, **changes: torch.Tensor | None) -> Params:
    """A tree of runs, of which one has a memory that steps once a chunk."""
    params = presets.read(root)
    made_up.write_tree(params, root)
    trace = {name: value for name, value in {**STEPPED, **changes}.items() if value is not None}
    write_tensors(root / run / "trace.safetensors", trace)
    return params


class TestPositionsOfAMemoryThatStepsOnceAChunk:
    def positions(self, root: Path, alignment: str, **changes: torch.Tensor) -> list[list[float]]:
        table = dynamics.write_positions(stepped(root, **changes), root, "tiny")
        chosen = table[(table["mem_lambda"] == 0) & (table["seed"] == 0) & (table["alignment"] == alignment)]
        return chosen[["position", "gate_mean", "write_mean", "n"]].to_numpy(dtype=float).tolist()

    def test_count_its_steps(self, tmp_path):
        assert self.positions(tmp_path, "absolute") == [[0, 0.5, pytest.approx(2 / 3), 3], [1, 1 / 3, 1 / 3, 3]]

    def test_are_those_from_the_step_of_the_answer_without_examples_that_have_none(self, tmp_path):
        # tokens 1 and 4 of 8 come by at steps 0 and 1 of 2; the third example has no answer's place
        assert self.positions(tmp_path, "from_answer") == [[-1, 0.5, 1, 1], [0, 0.625, 0.5, 2], [1, 0, 0, 1]]

    def test_are_only_absolute_where_no_example_has_an_answer(self, tmp_path):
        assert self.positions(tmp_path, "from_answer", answer_position=torch.tensor([-1, -1, -1])) == []

    @given(length=st.integers(1, 60), chunk=st.integers(1, 8), data=st.data())
    def test_put_a_token_into_its_chunk(self, length, chunk, data):
        token = data.draw(st.integers(0, length * chunk - 1))
        trace = {"inputs": np.zeros((1, length * chunk)), "answer_position": np.array([token])}
        assert dynamics.answer_step(Path("t"), trace, 1, length).tolist() == [token // chunk]


class TestLifecycle:
    def test_its_words_are_in_the_order_of_the_codes(self):
        codes = {
            "free": lifecycle.FREE,
            "retain": lifecycle.RETAINED,
            "update": lifecycle.UPDATED,
            "write": lifecycle.WRITTEN,
            "forget": lifecycle.FORGOTTEN,
            "replace": lifecycle.REPLACED,
        }
        assert {word: code for code, word in enumerate(dynamics.OPERATIONS)} == codes

    def test_is_what_happened_to_each_slot_of_the_first_example(self, tmp_path):
        table = dynamics.lifecycle(stepped(tmp_path), tmp_path, "tiny")
        assert list(table.columns) == [
            *("experiment", "track", "model", "mem_lambda", "write_threshold"),
            *("seed", "example", "answer_step", "step", "slot", "operation"),
        ]
        assert table[["seed", "example", "answer_step"]].drop_duplicates().to_numpy().tolist() == [[0, 0, 0]]
        assert table[["step", "slot", "operation"]].to_numpy().tolist() == [
            *([0, 0, "write"], [0, 1, "free"], [0, 2, "free"]),
            *([1, 0, "retain"], [1, 1, "free"], [1, 2, "free"]),
        ]

    def test_is_of_the_first_seed_alone(self, tmp_path):
        table = dynamics.lifecycle(stepped(tmp_path, RUN.replace("seed=0", "seed=1")), tmp_path, "tiny")
        assert len(table) == 0

    def test_names_every_operation(self, tmp_path):
        codes = torch.arange(6, dtype=torch.uint8).reshape(1, 2, 3).repeat(3, 1, 1)
        table = dynamics.lifecycle(stepped(tmp_path, operations=codes), tmp_path, "tiny")
        assert table["operation"].tolist() == ["free", "retain", "update", "write", "forget", "replace"]

    def test_has_no_answer_where_the_task_has_none(self, tmp_path):
        table = dynamics.lifecycle(stepped(tmp_path, answer_position=None), tmp_path, "tiny")
        assert set(table["answer_step"]) == {-1}

    def test_reads_back_as_it_was(self, tmp_path):
        table = dynamics.lifecycle(stepped(tmp_path), tmp_path, "tiny")
        table.to_csv(tmp_path / "l.csv", index=False)
        pd.testing.assert_frame_equal(dynamics.read_lifecycle(tmp_path / "l.csv"), table)

    def test_with_another_word_is_refused(self, tmp_path):
        table = dynamics.lifecycle(stepped(tmp_path), tmp_path, "tiny").replace("retain", "keep")
        table.to_csv(tmp_path / "l.csv", index=False)
        with pytest.raises(DataError, match="column 'operation', row 5: 'keep'; allowed: free, retain, update, write"):
            dynamics.read_lifecycle(tmp_path / "l.csv")


class TestWithinSequence:
    COLUMNS = ("step", "utilisation", "age_steps", "write_ratio", "update_rate", "forget_rate", "n")

    def rows(self, root: Path, **changes: torch.Tensor | None) -> list[list[float]]:
        table = dynamics.within_sequence(stepped(root, **changes), root, "tiny")
        assert list(table.columns)[5:] == ["seed", *self.COLUMNS]
        return table[list(self.COLUMNS)].to_numpy(dtype=float).tolist()

    def test_are_means_over_examples_by_step(self, tmp_path):
        assert self.rows(tmp_path) == [
            pytest.approx([0, 0.5, 0, 2 / 3, 1 / 9, 0, 3]),
            pytest.approx([1, 0.5, 2, 1 / 3, 1 / 9, 2 / 9, 3]),
        ]

    def test_leave_empty_what_a_trace_lacks(self, tmp_path):
        rows = self.rows(tmp_path, utilisation=None, age_steps=None)
        assert np.isnan(np.array(rows)).tolist() == [[False, True, True, *[False] * 4]] * 2

    def test_agree_with_the_operations_counted_one_by_one(self, tmp_path):
        codes = torch.randint(0, 6, (3, 2, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
        for step, row in enumerate(self.rows(tmp_path, operations=codes)):
            happened = [[int(code) for code in example[step]] for example in codes]
            slots = [code for example in happened for code in example]
            assert row[3] == pytest.approx(sum(WRITE in slots or REPLACE in slots for slots in happened) / 3)
            assert row[4] == pytest.approx(slots.count(UPDATE) / 9)
            assert row[5] == pytest.approx((slots.count(FORGET) + slots.count(REPLACE)) / 9)

    def test_read_back_as_they_were(self, tmp_path):
        table = dynamics.within_sequence(stepped(tmp_path), tmp_path, "tiny")
        table.to_csv(tmp_path / "w.csv", index=False)
        pd.testing.assert_frame_equal(dynamics.read_within_sequence(tmp_path / "w.csv"), table)


@pytest.mark.parametrize("name", ["lifecycle", "within_sequence"])
def test_without_operations_there_is_a_header_alone(tmp_path: Path, name: str):
    params = presets.read(tmp_path)
    made_up.write_tree(params, tmp_path)
    table = getattr(dynamics, name)(params, tmp_path, "tiny")
    assert len(table) == 0
    table.to_csv(tmp_path / "e.csv", index=False)
    assert list(getattr(dynamics, f"read_{name}")(tmp_path / "e.csv").columns) == list(table.columns)


def test_the_command_writes_every_table_and_each_reads_back(tmp_path: Path):
    stepped(tmp_path)
    arguments = ["dynamics", "tiny", "--params", str(tmp_path / "params.yaml"), "--root", str(tmp_path)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    rows = {name: len(table) for name, table in experiment_tables.read(tmp_path, "tiny").items()}
    assert list(rows) == list(plan.EXPERIMENT_TABLES)
    assert set(rows) == {path.stem for path in (tmp_path / "results/tiny").glob("*.csv")}
    assert rows["learning_curves"] == 9 * 3  # three cells of three seeds, of three epochs
    assert rows["training_steps"] == 9 * 9
    assert rows["lifecycle"] == 2 * 3
    assert rows["within_sequence"] == 2
    assert rows["generalisation"] == rows["outputs"] == rows["weightings"] == 0


PLACE, CODES, FIELD = ("write_positions", "lifecycle"), ("lifecycle", "within_sequence"), ("within_sequence",)


@pytest.mark.parametrize(
    ("names", "changes", "problem"),
    [
        (PLACE, {"answer_position": torch.tensor([1, 8, -1])}, "answer_position 8; allowed: 0 to 7, or -1 for none"),
        (PLACE, {"answer_position": torch.tensor([1, -2, -1])}, "answer_position -2; allowed: 0 to 7, or -1 for none"),
        (PLACE, {"answer_position": torch.tensor([1])}, "answer_position (1,); allowed: (3,)"),
        (PLACE, {"inputs": torch.zeros(2, 8)}, "inputs (2, 8); allowed: (3, tokens), tokens ≥ 2 steps"),
        (PLACE, {"inputs": torch.zeros(3, 1)}, "inputs (3, 1); allowed: (3, tokens), tokens ≥ 2 steps"),
        (CODES, {"operations": torch.full((3, 2, 3), 6)}, "operations: code 6; allowed: 0 free, 1 retain, 2 update"),
        (CODES, {"operations": torch.zeros(3, 2)}, "operations (3, 2); allowed: (examples, steps, slots)"),
        (CODES, {"operations": torch.zeros(3, 0, 3)}, "operations (3, 0, 3); allowed: (examples, steps, slots)"),
        (FIELD, {"utilisation": torch.zeros(3, 3)}, "utilisation (3, 3); allowed: (3, 2), as for operations"),
    ],
)
def test_a_trace_that_cannot_be_is_named_by_all_who_need_it(
    tmp_path: Path, names: tuple[str, ...], changes: dict[str, Any], problem: str
):
    params = stepped(tmp_path, **changes)
    for name in names:
        with pytest.raises(DataError) as caught:
            getattr(dynamics, name)(params, tmp_path, "tiny")
        assert str(caught.value).startswith(f"{tmp_path / RUN / 'trace.safetensors'}: {problem}")
        assert "\n" not in str(caught.value)
