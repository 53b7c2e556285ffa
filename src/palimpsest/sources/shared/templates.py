"""What the folder of a source's templates has: templates of fixed roles, and the works that only this source cites."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from palimpsest.sources.shared.manifest import Source

SUFFIX = ".tex.j2"
REQUIRED = ("abstract_claims", "abstract_findings", "introduction", "section", "limitations", "conclusion")
"""Roles that every source has: shared templates include them, in this order."""
OPTIONAL = ("appendix", "supplement")
"""Roles that a source may have, included where they exist."""
BIBLIOGRAPHY = "references.bib"
"""Works that are cited, as BibTeX: in ``paper/source`` for all sources, and in the folder of a source for this one."""


def bibliographies(folder: Path, sources: Iterable[Source]) -> list[Path]:
    """The shared bibliography below a folder of templates, and those of some sources, where they have one.

    Args:
        folder: ``paper/source``.
        sources: whose folders are looked at.
    """
    own = (folder / source.templates / BIBLIOGRAPHY for source in sources)
    return [folder / BIBLIOGRAPHY, *(file for file in own if file.is_file())]


_INCLUDED = re.compile(r'include\s+"([^"]+)"')


def without_role(folder: Path, templates: str) -> list[Path]:
    """Templates of a source that have no role and that no other template of it includes: nothing would show them.

    Args:
        folder: ``paper/source``.
        templates: the source's folder below it.
    """
    files = sorted((folder / templates).glob(f"*{SUFFIX}"))
    included = {name for file in files for name in _INCLUDED.findall(file.read_text(encoding="utf-8"))}
    roles = {f"{role}{SUFFIX}" for role in (*REQUIRED, *OPTIONAL)}
    return [file for file in files if file.name not in roles and f"{templates}/{file.name}" not in included]


_ENTRY = re.compile(r"^@\w+\{\s*([^,\s]+)\s*,.*?(?=^@|\Z)", re.MULTILINE | re.DOTALL)


def entries(text: str) -> dict[str, str]:
    r"""Key → entry of a bibliography, each starting with ``@`` at the beginning of a line.

    >>> entries("@misc{a2020,\n  year = {2020}\n}\n@book{b1,\n}\n")
    {'a2020': '@misc{a2020,\n  year = {2020}\n}', 'b1': '@book{b1,\n}'}
    """
    return {match[1]: match[0].rstrip() for match in _ENTRY.finditer(text)}
