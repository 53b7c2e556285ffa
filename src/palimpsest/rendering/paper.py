r"""The paper: templates filled with the results, then typeset.

Templates are LaTeX with jinja2 between ``\VAR{ }`` (a value; text is escaped), ``\BLOCK{ }`` (a statement) and
``\#{ }`` (a comment). Numbers are ``\pnum{name}``, or ``\VAR{pnum(name)}`` where the name is put together.

Templates beside each other in ``paper/source`` are about all sources of the preset: they loop over the manifests in
``sources`` and name no source, experiment or model. What is about one source is in its folder, in files named by their
role: those of :data:`palimpsest.sources.shared.templates.REQUIRED`; it may have ``appendix``, ``supplement``, what
these and its ``section`` include, and ``references.bib``, the works that only this source cites.

There are two documents: the paper, and a supplement that has all figures of all sources that the paper does not show.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from palimpsest.analysis.claims import read_verdicts
from palimpsest.analysis.tables import read_index
from palimpsest.foundation.errors import DataError, ToolError
from palimpsest.foundation.files import write_bytes, write_text
from palimpsest.rendering.frames import CLAIMS, EVIDENCE, records
from palimpsest.rendering.latex import breakable, escape
from palimpsest.rendering.numbers import MACROS, NUMBERS, macros, nearest, read_numbers
from palimpsest.rendering.tables import read_evidence
from palimpsest.sources import experiment_of, sections_of
from palimpsest.sources.shared.manifest import Source
from palimpsest.sources.shared.templates import SUFFIX, bibliographies, entries

MAIN, SUPPLEMENT = "paper.tex.j2", "supplement.tex.j2"
DOCUMENTS = (MAIN, SUPPLEMENT)
FRAME = (*DOCUMENTS, "preamble.tex.j2")
"""Settings for LaTeX, which may hold typed digits."""
FOLDER = Path("paper")
"""Of the products."""
TARGET = FOLDER / "paper.tex"
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
    """Render and typeset the paper and its supplement, each as ``.tex`` and ``.pdf`` in ``paper/``.

    ``numbers.tex`` defines the numbers that both texts print. The same products give the same bytes.

    Args:
        source: directory of templates and bibliographies.
        root: product directory.

    Returns:
        The PDF of the paper.

    Raises:
        DataError: a template is wrong, or a product that it uses is missing; names template and line.
        ToolError: LaTeX is not installed, or found an error.
    """
    numbers = read_numbers(root / NUMBERS)
    texts = render_all(source, root)
    defined = macros(_PNUM.findall("".join(texts.values())), numbers)
    typeset_texts = {name: typeset(text, defined, source, root, name) for name, text in texts.items()}
    for name, text in texts.items():
        write_text(root / FOLDER / f"{name}.tex", text)
        write_bytes(root / FOLDER / f"{name}.pdf", typeset_texts[name])
    write_text(root / MACROS, defined)
    return (root / TARGET).with_suffix(".pdf")


# --- from templates to LaTeX ------------------------------------------------------------------------------------------


def render(source: Path, root: Path) -> str:
    """Fill the templates of the paper: the first text of :func:`render_all`."""
    return render_all(source, root)[TARGET.stem]


def render_all(source: Path, root: Path) -> dict[str, str]:
    """Fill the templates: name of a document → LaTeX.

    Raises:
        DataError: file, line, and what is wrong: syntax, an unknown name or number, or a digit typed into a result.
    """
    numbers = read_numbers(root / NUMBERS)
    shown_experiments = set(read_index(root)["experiment"])
    shown = sections_of(shown_experiments)
    _check_templates(source, shown, numbers)
    environment = _environment(source)
    context = _context(numbers, shown, root) | {"bibliography": _bibliography(source, shown.values())}
    texts: dict[str, str] = {}
    for main in DOCUMENTS:
        used = set(_USED.findall("".join(texts.values())))
        context["left_out"] = functools.partial(_left_out, has=shown_experiments.__contains__, used=used)
        texts[main.removesuffix(SUFFIX)] = _fill(environment, main, context, source)
    return texts


def _check_templates(source: Path, shown: Mapping[str, Source], numbers: dict[str, Any]) -> None:
    folders = {source, *(source / one.templates for one in shown.values())}
    for template in sorted(source.rglob(f"*{SUFFIX}")):
        text = template.read_text(encoding="utf-8")
        if template.parent in folders:
            _check_numbers(template, text, numbers)
        if not may_have_digits(template, source):
            _check_digits(template, text)


def _environment(source: Path) -> jinja2.Environment:
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
    return environment


def _fill(environment: jinja2.Environment, main: str, context: dict[str, Any], source: Path) -> str:
    try:
        return environment.get_template(main).render(context)
    except jinja2.TemplateNotFound as error:
        raise DataError(f"{source / str(error.name)}: no such template") from None
    except jinja2.TemplateSyntaxError as error:
        raise DataError(f"{source / (error.name or main)}: line {error.lineno}: {error.message}") from None
    except (jinja2.UndefinedError, _Unknown, TypeError, ValueError) as error:
        raise DataError(f"{_place(error, source)}: {error}") from None


def _left_out(source: Source, own: str, has: Callable[[str], bool], used: set[str]) -> list[dict[str, str]]:
    """Figures of a source that neither the paper nor its own part of the supplement shows.

    Args:
        source: the manifest.
        own: LaTeX of its part of the supplement.
        has: whether the preset has an experiment.
        used: files that the paper includes.
    """
    used = used | set(_USED.findall(own))
    return [
        {"experiment": experiment.name, "figure": figure.name}
        for experiment in source.experiments
        if has(experiment.name)
        for figure in experiment.figures
        if _plot(experiment.name, figure.name) not in used
    ]


class _Unknown(Exception):
    """A template asks for something that the results do not have."""


def may_have_digits(template: Path, source: Path) -> bool:
    """Whether a template describes a method, or has settings for LaTeX."""
    role = template.name.removesuffix(SUFFIX)
    return template.name in FRAME if template.parent == source else role in METHOD


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
    # of a claim whose tests are about several experiments, that of the first
    experiment_of_claim = {one["claim"]: one["experiment"] for one in reversed(read_evidence(root / EVIDENCE))}

    def asked_on(row: dict[str, Any], track: str) -> str | None:
        return experiment_of_claim[row["claim"]] if row["track"] == track else None

    return {
        "sources": list(shown.values()),
        "claims": claims,
        "verdicts": lambda source, track: [row for row in claims if asked_on(row, track) in source.experiment_names],
        "verdict": _verdict_of(claims),
        "counted": lambda track: _counted(claims, track),
        "has": experiments.__contains__,
        "plot": _plot,
        "has_figure": lambda name, figure: any(one.name == figure for one in experiment_of(name).figures),
        "experiment_of": experiment_of,
        "listed": _listed,
        **_number_functions(numbers),
    }


_VERBS = {
    "holds": ("holds", "hold"),
    "fails": ("fails", "fail"),
    "by construction": ("holds by construction", "hold by construction"),
}
"""Verdict → what a claim and several claims with it do; with any other word, they are that."""


def _counted(claims: list[dict[str, Any]], track: str) -> Latex:
    """How many claims of a track have each verdict, in words and numbers."""
    counts = Counter(row["verdict"] for row in claims if row["track"] == track)
    return _listed(
        Latex(rf"\pnum{{claims/{track}/{word.replace(' ', '_')}}} {escape(_verb(word, counts[word]))}")
        for word in dict.fromkeys(["holds", "fails", *sorted(counts)])
    )


def _verb(verdict: str, count: int) -> str:
    """What one or several claims of a verdict do.

    >>> _verb("holds", 1), _verb("holds", 2), _verb("undecided", 1), _verb("by construction", 3)
    ('holds', 'hold', 'is undecided', 'hold by construction')
    """
    one, several = _VERBS.get(verdict, (f"is {verdict}", f"are {verdict}"))
    return one if count == 1 else several


def _listed(items: Iterable[str]) -> Latex:
    """Items with commas and "and" between them."""
    *first, last = [item if isinstance(item, Latex) else Latex(escape(item)) for item in items] or [Latex("")]
    return Latex(f"{', '.join(first)} and {last}" if first else last)


_FILTERS: dict[str, Callable[[Any], Any]] = {
    "escape": lambda value: Latex(escape(value)),
    "latex": Latex,
    "code": lambda value: Latex(breakable(value)),
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


def typeset(text: str, defined: str, source: Path, root: Path, name: str = TARGET.stem) -> bytes:
    """Run latexmk and pdflatex in a temporary directory.

    Args:
        text: LaTeX of ``paper/<name>.tex`` below the product directory.
        defined: LaTeX of ``paper/numbers.tex``.
        source: directory of the bibliographies.
        root: product directory.
        name: of the document.

    Raises:
        DataError: a table or figure that the text uses is missing.
        ToolError: LaTeX is not installed, found an error, or left a reference unresolved.
    """
    missing = [program for program in ("latexmk", "pdflatex", "bibtex") if shutil.which(program) is None]
    if missing:
        raise ToolError(f"paper: {missing[0]}: no such program; to install it, as root: {TEX}")
    target = root / FOLDER / f"{name}.tex"
    with tempfile.TemporaryDirectory(prefix="palimpsest-paper-") as folder:
        paper = Path(folder) / "paper"
        _lay_out(text, defined, source, root, paper / f"{name}.tex")
        try:
            done = _latexmk(f"{name}.tex", paper)
        except subprocess.TimeoutExpired:
            raise ToolError(f"{target}: LaTeX did not end within {SECONDS} seconds") from None
        log = _read(paper / f"{name}.log")
        problem = _first_error(log, _read(paper / f"{name}.blg"))
        if done.returncode or problem:
            last = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise ToolError(f"{target}: LaTeX: {problem or last[-1]}")
        return (paper / f"{name}.pdf").read_bytes()


def _latexmk(file: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Run latexmk such that the same text gives the same bytes."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
        "SOURCE_DATE_EPOCH": "0",
        "FORCE_SOURCE_DATE": "1",
        "TZ": "UTC",
        "LC_ALL": "C",
        "max_print_line": "10000",
    }
    options = ["-norc", "-pdf", "-bibtex", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error"]
    return subprocess.run(
        ["latexmk", *options, file], cwd=folder, env=environment, capture_output=True, timeout=SECONDS, check=False
    )


def _lay_out(text: str, defined: str, source: Path, root: Path, document: Path) -> None:
    """Write the text, and copy what it uses to where LaTeX looks for it, as seen from ``paper/``."""
    paper, by = document.parent, FOLDER / document.name
    write_text(document, text)
    write_text(paper / MACROS.name, defined)
    for name in _USED.findall(text):
        if name == MACROS.stem:
            continue
        used = name if Path(name).suffix else f"{name}.tex"
        origin = root / "paper" / used
        if not origin.is_file():
            raise DataError(f"{Path(os.path.normpath(origin))}: no such file; {by} uses it")
        target = paper / used
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin, target)
    for names in _BIBLIOGRAPHY.findall(text):
        _lay_out_bibliographies([f"{name}.bib" for name in names.split(",")], source, paper, by)


def _lay_out_bibliographies(names: list[str], source: Path, paper: Path, by: Path) -> None:
    """Write bibliographies, each without the entries of those before it: BibTeX allows a key once in all of them."""
    seen: set[str] = set()
    for name in names:
        origin = source / Path(name).relative_to("source")
        if not origin.is_file():
            raise DataError(f"{origin}: no such file; {by} uses it")
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
