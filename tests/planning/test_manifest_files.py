"""Files that a manifest asks for are all there, or the first that is missing is named in one line."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from palimpsest import sources
from palimpsest.foundation.errors import ParameterError
from palimpsest.planning.manifest_files import check, check_citations
from palimpsest.sources.shared.templates import REQUIRED
from tests.training.presets import PROJECT

LITE = "paper/source/nema_lite"
SHARED = "paper/source/references.bib"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the manifests are checked against."""
    for folder in ("params", "notebooks/source", "paper/source"):
        shutil.copytree(PROJECT / folder, tmp_path / folder)
    return tmp_path


def test_the_project_keeps_its_manifests(project: Path) -> None:
    check(project)


@pytest.mark.parametrize("role", REQUIRED)
def test_a_missing_role_is_one_line(role: str, project: Path) -> None:
    (project / LITE / f"{role}.tex.j2").unlink()
    where = "src/palimpsest/sources/nema_lite.py: templates: 'nema_lite'"
    with pytest.raises(ParameterError) as error:
        check(project)
    assert str(error.value) == f"{where}; no such file: {LITE}/{role}.tex.j2; allowed: one that exists"


def test_a_template_that_nothing_shows_is_one_line(project: Path) -> None:
    (project / LITE / "suplement.tex.j2").write_text("Text.", encoding="utf-8")
    with pytest.raises(ParameterError, match=rf"^{LITE}/suplement.tex.j2: no template includes it; allowed: ") as error:
        check(project)
    assert "supplement" in str(error.value)


def test_a_citation_without_an_entry_is_one_line(project: Path) -> None:
    lite = dataclasses.replace(sources.load("nema_lite"), citations=("nath2026",))
    with pytest.raises(ParameterError) as error:
        check_citations(project, {"nema_lite": lite})
    where = "src/palimpsest/sources/nema_lite.py: citations: 'nath2026' is not in"
    assert str(error.value).startswith(f"{where} {SHARED} or {LITE}/references.bib; allowed: nath2025, ")


def test_an_entry_of_another_source_is_not_known(project: Path) -> None:
    lite = dataclasses.replace(sources.load("nema_lite"), citations=("anwar2025",))
    with pytest.raises(ParameterError, match=r"citations: 'anwar2025' is not in"):
        check_citations(project, sources.manifests() | {"nema_lite": lite})


def test_a_source_without_a_bibliography_cites_from_the_shared_one(project: Path) -> None:
    (project / LITE / "references.bib").unlink()
    lite = dataclasses.replace(sources.load("nema_lite"), citations=("graves2014",))
    check_citations(project, {"nema_lite": lite})
    with pytest.raises(ParameterError, match=rf"'nath2025' is not in {SHARED}; allowed: "):
        check_citations(project, {"nema_lite": sources.load("nema_lite")})


def test_two_bibliographies_may_have_the_same_entry_and_not_two_of_one_key(project: Path) -> None:
    own = project / LITE / "references.bib"
    before = own.read_text(encoding="utf-8")
    (entry,) = re.findall(r"^@misc\{graves2014,.*?^\}\n", (project / SHARED).read_text(encoding="utf-8"), re.M | re.S)
    own.write_text(before + entry, encoding="utf-8")
    check(project)
    own.write_text(before + entry.replace("2014}", "2015}"), encoding="utf-8")
    with pytest.raises(ParameterError) as error:
        check(project)
    assert str(error.value) == (
        f"{LITE}/references.bib: graves2014: not as in {SHARED}; allowed: the same entry, or another key"
    )


def test_a_missing_shared_bibliography_is_one_line(project: Path) -> None:
    (project / SHARED).unlink()
    with pytest.raises(ParameterError, match=rf"^{SHARED}: no such file; allowed: "):
        check(project)
