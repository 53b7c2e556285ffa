"""The entry point of the command line: all commands in one app, and errors of the user as one line."""

from __future__ import annotations

import sys

import typer

from palimpsest.cli import checks, experiments, language, people, pipeline
from palimpsest.foundation.errors import PalimpsestError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Do networks learn what to write, what to keep and what to forget?\n\n"
    "Start with [bold]plan[/bold] (what a preset asks for), [bold]train[/bold] (one run) and [bold]evaluate[/bold]. "
    "The whole paper is made by [bold]snakemake --cores all[/bold], which calls the commands under 'Pipeline'.",
)
app.add_typer(people.app)
app.add_typer(experiments.app)
app.add_typer(language.app)
app.add_typer(checks.app)
app.add_typer(pipeline.app)


def main() -> None:
    """Run the command line; an error that the user can correct is one line on stderr and exit status 2."""
    try:
        app()
    except PalimpsestError as error:
        sys.stderr.write(f"palimpsest: {error}\n")
        sys.exit(2)
    except OSError as error:
        sys.stderr.write(f"palimpsest: {error.filename or 'file'}: {error.strerror}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
