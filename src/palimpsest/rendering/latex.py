"""LaTeX as text: escaping, numbers, and tables with the rules of booktabs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "\n": " ",
    "\r": " ",
    "\t": " ",
    "−": "$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "≡": r"$\equiv$",
    "≈": r"$\approx$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "±": r"$\pm$",
    "λ": r"$\lambda$",
    "τ": r"$\tau$",
    "ρ": r"$\rho$",
    "β": r"$\beta$",
    "→": r"$\to$",
    "∞": r"$\infty$",
    "–": "--",
    "—": "---",
    "“": "``",
    "”": "''",
    "’": "'",
    "‘": "`",
    "…": r"\ldots{}",
    "\u00a0": "~",
}


def escape(text: object) -> str:
    r"""Text that LaTeX prints as it stands.

    Signs without an ASCII form are spelled in mathematics where the project uses them; any other character that
    pdfLaTeX could not print becomes ``?``; two hyphens, commas or apostrophes do not join to another sign.

    >>> escape("50 % of a_b--c")
    '50 \\% of a\\_b-{}-c'
    """
    shown, last = [], ""
    for sign in str(text):
        shown.append("{}" if sign == last and sign in _JOINING else "")
        shown.append(_SPECIAL.get(sign, sign if sign.isascii() and sign.isprintable() else _latin(sign)))
        last = sign
    return "".join(shown)


_JOINING = "-,'"


def _latin(sign: str) -> str:
    """A letter of Latin-1, which T1 fonts have; anything else is shown as missing."""
    return sign if "\u00c0" <= sign <= "\u00ff" and sign.isalpha() else "?"


def breakable(text: object) -> str:
    """Escaped typewriter text that may break behind a dot, slash, comma or equals sign."""
    return r"\texttt{" + "".join(escape(sign) + r"\allowbreak{}" * (sign in "./,=_") for sign in str(text)) + "}"


def number(value: float | int | None, decimals: int = 3) -> str:
    r"""A number in mathematics; a dash where there is none.

    Integers are whole with thin spaces between thousands; a value that would be rounded to zero, or is
    a million or more, is written with a power of ten.

    >>> number(0.1234), number(-2), number(12345), number(None), number(1e-6)
    ('$0.123$', '$-2$', '$12\\,345$', '--', '$1.0 \\times 10^{-6}$')
    """
    if value is None or math.isnan(value):
        return "--"
    if math.isinf(value):
        return r"$\infty$" if value > 0 else r"$-\infty$"
    if isinstance(value, int):
        return f"${value:,}$".replace(",", r"\,")
    if value and (abs(value) < 0.5 * 10**-decimals or abs(value) >= 1e6):
        digits, _, power = f"{value:.1e}".partition("e")
        return rf"${digits} \times 10^{{{int(power)}}}$"
    return f"${value:.{decimals}f}$"


def interval(mean: float | None, low: float | None, high: float | None) -> str:
    r"""A mean with the ends of its interval, small; the mean alone where there is no interval.

    >>> interval(0.5, 0.412, 0.65), interval(0.5, None, None)
    ('$0.500$\\,{\\tiny[0.41, 0.65]}', '$0.500$')
    """
    shown = number(mean)
    if mean is None or math.isnan(mean) or low is None or high is None or math.isnan(low) or math.isnan(high):
        return shown
    return rf"{shown}\,{{\tiny[{low:.2f}, {high:.2f}]}}"


def bounds(low: float | None, high: float | None, decimals: int = 3) -> str:
    """An interval by its ends; a dash where there is none."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return "--"
    return f"[{number(low, decimals)}, {number(high, decimals)}]"


def escape_with_breaks(text: object) -> str:
    r"""Text that LaTeX prints as it stands, in which a long name may go over lines.

    >>> escape_with_breaks("tests/a_b.py")
    'tests/\\allowbreak{}a\\_\\allowbreak{}b.py'
    """
    return re.sub(r"(\\_|/|::)", r"\1\\allowbreak{}", escape(text))


def tabular(columns: str, header: Sequence[str], rows: Sequence[Sequence[str] | None], above: str = "") -> str:
    """A table for a ``table`` environment; ``None`` among the rows is a thin rule.

    Args:
        columns: LaTeX's column specification.
        header: its cells, escaped.
        rows: their cells, escaped.
        above: lines between the top rule and the header.
    """
    body = [r"\midrule" if row is None else _row(row) for row in rows]
    lines = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *([above] if above else []),
        _row(header),
        r"\midrule",
        *body,
        r"\bottomrule",
    ]
    return "\n".join([*lines, r"\end{tabular}", ""])


def longtable(
    columns: str, header: Sequence[str], rows: Sequence[Sequence[str] | None], caption: str, label: str
) -> str:
    r"""A table that breaks over pages and repeats its header; arguments as in :func:`tabular`.

    Args:
        columns: LaTeX's column specification.
        header: its cells, escaped.
        rows: their cells, escaped.
        caption: escaped.
        label: for ``\ref``.
    """
    # A heading, which is one cell over all columns, stays on the page of the row below it.
    body = [r"\midrule" if row is None else _row(row) + ("*" if len(row) == 1 else "") for row in rows]
    head = [r"\toprule", _row(header), r"\midrule"]
    return "\n".join(
        [
            rf"\begin{{longtable}}{{{columns}}}",
            rf"\caption{{{caption}}}\label{{{label}}}\\",
            *head,
            r"\endfirsthead",
            *head,
            r"\endhead",
            *body,
            r"\bottomrule",
            r"\end{longtable}",
            "",
        ]
    )


def ragged(share: float) -> str:
    """A column of running text, as wide as this share of the text."""
    return rf">{{\raggedright\arraybackslash}}p{{{share}\textwidth}}"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
