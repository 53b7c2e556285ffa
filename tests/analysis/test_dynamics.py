"""Write positions, computed by hand for a trace of two examples and four tokens."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from palimpsest.analysis import dynamics
from palimpsest.errors import DataError
from palimpsest.tensors import write_tensors
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
