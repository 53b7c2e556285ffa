"""A copy of the project in which the real pipeline runs, and what its commands say that they would do."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from palimpsest import sources
from palimpsest.foundation.sections import merge
from palimpsest.planning.presets import read_content

HOME = Path(__file__).parents[2]
NEVER_HASHED = {".snakemake", "logs", "benchmarks", "checkpoints"}
SOURCES = {"paper/source", "notebooks/source"}
AFTER_MEASURING = {
    "aggregate", "index", "dynamics", "claims", "tables", "numbers", "plot", "notebook", "record", "paper", "all",
}  # fmt: skip
"""Every rule that stands behind `measure`."""
AFTER_TRAINING = AFTER_MEASURING | {"measure"}
"""Every rule that stands behind `train`."""
EVERYTHING = AFTER_TRAINING | {"data", "train"}


@dataclass(frozen=True)
class Project:
    """A copy of the project at ``path``."""

    path: Path

    def run(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this interpreter's environment in the copy."""
        done = subprocess.run(
            command, cwd=self.path, env=self.environment(**environment), capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def environment(self, **changes: str) -> dict[str, str]:
        """Of a command: the interpreter's own programs first, no installed copy of the package preferred."""
        programs = Path(sys.executable).parent
        unwanted = ("PYTHONPATH", "MAKEFLAGS", "PALIMPSEST_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        return {**inherited, "PATH": f"{programs}:{os.environ['PATH']}", **changes}

    def snakemake(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run snakemake on two cores."""
        return self.run("snakemake", "--cores", "2", *arguments, check=check, **environment)

    def planned(self, *arguments: str) -> dict[str, set[str]]:
        """What `snakemake -n` would run: for each rule, the files that its jobs write first; for `train`, all cells."""
        text = self.snakemake("--dry-run", *arguments).stdout
        jobs: dict[str, set[str]] = defaultdict(set)
        rule = ""
        for line in text.splitlines():
            if found := re.match(r"(?:local)?rule (\w+):", line):
                rule = re.sub(r"^(train|measure|plot)_.*", r"\1", found[1])
                jobs[rule] |= {"all"} if rule == "all" else set()
            elif found := re.match(r"    output: (.+)", line):
                files = found[1].split(", ")
                jobs[rule] |= {re.sub(r"/seed=.*", "", file) for file in (files if rule == "train" else files[:1])}
        assert jobs or "Nothing to be done" in text or re.search(r"^total +0$", text, re.MULTILINE), text
        return dict(jobs)

    def git(self, *arguments: str) -> str:
        """Run git under a name of its own."""
        name = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
        return self.run("git", *name, *arguments).stdout

    def dvc(self, *arguments: str) -> str:
        """Run dvc; what it says, on either stream."""
        done = self.run("dvc", *arguments)
        return done.stdout + done.stderr

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace the only or first occurrence of a text."""
        path = self.path / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def append(self, file: str, text: str) -> None:
        """Add text at the end of a file."""
        with (self.path / file).open("a", encoding="utf-8") as stream:
            stream.write(text)

    def preset(self, **changes: Any) -> None:
        """Make the smoke preset the default one, in the project's own directory, with changes to its sections."""
        content = merge(read_content(HOME / "params/smoke.yaml"), {"workdir": ".", **changes})
        by_source: dict[str, dict[str, Any]] = {}
        for experiment, values in content.pop("experiments").items():
            by_source.setdefault(str(sources.source_of(experiment)), {})[experiment] = values
        for source, experiments in by_source.items():
            self.write(f"params/default/{source}.yaml", {"experiments": experiments})
        self.write("params/default.yaml", content)

    def write(self, file: str, content: dict[str, Any]) -> None:
        """Replace a file by YAML."""
        (self.path / file).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def products(self, root: str = ".") -> dict[str, str]:
        """Hash of every product below ``root``, by path."""
        found = {}
        for top in ("data", "results", "tables", "plots", "notebooks", "paper"):
            for file in sorted((self.path / root / top).rglob("*")):
                name = str(file.relative_to(self.path / root))
                if file.is_file() and not name.startswith(tuple(SOURCES)):
                    found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
        return found

    def copy(self, path: Path) -> Project:
        """The same tree, products and times included, at another place."""
        shutil.copytree(self.path, path, symlinks=True)
        return Project(path)


def checkout(path: Path) -> Project:
    """Copy what git tracks or would track, without products, into a repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=HOME, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    products = re.compile(r"(tables|plots)/|notebooks/executed/|paper/[^/]+$|dvc\.lock$")
    for name in filter(None, listed):
        if not products.match(name) and ((HOME / name).is_file() or (HOME / name).is_symlink()):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(HOME / name, path / name, follow_symlinks=False)
    project = Project(path)
    project.git("init", "--quiet")
    return project


def living(group: int) -> list[str]:
    """Command lines of the processes of a group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended meanwhile
            continue
        if int(its_group) == group and state != "Z":
            found.append(" ".join(words).strip())
    return found


def kill(process: subprocess.Popen[str]) -> None:
    """End a process and all that it started, as a machine that loses its power does."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    patience = time.monotonic() + 60
    while left := living(process.pid):
        assert time.monotonic() < patience, left
        time.sleep(0.02)
