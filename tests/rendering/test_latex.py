"""Escaping, numbers and tables in LaTeX."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.rendering import latex

COMMANDS = re.compile(r"\\text[a-z]+\{\}|\\[{}$&#%_]|\\ldots\{\}|\$[^$]*\$|\{\}")


@given(st.text())
def test_nothing_that_latex_would_act_upon_is_left(text: str) -> None:
    plain = COMMANDS.sub("", latex.escape(text))
    assert not set(plain) & set('\\{}$&#%^_<>|"\n\r\t')


@given(st.text())
def test_signs_never_join(text: str) -> None:
    escaped = latex.escape(text)
    spelled = text.translate(dict.fromkeys(map(ord, "–—“”’‘"), "x"))
    if spelled == text:
        assert not any(pair in escaped for pair in ("--", ",,", "''"))


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"])))
def test_letters_and_digits_stay(text: str) -> None:
    assert latex.escape(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("50 % & more", r"50 \% \& more"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("λ ≥ 0.05", r"$\lambda$ $\geq$ 0.05"),
        ("a--b", "a-{}-b"),
        ("é", "é"),
        ("中", "?"),
    ],
)
def test_examples(text: str, shown: str) -> None:
    assert latex.escape(text) == shown


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_every_number_is_shown(value: float) -> None:
    shown = latex.number(value)
    assert (shown == "--") == math.isnan(value)
    if abs(value) >= 1e-3 and abs(value) < 1e6:
        assert float(shown.strip("$")) == pytest.approx(value, abs=5.01e-4)
    elif value and abs(value) < 1e300:
        digits, power = (
            re.fullmatch(r"\$(-?[\d.]+) \\times 10\^\{(-?\d+)\}\$", shown).groups()
            if "times" in shown
            else (shown.strip("$"), "0")
        )
        assert float(f"{digits}e{power}") == pytest.approx(value, rel=0.06)


def test_an_interval_is_half_its_width_beside_the_mean() -> None:
    assert latex.interval(0.5, 0.38, 0.61) == r"$0.500$\,{\tiny[0.38, 0.61]}"
    assert latex.interval(0.5, math.nan, math.nan) == "$0.500$"
    assert latex.interval(math.nan, math.nan, math.nan) == "--"


def test_a_table_has_the_rules_of_booktabs() -> None:
    text = latex.tabular("ll", ["a", "b"], [["1", "2"], None, ["3", "4"]])
    assert text.splitlines() == [
        r"\begin{tabular}{ll}", r"\toprule", r"a & b \\", r"\midrule", r"1 & 2 \\", r"\midrule", r"3 & 4 \\",
        r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
