r"""The paper: templates filled with the results, then typeset.

Templates are LaTeX with jinja2 between ``\VAR{ }`` (a value; text is escaped), ``\BLOCK{ }`` (a statement) and
``\#{ }`` (a comment). Numbers are ``\pnum{name}``, or ``\VAR{pnum(name)}`` where the name is put together.

Templates beside each other in ``paper/source`` are about all sources of the preset: they loop over the manifests in
``sources`` and name no source, experiment or model. What is about one source is in its folder, in files named by their
role: those of :data:`palimpsest.sources.shared.templates.REQUIRED`; it may have ``appendix``, what its ``section``
includes, and ``references.bib``, the works that only this source cites.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jinja2

from palimpsest.analysis.claims import read_verdicts
from palimpsest.analysis.tables import read_index
from palimpsest.foundation.errors import DataError, ToolError
from palimpsest.foundation.files import write_bytes, write_text
from palimpsest.rendering.frames import CLAIMS, records
from palimpsest.rendering.latex import escape
from palimpsest.rendering.numbers import MACROS, NUMBERS, macros, nearest, read_numbers
from palimpsest.sources import experiment_of, sections_of
from palimpsest.sources.shared.manifest import Source
from palimpsest.sources.shared.templates import SUFFIX, bibliographies, entries

MAIN = "paper.tex.j2"
TARGET = Path("paper/paper.tex")
METHOD = ("source", "method", "tasks")
"""Roles in a source's folder whose equations and settings may hold typed digits; no other template may have any."""
TEX = "apt-get install texlive-latex-recommended texlive-fonts-recommended latexmk"
SECONDS = 300

_PNUM = re.compile(r"\\pnum\{([^{}\\]*)\}")
_BIBLIOGRAPHY = re.compile(r"\\bibliography\{([^{}]+)\}")
_USED = re.compile(r"\\(?:input|includegraphics)(?:\[[^\]]*\])?\{([^{}]+)\}")


class Latex(str):
    """Text that is LaTeX already, so that it is not escaped again."""

    __slots__ = ()


def build(source: Path, root: Path) -> Path:
    """Render ``paper/paper.tex`` and ``paper/numbers.tex`` and typeset ``paper/paper.pdf``.

    ``numbers.tex`` defines the numbers that the text prints. The same products give the same bytes.

    Args:
        source: directory of templates and bibliographies.
        root: product directory.

    Returns:
        The PDF.

    Raises:
        DataError: a template is wrong, or a product that it uses is missing; names template and line.
        ToolError: LaTeX is not installed, or found an error.
    """
    numbers = read_numbers(root / NUMBERS)
    text = render(source, root)
    defined = macros(_PNUM.findall(text), numbers)
    pdf = typeset(text, defined, source, root)
    write_text(root / TARGET, text)
    write_text(root / MACROS, defined)
    write_bytes((root / TARGET).with_suffix(".pdf"), pdf)
    return (root / TARGET).with_suffix(".pdf")


# --- from templates to LaTeX ------------------------------------------------------------------------------------------


def render(source: Path, root: Path) -> str:
    """Fill the templates.

    Raises:
        DataError: file, line, and what is wrong: syntax, an unknown name or number, or a digit typed into a result.
    """
    numbers = read_numbers(root / NUMBERS)
    shown = sections_of(set(read_index(root)["experiment"]))
    folders = {source, *(source / one.templates for one in shown.values())}
    for template in sorted(source.rglob(f"*{SUFFIX}")):
        text = template.read_text(encoding="utf-8")
        if template.parent in folders:
            _check_numbers(template, text, numbers)
        if not may_have_digits(template, source):
            _check_digits(template, text)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(source),
        variable_start_string=r"\VAR{",
        variable_end_string="}",
        block_start_string=r"\BLOCK{",
        block_end_string="}",
        comment_start_string=r"\#{",
        comment_end_string="}",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Latex) else Latex(escape(value)),
    )
    environment.filters |= _FILTERS
    try:
        text = environment.get_template(MAIN).render(
            _context(numbers, shown, root), bibliography=_bibliography(source, shown.values())
        )
    except jinja2.TemplateNotFound as error:
        raise DataError(f"{source / str(error.name)}: no such template") from None
    except jinja2.TemplateSyntaxError as error:
        raise DataError(f"{source / (error.name or MAIN)}: line {error.lineno}: {error.message}") from None
    except (jinja2.UndefinedError, _Unknown, TypeError, ValueError) as error:
        raise DataError(f"{_place(error, source)}: {error}") from None
    return text


class _Unknown(Exception):
    """A template asks for something that the results do not have."""


def may_have_digits(template: Path, source: Path) -> bool:
    """Whether a template describes a method, or is the document's frame of settings for LaTeX."""
    role = template.name.removesuffix(SUFFIX)
    return template.name == MAIN if template.parent == source else role in METHOD


def _check_numbers(template: Path, text: str, numbers: dict[str, Any]) -> None:
    """Find unknown numbers before anything is rendered."""
    for match in _PNUM.finditer(text):
        if match[1] not in numbers:
            line = text.count("\n", 0, match.start()) + 1
            raise DataError(f"{template}: line {line}: {_unknown_number(match[1], numbers)}")


def _check_digits(template: Path, text: str) -> None:
    for line, found in typed_digits(text):
        raise DataError(f"{template}: line {line}: {found!r}: a number is typed; allowed: \\pnum{{name}}")


def _unknown_number(name: str, numbers: dict[str, Any]) -> str:
    return f"\\pnum{{{name}}}: no such number; allowed: {', '.join(nearest(name, numbers))}, …"


def _place(error: BaseException, source: Path) -> str:
    """Template and line in which an error arose; jinja2 rewrites tracebacks so that they name it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).suffix == ".j2"]
    return f"{frames[-1].filename}: line {frames[-1].lineno}" if frames else str(source)


_NOT_PROSE = (
    r"\\#\{.*?\}",  # comments of jinja2
    r"(?<!\\)%[^\n]*",  # and of LaTeX
    r"\\BLOCK\{.*?\}",
    r"\\(?:pnum|cite[a-z]*|ref|eqref|autoref|label|input|url|includegraphics|begin|end|figure)\*?(?:\[[^\]]*\])*\{[^{}]*\}",
)
_CALL = re.compile(r"""(?:pnum|value|measured|verdict|known)\((?:[^()"']|"[^"]*"|'[^']*')*\)""")


def typed_digits(text: str) -> list[tuple[int, str]]:
    r"""Words with a digit that somebody typed into a template, each with its line.

    Labels, citations, file names, statements and the names of numbers may hold digits; prose may not, nor may a value
    that is no name of a number.

    >>> typed_digits(r"about 95 of \ref{fig:1} and \pnum{a/1} and \VAR{pnum('x1')}")
    [(1, '95')]
    """

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    for pattern in _NOT_PROSE:
        text = re.sub(pattern, blank, text, flags=re.DOTALL)
    text = _CALL.sub(blank, text)
    return [
        (number, word)
        for number, line in enumerate(text.splitlines(), 1)
        for word in line.split()
        if any(sign.isdigit() for sign in word)
    ]


def _context(numbers: dict[str, Any], shown: dict[str, Source], root: Path) -> dict[str, Any]:
    """What templates can use."""
    claims = [
        {key: None if value != value else value for key, value in row.items()}
        for row in records(read_verdicts(root / CLAIMS))
    ]
    experiments = set(read_index(root)["experiment"])
    return {
        "sources": list(shown.values()),
        "claims": claims,
        "verdicts": lambda source, track: [row for row in claims if _is_of(row, source, track)],
        "verdict": _verdict_of(claims),
        "has": experiments.__contains__,
        "plot": _plot,
        "has_figure": lambda name, figure: any(one.name == figure for one in experiment_of(name).figures),
        "experiment_of": experiment_of,
        "listed": _listed,
        **_number_functions(numbers),
    }


def _is_of(row: dict[str, Any], source: Source, track: str) -> bool:
    return row["track"] == track and row["claim"].startswith(f"{source.number}-")


def _listed(items: Iterable[str]) -> Latex:
    """Items with commas and "and" between them."""
    *first, last = [item if isinstance(item, Latex) else Latex(escape(item)) for item in items] or [Latex("")]
    return Latex(f"{', '.join(first)} and {last}" if first else last)


_FILTERS: dict[str, Callable[[Any], Any]] = {
    "escape": lambda value: Latex(escape(value)),
    "heading": lambda phrase: phrase[:1].upper() + phrase[1:],
    "section_of": lambda source: Latex(rf"Section~\ref{{sec:{source.templates}}}"),
    "letter_of": lambda row: Latex(escape(f"({row['claim'].rpartition('-')[2]})")),
}


def _bibliography(source: Path, shown: Iterable[Source]) -> Latex:
    r"""What ``\bibliography`` has, as seen from ``paper/``."""
    files = (file.relative_to(source).with_suffix("") for file in bibliographies(source, shown))
    return Latex(",".join(str("source" / file) for file in files))


def _plot(experiment: str, name: str) -> Latex:
    """Where a figure lies, as the paper sees it."""
    return Latex(f"../plots/{experiment}/{name}.pdf")


def _verdict_of(claims: list[dict[str, Any]]) -> Callable[[str, str], str]:
    def verdict(claim: str, track: str) -> str:
        for row in claims:
            if (row["claim"], row["track"]) == (claim, track):
                return str(row["verdict"])
        raise _Unknown(f"verdict({claim!r}, {track!r}): no such claim; allowed: what {CLAIMS} holds")

    return verdict


def _number_functions(numbers: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    def pnum(name: str) -> Latex:
        if name not in numbers:
            raise _Unknown(_unknown_number(name, numbers))
        return Latex(f"\\pnum{{{name}}}")

    def value(name: str) -> Any:
        pnum(name)
        return numbers[name]["value"]

    def measured(name: str) -> Latex:
        """A mean with its interval; of one seed there is no interval, and where all runs diverged no mean."""
        if f"{name}/mean" not in numbers:
            if f"{name.rpartition('/')[0]}/n" in numbers:
                return Latex("no value, as no run was completed")
            raise _Unknown(_unknown_number(f"{name}/mean", numbers))
        mean = pnum(f"{name}/mean")
        if f"{name}/low" not in numbers:
            return mean
        return Latex(f"{mean} [{pnum(f'{name}/low')}, {pnum(f'{name}/high')}]")

    return {"pnum": pnum, "value": value, "measured": measured, "known": lambda name: name in numbers}


# --- from LaTeX to PDF ------------------------------------------------------------------------------------------------


def typeset(text: str, defined: str, source: Path, root: Path) -> bytes:
    """Run latexmk and pdflatex in a temporary directory.

    Args:
        text: LaTeX of ``paper/paper.tex`` below the product directory.
        defined: LaTeX of ``paper/numbers.tex``.
        source: directory of the bibliographies.
        root: product directory.

    Raises:
        DataError: a table or figure that the text uses is missing.
        ToolError: LaTeX is not installed, found an error, or left a reference unresolved.
    """
    missing = [program for program in ("latexmk", "pdflatex", "bibtex") if shutil.which(program) is None]
    if missing:
        raise ToolError(f"paper: {missing[0]}: no such program; to install it, as root: {TEX}")
    with tempfile.TemporaryDirectory(prefix="palimpsest-paper-") as folder:
        paper = Path(folder) / "paper"
        _lay_out(text, defined, source, root, paper)
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
            "SOURCE_DATE_EPOCH": "0",
            "FORCE_SOURCE_DATE": "1",
            "TZ": "UTC",
            "LC_ALL": "C",
            "max_print_line": "10000",
        }
        command = [
            "latexmk",
            "-norc",
            "-pdf",
            "-bibtex",
            "-interaction=nonstopmode",
            "-halt-on-error",
            "-file-line-error",
        ]
        try:
            done = subprocess.run(
                [*command, "paper.tex"], cwd=paper, env=environment, capture_output=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise ToolError(f"{root / TARGET}: LaTeX did not end within {SECONDS} seconds") from None
        log = _read(paper / "paper.log")
        problem = _first_error(log, _read(paper / "paper.blg"))
        if done.returncode or problem:
            last = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise ToolError(f"{root / TARGET}: LaTeX: {problem or last[-1]}")
        return (paper / "paper.pdf").read_bytes()


def _lay_out(text: str, defined: str, source: Path, root: Path, paper: Path) -> None:
    """Write the text, and copy what it uses to where LaTeX looks for it, as seen from ``paper/``."""
    write_text(paper / "paper.tex", text)
    write_text(paper / MACROS.name, defined)
    for name in _USED.findall(text):
        if name == MACROS.stem:
            continue
        used = name if Path(name).suffix else f"{name}.tex"
        origin = root / "paper" / used
        if not origin.is_file():
            raise DataError(f"{Path(os.path.normpath(origin))}: no such file; {TARGET} uses it")
        target = paper / used
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin, target)
    for names in _BIBLIOGRAPHY.findall(text):
        _lay_out_bibliographies([f"{name}.bib" for name in names.split(",")], source, paper)


def _lay_out_bibliographies(names: list[str], source: Path, paper: Path) -> None:
    """Write bibliographies, each without the entries of those before it: BibTeX allows a key once in all of them."""
    seen: set[str] = set()
    for name in names:
        origin = source / Path(name).relative_to("source")
        if not origin.is_file():
            raise DataError(f"{origin}: no such file; {TARGET} uses it")
        text = origin.read_text(encoding="utf-8")
        for key, entry in entries(text).items():
            text = text.replace(entry, "") if key in seen else text
            seen.add(key)
        write_text(paper / name, text)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


_ERROR = re.compile(r"^(?:\./)?([^\s:]+):(\d+): (.+)$", re.MULTILINE)
_UNRESOLVED = re.compile(r"^LaTeX Warning: (Reference|Citation) [`'](\S+)'.*undefined", re.MULTILINE)


def _first_error(log: str, bibliography_log: str) -> str:
    """The first error of LaTeX in words, or the first reference that leads nowhere; empty if there is none."""
    if match := _ERROR.search(log):
        return f"{match[1]}: line {match[2]}: {match[3]}"
    if match := re.search(r"^! (.+)$", log, re.MULTILINE):
        return match[1]
    if match := re.search(r"^Warning--(I didn't find .+)$", bibliography_log, re.MULTILINE):
        return f"bibliography: {match[1]}"
    if match := _UNRESOLVED.search(log) or re.search(
        r"^Package natbib Warning: (Citation) [`'](\S+)'", log, re.MULTILINE
    ):
        return f"{match[1].lower()} {match[2]!r} leads nowhere"
    return ""
