"""Check the manifests against the files of the project, and the claims against the manifests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from palimpsest import sources
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import read_yaml
from palimpsest.sources.shared.checks import located
from palimpsest.sources.shared.manifest import Source

NOT_PRESETS = {"claims", "published", "schema"}
"""Folders of ``params/`` that hold no experiments."""


def check(project: Path) -> None:
    """Check the manifests of all sources against the project.

    Args:
        project: the folder that holds ``params``, ``notebooks`` and ``paper``.

    Raises:
        ParameterError: no preset has an experiment of a manifest, a template or notebook is missing, or a claim is
            about an experiment that its source does not have.
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
    yield f"templates: {source.templates!r}", Path("paper/source") / source.templates / "section.tex.j2"
    for notebook in source.notebooks:
        yield f"notebooks: {notebook.name!r}", Path("notebooks/source") / name / f"{notebook.name}.ipynb"
