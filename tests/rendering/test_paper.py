"""The paper: rendered with every number known, typeset with the same bytes, refused in one line when it is wrong."""

import re
import shutil
from pathlib import Path

import pytest

from palimpsest.config import Params
from palimpsest.errors import DataError, ToolError
from palimpsest.rendering import bench, figures, numbers, paper, tables
from tests.bench import made_up
from tests.rendering import fake
from tests.rendering.conftest import CLAIMS, PROJECT, PUBLISHED

SOURCE = PROJECT / "paper/source"
RESULTS = [SOURCE / f"{name}.tex.j2" for name in paper.RESULT_SECTIONS]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the templates that a test may spoil."""
    return shutil.copytree(SOURCE, tmp_path / "source")


@pytest.mark.parametrize("template", RESULTS, ids=lambda path: path.name)
def test_no_digit_is_typed_into_a_results_section(template: Path) -> None:
    assert paper.typed_digits(template.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "an accuracy of 0.99",
        "ninety-5 points",
        r"$\lambda=1$",
        r"\VAR{0.99}",
        r"\VAR{'0.99'}",
        r"\textbf{12}",
        "x % a comment\n17",
    ],
)
def test_a_typed_digit_is_found(text: str) -> None:
    assert len(paper.typed_digits(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        r"\citep{graves2014}, Table~\ref{tab:1}, \input{../tables/x2}, \includegraphics[width=0.5\linewidth]{a1}",
        r"\pnum{claims/000-a/published/n} and \VAR{pnum('mem_lambda=0.2')} and \VAR{measured(a ~ '/b2')}",
        r"% 17",
        r"\#{ 17 }\BLOCK{ if verdict('000-a', 'repaired') == 'holds' }",
        r"\label{sec:2}\begin{table1}",
    ],
)
def test_names_may_hold_digits(text: str) -> None:
    assert paper.typed_digits(text) == []


def test_every_line_of_the_paper_finds_its_numbers(products: Path) -> None:
    text = paper.render(SOURCE, products)
    known = numbers.read_numbers(products / numbers.NUMBERS)
    used = re.findall(r"\\pnum\{([^}]*)\}", text)
    assert len(used) > 40
    assert set(used) <= set(known)
    assert r"\VAR" not in text
    assert r"\BLOCK" not in text


def test_text_follows_the_verdicts(tmp_path: Path, preset: Params) -> None:
    said = {}
    for verdict in ("holds", "fails", "undecided"):
        root = tmp_path / verdict
        fake.write(root, preset)
        claims = fake.CLAIMS.assign(verdict=verdict)
        (root / "tables/claims.csv").write_text(claims.to_csv(index=False), encoding="utf-8")
        numbers.write_numbers(preset, root, published=PUBLISHED)
        said[verdict] = paper.render(SOURCE, root)
    assert "every claim holds" in said["holds"]
    assert "no claim is shown to hold" in said["fails"]
    assert "does not reach high accuracy" in said["fails"]
    assert "these runs do not decide" in said["undecided"]
    for verdict, words in (
        ("holds", r"It \textbf{holds}."),
        ("fails", r"It \textbf{fails}."),
        ("undecided", r"It is \textbf{undecided}."),
    ):
        assert said[verdict].count(words) == len(fake.CLAIMS)


def test_text_from_the_results_is_escaped(products: Path) -> None:
    assert r"below the bound \& nothing written" in paper.render(SOURCE, products)


@pytest.mark.parametrize(
    ("template", "text", "message"),
    [
        (
            "method",
            r"\pnum{claims/al}",
            r"method.tex.j2: line 3: \\pnum\{claims/al\}: no such number; allowed: claims/all, ",
        ),
        ("method", r"\VAR{pnum('claims/' ~ 'al')}", r"method.tex.j2: line 3: \\pnum\{claims/al\}: no such number"),
        (
            "method",
            r"\VAR{measured('nema_lite/x')}",
            r"method.tex.j2: line 3: \\pnum\{nema_lite/x/mean\}: no such number",
        ),
        ("method", r"\VAR{nothing}", r"method.tex.j2: line 3: 'nothing' is undefined"),
        (
            "method",
            r"\VAR{verdict('000-z', 'repaired')}",
            r"method.tex.j2: line 3: verdict\('000-z', 'repaired'\): no such",
        ),
        ("method", r"\BLOCK{ if }", r"method.tex.j2: line 3: Expected an expression"),
        ("results", "an accuracy of 0.99", r"results.tex.j2: line 3: '0.99': a number is typed"),
    ],
)
def test_a_mistake_in_a_template_names_file_line_and_name(
    template: str, text: str, message: str, source: Path, products: Path
) -> None:
    file = source / f"{template}.tex.j2"
    file.write_text(f"First.\n\n{text}\n", encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        paper.render(source, products)
    assert "\n" not in str(caught.value)


def test_a_missing_template_is_one_line(source: Path, products: Path) -> None:
    (source / "method.tex.j2").unlink()
    with pytest.raises(DataError, match=r"method.tex.j2: no such template$"):
        paper.render(source, products)


def test_missing_latex_says_what_to_install(products: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolError) as caught:
        paper.typeset("", SOURCE, products)
    assert str(caught.value) == (
        "paper: latexmk: no such program; to install it, as root: "
        "apt-get install texlive-latex-recommended texlive-fonts-recommended latexmk"
    )


needs_latex = pytest.mark.usefixtures("latex")


@pytest.fixture(scope="session")
def latex() -> None:
    """LaTeX is a requirement of the tests: without it they fail, and say what to install."""
    assert shutil.which("latexmk"), f"latexmk is missing; to install it, as root: {paper.TEX}"


@needs_latex
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (r"\nosuchcommand", r"paper.tex: LaTeX: paper.tex: line 4: Undefined control sequence\.$"),
        (r"Table~\ref{tab:none}", r"paper.tex: LaTeX: reference 'tab:none' leads nowhere$"),
        (r"\input{numbers}\pnum{no/such}", r"paper.tex: LaTeX: paper.tex: line 4: .*no number is called no/such"),
    ],
)
def test_an_error_of_latex_is_one_line(body: str, message: str, products: Path) -> None:
    text = "\\documentclass{article}\n\\begin{document}\nx\n" + body + "\n\\end{document}\n"
    with pytest.raises(ToolError, match=message) as caught:
        paper.typeset(text, SOURCE, products)
    assert "\n" not in str(caught.value)


@needs_latex
def test_a_missing_table_is_named(products: Path) -> None:
    with pytest.raises(DataError, match=r"tables/none.tex: no such file; paper/paper.tex uses it$"):
        paper.typeset(r"\input{../tables/none}", SOURCE, products)


@needs_latex
def test_two_builds_in_two_places_give_the_same_bytes(tmp_path: Path, preset: Params) -> None:
    built = []
    for name in ("first", "second/deeper"):
        root = tmp_path / name
        fake.write(root, preset)
        tables.write_tables(preset, root, claims=CLAIMS, published=PUBLISHED)
        figures.write_figures(preset, root, "nema_lite")
        numbers.write_numbers(preset, root, published=PUBLISHED)
        bench.write_bench(made_up.write(tmp_path / "measured"), root)
        pdf = paper.build(SOURCE, root)
        built.append((pdf.read_bytes(), (root / "paper/paper.tex").read_bytes()))
        assert sorted(path.name for path in pdf.parent.iterdir()) == [
            "numbers.json",
            "numbers.tex",
            "paper.pdf",
            "paper.tex",
        ]
    assert built[0] == built[1]
    content, text = built[0]
    assert content.startswith(b"%PDF")
    assert b"/Type3" not in content
    assert str(tmp_path).encode() not in content + text
