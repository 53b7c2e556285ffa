"""The command line of the measurements: `python -m bench NAME [options]`, from the root of the project."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

NAMES = {
    "sweep": "the NeMA-Lite grid: one process a run, one process looping, two at a time, and packed",
    "scaling": "cost of a run's step against pack size, sequence length and memory slots",
    "peak": "fraction of the machine's matrix-multiply peak that a training step reaches",
    "compiled": "what torch.compile gains on a step, what it costs once, and when it has paid",
    "cells": "a step of our NTM and DNC beside a naive reference, and public code that you have",
    "sparse_memory": "a step of a sparse memory against the number of its slots",
    "overhead": "the pipeline beside its training: a build, no-op commands, a plan of many runs",
}
RESULTS = Path("bench/results")


@runtime_checkable
class TakesNotes(Protocol):
    """A measurement that writes more into ``machine.json`` than the command and the machine."""

    def notes(self, options: argparse.Namespace, /) -> dict[str, Any]:
        """Return what it adds."""
        ...


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the name of a measurement and its options, which its module defines."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure; each command writes bench/results/NAME.csv, and beside it machine.json.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["measurements:", *(f"  {name:15}{text}" for name, text in NAMES.items())]),
    )
    parser.add_argument("name", choices=NAMES, metavar="NAME", help="see below; `NAME --help` lists its options")
    if not arguments or arguments[0] not in NAMES:
        parser.parse_args(arguments or ["--help"])
    name = arguments[0]
    own = argparse.ArgumentParser(prog=f"python -m bench {name}", description=NAMES[name])
    own.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where runs are trained (cpu)")
    own.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV (bench/results)")
    importlib.import_module(f"bench.{name}").add_options(own)
    return argparse.Namespace(name=name, **vars(own.parse_args(arguments[1:])))


def command_of(options: argparse.Namespace) -> str:
    """Return the command with every option written out, so that it can be typed again.

    Leaves out the folder of the results; the folder of a clone is written as if it were beside this project.
    """
    words = ["python", "-m", "bench", options.name]
    for key, value in vars(options).items():
        if key not in ("name", "results") and value is not None and value is not False:
            given = [] if value is True else value if isinstance(value, list) else [value]
            words += [f"--{key.replace('_', '-')}", *map(_text, given)]
    return " ".join(words)


def _text(value: Any) -> str:
    if isinstance(value, Path):
        return f"../{value.resolve().name}"
    return format(value, "g") if isinstance(value, float) else str(value)


def main(arguments: Sequence[str]) -> int:
    """Measure, write the result and print its path; an error of the user is one line and exit status 2."""
    options = parse(arguments)
    from bench import record
    from palimpsest.foundation.errors import PalimpsestError, ParameterError

    module = importlib.import_module(f"bench.{options.name}")
    try:
        if options.device != "cpu" and not _gpu():
            raise ParameterError(f"--device: {options.device!r}: no GPU is visible; allowed here: cpu")
        about = record.about(command_of(options), options.device)
        rows = module.measure(options)
        about |= _notes(module, options)
        path = record.save(options.results, options.name, module.COLUMNS, rows, about, options.device)
    except PalimpsestError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    sys.stdout.write(f"{path}\n{path.read_text(encoding='utf-8')}")
    return 0


def _notes(module: ModuleType, options: argparse.Namespace) -> dict[str, Any]:
    return module.notes(options) if isinstance(module, TakesNotes) else {}


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
