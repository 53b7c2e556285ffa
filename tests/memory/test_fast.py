"""A compiled step says what the step itself says, forwards and backwards; all else of it is held with its cells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from palimpsest.memory.fast.dnc import DNCAccess
from palimpsest.memory.fast.ntm import NTMAccess
from palimpsest.memory.fast.sequence import Access

HOME = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["ntm", "dnc"])
def test_a_compiled_step_is_the_step(name: str) -> None:
    command = [sys.executable, "-m", "tests.memory.compiled_step", name]
    done = subprocess.run(command, cwd=HOME, env={**os.environ, "PYTHONPATH": "src"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, graphs, worst = done.stdout.split()
    assert (before, graphs) == ("0", "2")  # one forwards, one backwards, however many steps there are
    assert float(worst) < 1e-5


def test_accesses_of_equal_sizes_are_equal_and_share_a_compiled_step() -> None:
    accesses: list[Access] = [NTMAccess((8, 4, 6, 4, 6)), DNCAccess(2, 4)]
    assert accesses == [NTMAccess((8, 4, 6, 4, 6)), DNCAccess(2, 4)]
    assert len({*accesses, NTMAccess((8, 4, 6, 4, 6)), DNCAccess(2, 4), DNCAccess(4, 2)}) == 3
