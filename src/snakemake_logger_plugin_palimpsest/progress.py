"""What is done, what each job made, and how much time is left."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """Counts jobs and their seconds by kind of rule.

    The time left is the number of jobs left of each kind times the mean seconds of that kind so far, divided by the
    number of jobs that ran at once so far. Kinds of which no job has finished count with the mean of all.
    """

    left: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    running: dict[Any, tuple[float, Mapping[str, Any]]] = field(default_factory=dict)
    began: float | None = None
    total: int = 0

    def plan(self, stats: Mapping[str, int]) -> str:
        """Take the number of jobs of each rule, and return them in one line, by kind."""
        self.left = Counter()
        for rule, count in stats.items():
            if rule != "total":
                self.left[of_rule(rule)] += count
        self.total = self.left.total() + sum(map(len, self.seconds.values()))
        return f"{self.total} jobs: " + ", ".join(f"{count} {kind}" for kind, count in self.left.items())

    def start(self, job: Mapping[str, Any], now: float) -> None:
        """Take a job that starts."""
        self.began = now if self.began is None else self.began
        self.running[job["jobid"]] = (now, job)

    def finish(self, number: Any, now: float) -> str:
        """Take a job that is complete, and return its line."""
        began, job = self.running.pop(number)
        kind = of_rule(job["rule_name"])
        self.left[kind] -= 1
        self.seconds[kind].append(now - began)
        done = sum(map(len, self.seconds.values()))
        what = job.get("rule_msg") or made(job["output"])
        columns = [
            f"{100 * done // max(self.total, done):3} %",
            f"{duration(self.time_left(now)):>9} left",
            f"{kind:9}",
        ]
        return " | ".join([*columns, *([what] if what else []), duration(now - began)])

    def time_left(self, now: float) -> float:
        """Seconds until the last job, estimated."""
        spent = [one for kind in self.seconds.values() for one in kind]
        mean = sum(spent) / len(spent)
        work = sum(
            count * (sum(known) / len(known) if (known := self.seconds.get(kind)) else mean)
            for kind, count in self.left.items()
        )
        elapsed = now - (self.began or now)
        at_once = max(1.0, sum(spent) / elapsed) if elapsed > 0 else 1.0
        return max(0.0, work) / at_once


def of_rule(name: str) -> str:
    """The kind of a rule: rules that a loop makes are named after the kind.

    >>> of_rule("train_nema_lite_3")
    'train'
    """
    return name.partition("_")[0]


def made(files: Iterable[str]) -> str:
    """What a job makes, in one line: its file, or the folder of all its files and their number.

    >>> made(["tables/runs.csv"]), made(["plots/a/x.png", "plots/a/x.pdf"]), made(["a/x", "b/y"])
    ('tables/runs.csv', 'plots/a/ (2 files)', 'a/x and 1 more')
    """
    first, *others = list(files) or [""]
    if not others:
        return first
    folder = os.path.commonpath([first, *others])
    return f"{folder}/ ({len(others) + 1} files)" if folder else f"{first} and {len(others)} more"


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> [duration(value) for value in (8.4, 725, 3900)]
    ['8 s', '12 min', '1 h 05 min']
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
