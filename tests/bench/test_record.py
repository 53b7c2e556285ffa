"""How a measurement is kept: rows by device, numbers as they should be read, notes without a host or a path."""

import getpass
import json
import platform
from pathlib import Path

import pytest

from bench import machine, record
from palimpsest.foundation.errors import DataError

COLUMNS = ("device", "name", "value")


def save(results: Path, device: str, *values: float) -> Path:
    rows = [{"device": device, "name": f"row {index}", "value": value} for index, value in enumerate(values)]
    return record.save(results, "made_up", COLUMNS, rows, {"command": f"measure {device}"}, device)


def test_a_measurement_replaces_the_rows_of_its_own_device(tmp_path: Path) -> None:
    save(tmp_path, "cuda", 7.0)
    save(tmp_path, "cpu", 1.0, 2.0)
    path = save(tmp_path, "cpu", 3.0)
    assert path.read_text() == "device,name,value\ncpu,row 0,3\ncuda,row 0,7\n"
    notes = json.loads((tmp_path / "machine.json").read_text())
    assert notes == {"made_up": {"cpu": {"command": "measure cpu"}, "cuda": {"command": "measure cuda"}}}


def test_values_have_four_digits_and_nothing_stands_for_what_was_not_measured(tmp_path: Path) -> None:
    text = save(tmp_path, "cpu", 123456.0, 0.000123456, float("nan")).read_text()
    assert [line.rpartition(",")[2] for line in text.splitlines()[1:]] == ["123500", "0.0001235", ""]


def test_a_file_with_other_columns_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "made_up.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"made_up.csv: columns \['a', 'b'\]; allowed: device, name, value"):
        save(tmp_path, "cpu", 1.0)
    assert (tmp_path / "made_up.csv").read_text() == "a,b\n1,2\n"


def test_the_notes_name_the_machine_but_neither_host_nor_user_nor_path() -> None:
    about = record.about("python -m bench made_up", "cpu")
    assert about["command"] == "python -m bench made_up"
    assert 0 <= about["busy"] <= 1
    assert {"cpu", "cores", "memory_gb", "torch", "blas", "onednn", "default_threads", "python", "system"} <= set(
        about["machine"]
    )
    text = json.dumps(about["machine"])
    assert platform.node() not in text or len(platform.node()) < 3
    assert str(Path.home()) not in text
    assert getpass.getuser() not in text
    assert platform.release() not in text
    assert about["machine"]["cores"] == machine.cores() >= 1
