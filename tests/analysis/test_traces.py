"""Traces of runs: every run's place and key, fields as they were written, what is broken by its path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from palimpsest.analysis import runs, traces
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.tensors import write_tensors
from tests.analysis import made_up
from tests.training import presets


def test_every_run_has_its_trace_and_its_key(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    made_up.write_tree(params, tmp_path)
    found = list(traces.traces(params, tmp_path, "tiny"))
    written = {path for path in (tmp_path / "results/tiny").rglob("seed=*") if path.is_dir()}
    assert {path.parent for path, _ in found} == written
    for path, spec in found:
        key = runs.key_of(spec)
        assert list(key)[:3] == ["experiment", "track", "model"]
        assert path.name == "trace.safetensors"
        assert path.parent.name == f"seed={key['seed']}"
        assert f"track={key['track']}" in path.parts
        assert f"model={key['model']}" in path.parts
    assert len({tuple(runs.key_of(spec).items()) for _, spec in found}) == len(found)


def test_finding_traces_reads_none(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    made_up.write_tree(params, tmp_path)
    everything = len(list(traces.traces(params, tmp_path, "tiny")))
    assert len(list(traces.traces(params, tmp_path / "elsewhere", "tiny"))) == everything > 0


def test_an_unknown_experiment_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"'other': no such experiment; allowed: "):
        next(traces.traces(presets.read(tmp_path), tmp_path, "other"))


def test_fields_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "trace.safetensors"
    write_tensors(path, {"inputs": torch.tensor([[1, 2]], dtype=torch.int16), "gate": torch.tensor([0.5]).half()})
    read = traces.read_trace(path)
    assert set(read) == {"inputs", "gate"}
    assert (read["inputs"].dtype, read["gate"].dtype) == (np.int16, np.float16)
    assert (read["inputs"].tolist(), read["gate"].tolist()) == ([[1, 2]], [0.5])


@pytest.mark.parametrize("content", [None, b"", b"\x08\x00"])
def test_a_trace_that_is_missing_or_cut_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "trace.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)):
        traces.read_trace(path)
