"""Read the files of a preset, of the claims and of the published numbers: one file a source, merged.

``params/default.yaml`` has what all sources share, ``params/default/<source>.yaml`` the experiments of one source. A
preset that extends another (``params/smoke.yaml``) has overlays in ``params/smoke/<source>.yaml``. Claims and
published numbers are in ``params/claims/<source>.yaml`` and ``params/published/<source>.yaml``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from palimpsest import sources
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked, merge, read_yaml
from palimpsest.planning.departures import Departures, depart, with_one_set_of_seeds
from palimpsest.planning.parameters import Params
from palimpsest.sources.shared.checks import located


def read_params(path: Path) -> Params:
    """Read a preset with the files of its sources, without the experiments that it omits.

    Raises:
        ParameterError: one line a mistake: file, key, value, and what is allowed.
    """
    return read_whole(path).without_omitted()


def read_whole(path: Path) -> Params:
    """Read a preset with the files of its sources, and all their experiments: those that it omits, too.

    Raises:
        ParameterError: one line a mistake: file, key, value, and what is allowed.
    """
    content = read_content(path)
    with errors_of_sources(path):
        return checked(Params, content, path)


@contextmanager
def errors_of_sources(path: Path) -> Iterator[None]:
    """Errors about an experiment, raised within, name the file of its source in place of the preset."""
    try:
        yield
    except ParameterError as error:
        raise ParameterError("\n".join(_with_its_file(line, path) for line in str(error).splitlines())) from None


def _with_its_file(line: str, path: Path) -> str:
    start = f"{path}: experiments."
    if not line.startswith(start):
        return line
    experiment = re.split(r"\W", line.removeprefix(start), maxsplit=1)[0]
    return f"{file_of(path, experiment)}{line.removeprefix(str(path))}"


def folder_of(path: Path) -> Path:
    """Where the files of the sources of a preset are: ``params/default.yaml`` → ``params/default``."""
    return path.with_suffix("")


def file_of(path: Path | str, experiment: str) -> Path | str:
    """The file in which an experiment of a preset is expected, for error messages.

    Args:
        path: of the preset.
        experiment: any name.

    Returns:
        The file of the experiment's source if the preset has one, else ``path``.
    """
    file = folder_of(Path(path)) / f"{sources.source_of(experiment)}.yaml"
    return file if file.is_file() else path


def read_content(path: Path) -> dict[str, Any]:
    """Read a preset with the files of its sources; ``extends: other.yaml`` starts from another preset.

    The seeds of a preset that extends another stand for all seeds of what it extends, also those of tracks and grids.
    It may also have the keys of :class:`palimpsest.planning.departures.Departures`, which change it everywhere at once;
    they are applied here.

    Raises:
        ParameterError: a file is missing, no YAML, or extends a preset that extends another; two files give one
            experiment; a file has an experiment that its source does not have; or a departure is wrong.
    """
    content = _with_sources(path)
    if "extends" not in content:
        return content
    base = path.parent / str(content.pop("extends"))
    inherited = _with_sources(base)
    if "extends" in inherited:
        raise ParameterError(f"{base}: extends: {inherited['extends']!r}; allowed: a preset that extends none")
    if "seeds" in content:
        inherited = with_one_set_of_seeds(inherited)
    own = {key: content.pop(key) for key in Departures.model_fields if key in content}
    return depart(merge(inherited, content), own, path)


def _with_sources(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not folder_of(path).is_dir():
        return content
    own = content.get("experiments") or {}
    parts = read_parts(folder_of(path), "experiments", given={"experiments": dict.fromkeys(own, path)})
    return content | {"experiments": {**own, **parts["experiments"]}}


def read_parts(folder: Path, *keys: str, given: dict[str, dict[str, Path]] | None = None) -> dict[str, dict[str, Any]]:
    """Read and merge ``<folder>/<source>.yaml`` of every source.

    Args:
        folder: whose files are read, in the order of the sources' numbers.
        keys: top-level keys that a file may have, each a mapping; an experiment that a manifest lists must be in the
            file of its source. One that no manifest lists is run and tabulated, and has no figures.
        given: key → name → file of what is given elsewhere.

    Returns:
        Key → the mappings of all files, merged.

    Raises:
        ParameterError: a file is named after no source, has another key, gives a name that another file gives, or has
            an experiment of another source.
    """
    merged: dict[str, dict[str, Any]] = {key: {} for key in keys}
    origins = {key: dict((given or {}).get(key, {})) for key in keys}
    for file in _files(folder):
        source = sources.load(file.stem, str(file))
        for key, part in read_yaml(file).items():
            if key not in keys or not isinstance(part, dict):
                raise ParameterError(f"{file}: {key}: {part!r}; allowed: a mapping below {' or '.join(keys)}")
            for name, value in part.items():
                if key == "experiments" and sources.source_of(name) not in (file.stem, None):
                    allowed = ", ".join(source.experiment_names)
                    raise ParameterError(f"{file}: {key}: {name!r} is not in {located(file.stem)}; allowed: {allowed}")
                if name in origins[key]:
                    raise ParameterError(f"{file}: {key}: {name!r} is also in {origins[key][name]}; allowed: one file")
                origins[key][name], merged[key][name] = file, value
    return merged


def _files(folder: Path) -> list[Path]:
    """The files of a folder in the order of the sources' numbers; a file of no source comes last."""
    order = list(sources.manifests())
    rank = {name: place for place, name in enumerate(order)}
    return sorted(folder.glob("*.yaml"), key=lambda file: (rank.get(file.stem, len(order)), file.stem))
