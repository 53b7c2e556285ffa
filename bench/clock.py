"""Timing within one process: the median over rounds, each of which calls every function that is compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Key = TypeVar("Key", bound=Hashable)
AT_LEAST = 0.2
"""Least number of seconds of one measurement; shorter calls are repeated."""
Clock = Callable[[], float]
"""Returns seconds since a fixed time."""
console = Console(stderr=True)


def bar(title: str, total: int) -> tuple[Progress, Callable[[str], None]]:
    """Return a progress bar and the function that advances it; in a log, each advance is one line."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=console, disable=not console.is_terminal)
    task = progress.add_task(title, total=total)
    done = 0

    def advance(text: str) -> None:
        nonlocal done
        done += 1
        if console.is_terminal:
            progress.update(task, completed=done, description=f"{title}: {text}")
        else:
            console.print(f"{title}: {done}/{total}: {text}", soft_wrap=True, highlight=False)

    return progress, advance


def wall_time() -> float:
    """Return wall-clock seconds."""
    return time.perf_counter()


def cpu_time() -> float:
    """Return CPU seconds of this process; for one thread on an idle machine, the same as :func:`wall_time`."""
    return time.process_time()


def per_call(
    function: Callable[[], Any], device: str = "cpu", at_least: float = AT_LEAST, clock: Clock = wall_time
) -> float:
    """Return the seconds of one call, as the mean over as many calls as fill ``at_least`` seconds."""
    finish(device)
    start, calls, elapsed = clock(), 0, 0.0
    while elapsed < at_least or not calls:
        function()
        finish(device)
        calls, elapsed = calls + 1, clock() - start
    return elapsed / calls


def finish(device: str) -> None:
    """Wait until a GPU has finished all queued work."""
    if device != "cpu":
        torch.cuda.synchronize()


def interleaved(
    functions: Mapping[Key, Callable[[], Any]],
    rounds: int,
    title: str,
    device: str = "cpu",
    at_least: float = AT_LEAST,
    clock: Clock = wall_time,
) -> dict[Key, float]:
    """Return the median seconds of a call of each function: one call to warm up, then one measurement in each round."""
    seconds: dict[Key, list[float]] = {key: [] for key in functions}
    progress, advance = bar(title, (rounds + 1) * len(functions))
    with progress:
        for number in range(rounds + 1):
            for key, function in functions.items():
                if number:
                    seconds[key].append(per_call(function, device, at_least, clock))
                else:
                    function()
                words = key if isinstance(key, tuple) else (key,)
                advance(" ".join(["warm-up" if not number else f"round {number} of {rounds}:", *map(str, words)]))
    return {key: statistics.median(values) for key, values in seconds.items()}
