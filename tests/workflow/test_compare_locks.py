"""What `make reproduce` says of two builds."""

import subprocess
import sys
from pathlib import Path

import yaml

from tests.workflow.project import HOME


def compare(folder: Path, new: dict[str, str]) -> subprocess.CompletedProcess[str]:
    old = {"results": "a.dir", "paper/paper.pdf": "b", ".snakemake/metadata": "c.dir"}
    for name, outs in (("old", old), ("new", new)):
        listed = [{"path": path, "hash": "md5", "md5": md5} for path, md5 in outs.items()]
        (folder / name).write_text(yaml.safe_dump({"schema": "2.0", "stages": {"pipeline": {"outs": listed}}}))
    command = [sys.executable, HOME / "workflow/compare_locks.py", folder / "old", folder / "new"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_same_products_at_other_times_are_the_same(tmp_path: Path) -> None:
    done = compare(tmp_path, {"results": "a.dir", "paper/paper.pdf": "b", ".snakemake/metadata": "d.dir"})
    assert done.returncode == 0
    assert done.stdout.count("same") == 2


def test_another_product_is_named(tmp_path: Path) -> None:
    done = compare(tmp_path, {"results": "a.dir", "paper/paper.pdf": "x", ".snakemake/metadata": "c.dir"})
    assert done.returncode == 1
    assert [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("DIFFERS")] == ["paper/paper.pdf"]


def test_a_missing_product_is_a_difference(tmp_path: Path) -> None:
    assert compare(tmp_path, {"results": "a.dir", ".snakemake/metadata": "c.dir"}).returncode == 1
