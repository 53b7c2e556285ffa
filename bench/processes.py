"""Runs the processes of a method, several at a time, and measures their wall time and their memory together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import workload
from palimpsest.foundation.errors import ToolError

SAMPLE_SECONDS = 0.5
_THREADS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Cost:
    """Wall time of a method from its first process to its last, and its peak memory."""

    seconds: float
    peak_memory_mb: float | None


def environment(*, one_thread: bool) -> dict[str, str]:
    """Return the environment of a process: one thread, set as in the pipeline, or torch's default."""
    inherited = {name: value for name, value in os.environ.items() if name not in _THREADS}
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"} if one_thread else {}
    paths = [str(workload.ROOT), str(workload.ROOT / "src")]
    return {**inherited, **threads, "PYTHONPATH": os.pathsep.join(paths)}


def run_all(commands: Sequence[Sequence[str]], *, at_a_time: int, one_thread: bool, device: str = "cpu") -> Cost:
    """Run commands of this Python, ``at_a_time`` at the same time, and measure them together.

    Args:
        commands: arguments of ``python``, one list a command.
        at_a_time: number of processes that run at the same time.
        one_thread: whether each process uses one thread.
        device: whose memory is measured: ``cpu`` for that of the processes, else that of the GPU.

    Raises:
        ToolError: a process failed; its last line of output is shown.
    """
    settings = environment(one_thread=one_thread)
    sampler = MemorySampler(device)
    with sampler, ThreadPoolExecutor(at_a_time) as pool:
        start = time.perf_counter()
        for done in pool.map(lambda command: run(command, settings), commands):
            if done.returncode:
                pool.shutdown(cancel_futures=True)
                lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
                raise ToolError(f"bench: {' '.join(done.args[1:3])}: exit status {done.returncode}: {lines[-1]}")
        seconds = time.perf_counter() - start
    return Cost(seconds, sampler.peak_mb)


def run(command: Sequence[str], settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command of this Python from the root of the project."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=workload.ROOT,
        env=dict(settings),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


class MemorySampler:
    """Samples the total memory of this process's children twice a second and keeps the maximum.

    On a CPU this is the sum of their proportional set sizes (shared pages are counted once), or of their resident sets
    where the system does not report the former. On a GPU it is the memory in use, according to the driver, minus what
    was in use before.
    """

    def __init__(self, device: str) -> None:
        self.peak_mb: float | None = None
        self._device = device
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._before = 0.0 if device == "cpu" else device_memory_mb() or 0.0

    def __enter__(self) -> MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.sample()

    def sample(self) -> None:
        """Take one sample."""
        used = children_memory_mb() if self._device == "cpu" else device_memory_mb()
        if used is not None:
            self.peak_mb = max(self.peak_mb or 0.0, used - self._before)


def children_memory_mb() -> float:
    """Return the memory of all child processes, in 10⁶ bytes."""
    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            memory = child.memory_full_info()
            total += getattr(memory, "pss", memory.rss)
        except psutil.AccessDenied:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 1e6


def device_memory_mb() -> float | None:
    """Return the memory in use on the first GPU, in 10⁶ bytes, or ``None`` if the driver's tool is missing."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return float(answer.stdout) * 2**20 / 1e6 if answer.returncode == 0 and answer.stdout.strip() else None


def finished(folder: Path) -> int:
    """Count the runs below a folder that have written their last file."""
    return sum(1 for _ in folder.rglob("final.json"))
