"""Options and the console that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console(stderr=True)

ParamsOption = Annotated[Path, typer.Option("--params", help="the preset", metavar="FILE")]
RootOption = Annotated[Path, typer.Option("--root", help="directory of the products", metavar="DIR")]
PublishedOption = Annotated[Path, typer.Option("--published", help="folder of the sources' own numbers", metavar="DIR")]
ClaimsOption = Annotated[Path, typer.Option("--claims", help="folder of the claims, as data", metavar="DIR")]
DEFAULT_PARAMS, HERE = Path("params/default.yaml"), Path()
DEFAULT_CLAIMS, DEFAULT_PUBLISHED = Path("params/claims"), Path("params/published")


def report(line: str) -> None:
    """Print one line to stderr as it is: not wrapped, no markup."""
    console.print(line, soft_wrap=True, markup=False, highlight=False)
