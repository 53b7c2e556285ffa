"""Compares the products that two dvc.lock files record; the last step of ``make reproduce``."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

TIMES = ".snakemake/metadata"
"""Records when each job ran, and therefore differs between builds."""


def products(lock: Path) -> dict[str, str]:
    """Return the hash of every product that a lock file records, by path."""
    stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


def main(old: str, new: str) -> int:
    """Print a line for each product; return 1 if one differs, apart from the times."""
    before, after = products(Path(old)), products(Path(new))
    different = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    for path in sorted({*before, *after}):
        print(
            f"{'DIFFERS' if path in different else 'same':8}{before.get(path, '-'):38}{after.get(path, '-'):38}{path}"
        )
    return int(any(path != TIMES for path in different))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
