"""Check the manifests against the files of the project, and the claims against the manifests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from palimpsest import sources
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import read_yaml
from palimpsest.sources.shared.checks import located
from palimpsest.sources.shared.manifest import Source
from palimpsest.sources.shared.templates import OPTIONAL, REQUIRED, SUFFIX, bibliographies, entries, without_role

TEMPLATES = Path("paper/source")
NOT_PRESETS = {"claims", "published", "schema"}
"""Folders of ``params/`` that hold no experiments."""


def check(project: Path) -> None:
    """Check the manifests of all sources against the project.

    Args:
        project: the folder that holds ``params``, ``notebooks`` and ``paper``.

    Raises:
        ParameterError: no preset has an experiment of a manifest, a template or notebook is missing, a template is
            included nowhere, a work that is cited is in no bibliography, or a claim is about an experiment that its
            source does not have.
    """
    manifests = sources.manifests()
    check_claims(project / "params/claims")
    given = set(_experiments(project / "params"))
    for name, source in manifests.items():
        for experiment in source.experiment_names:
            if experiment not in given:
                own = ", ".join(known for known in source.experiment_names if known in given) or "none"
                raise ParameterError(
                    f"{located(name)}: experiments: {experiment!r}: no preset has it; allowed: what a file of params "
                    f"gives, of this source {own}"
                )
        for key, file in _files(name, source):
            if not (project / file).is_file():
                raise ParameterError(f"{located(name)}: {key}; no such file: {file}; allowed: one that exists")
        for file in without_role(project / TEMPLATES, source.templates):
            raise ParameterError(
                f"{file.relative_to(project)}: no template includes it; allowed: one of the names "
                f"{', '.join((*REQUIRED, *OPTIONAL))}, or a template that one of these includes"
            )
    check_citations(project, manifests)


def check_citations(project: Path, manifests: Mapping[str, Source]) -> None:
    """Check that the works that a manifest cites are in the shared bibliography or in that of its source.

    Raises:
        ParameterError: one is in neither, the shared bibliography is missing, or two files have different entries for
            one key: the paper has all of them.
    """
    folder = project / TEMPLATES
    shared = bibliographies(folder, ())[0]
    if not shared.is_file():
        raise ParameterError(f"{shared.relative_to(project)}: no such file; allowed: a bibliography for all sources")
    works: dict[str, tuple[Path, str]] = {}
    for name, source in manifests.items():
        files = [file.relative_to(project) for file in bibliographies(folder, [source])]
        known = {key for file in files for key in _add_works(works, project, file)}
        for key in source.citations:
            if key not in known:
                near = ", ".join(get_close_matches(key, sorted(known), 3, 0))
                raise ParameterError(
                    f"{located(name)}: citations: {key!r} is not in {' or '.join(map(str, files))}; allowed: {near}, …"
                )


def _add_works(works: dict[str, tuple[Path, str]], project: Path, file: Path) -> Iterator[str]:
    """Keys of a bibliography, whose entries are added to those of the others: key → file and entry."""
    for key, entry in entries((project / file).read_text(encoding="utf-8")).items():
        other, same = works.setdefault(key, (file, entry))
        if entry != same:
            raise ParameterError(f"{file}: {key}: not as in {other}; allowed: the same entry, or another key")
        yield key


def check_claims(folder: Path) -> None:
    """Check that the claims of each file are about experiments of its source.

    Raises:
        ParameterError: a claim has the number or an experiment of another source, or of none.
    """
    for file in sorted(folder.glob("*.yaml")):
        source = sources.load(file.stem, str(file))
        for name, claim in (read_yaml(file).get("claims") or {}).items():
            for key, allowed in (("source", (source.number,)), ("experiment", source.experiment_names)):
                if isinstance(claim, dict) and claim.get(key, allowed[0]) not in allowed:
                    raise ParameterError(f"{file}: claims.{name}.{key}: {claim[key]!r}; allowed: {', '.join(allowed)}")


def _experiments(params: Path) -> Iterator[str]:
    """Names of the experiments of all presets."""
    for file in sorted([*params.glob("*.yaml"), *params.glob("*/*.yaml")]):
        if file.parent.name not in NOT_PRESETS:
            yield from read_yaml(file).get("experiments") or {}


def _files(name: str, source: Source) -> Iterator[tuple[str, Path]]:
    """Key with value in the manifest, and the file that it asks for."""
    for role in REQUIRED:
        yield f"templates: {source.templates!r}", TEMPLATES / source.templates / f"{role}{SUFFIX}"
    for notebook in source.notebooks:
        yield f"notebooks: {notebook.name!r}", Path("notebooks/source") / name / f"{notebook.name}.ipynb"
