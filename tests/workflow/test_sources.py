"""A source is new files and nothing else: one is added and built to the PDF, others are taken away."""

import shutil
from pathlib import Path

import pytest

from palimpsest import sources as manifests
from palimpsest.foundation.sections import read_yaml
from tests.workflow.project import HOME, Project, checkout

TOY = Path(__file__).parent / "toy"
FILES = sorted(str(file.relative_to(TOY)) for file in TOY.rglob("*.*") if file.suffix != ".pyc")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The project without any product."""
    return checkout(tmp_path / "project")


def add_toy(project: Project) -> None:
    """Put the files of the toy source into the project; none of them may be there."""
    for name in FILES:
        assert not (project.path / name).exists(), name
        (project.path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TOY / name, project.path / name)


def test_a_source_of_new_files_is_built_to_the_pdf(project: Project) -> None:
    add_toy(project)
    shared = read_yaml(HOME / "params/default.yaml")
    shared |= {"preset": "smoke", "workdir": "build/toy", "seeds": [0, 1], "omit": []}
    own = read_yaml(TOY / "params/default/toy.yaml")
    project.write("params/only_toy.yaml", {**shared, **own, "trace_examples": 4})
    project.snakemake("--configfile", "params/only_toy.yaml")
    root = project.path / "build/toy"
    for product in (
        "plots/toy_echo/register_vs_lstm.pdf",
        "tables/toy_scores.tex",
        "tables/claims_999.tex",
        "notebooks/executed/09_Toy.ipynb",
        "paper/paper.pdf",
        "paper/supplement.pdf",
    ):
        assert (root / product).stat().st_size, product
    assert "shift register" in (root / "tables/toy_scores.tex").read_text(encoding="utf-8")
    text = (root / "paper/paper.tex").read_text(encoding="utf-8")
    assert "\\section{A toy}" in text
    assert "\\bibliography{source/references,source/toy/references}" in text
    assert "\\input{../tables/claims_matrix}" in text
    assert "999-a" in (root / "tables/claims_matrix.tex").read_text(encoding="utf-8")
    assert "999-a" in (root / "tables/claims.csv").read_text(encoding="utf-8")


OF_A_SOURCE = (
    "src/palimpsest/sources/{}.py",
    "params/default/{}.yaml",
    "params/smoke/{}.yaml",
    "params/paper/{}.yaml",
    "params/search/{}.yaml",
    "params/claims/{}.yaml",
    "params/published/{}.yaml",
    "notebooks/source/{}",
    "paper/source/{}",
)


def remove_source(project: Project, name: str) -> None:
    """Take all files of a source away; models, tasks and memories stay, as others may use them."""
    for pattern in OF_A_SOURCE:
        path = project.path / pattern.format(name)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    own = manifests.load(name).experiment_names
    shared = read_yaml(project.path / "params/default.yaml")
    project.write("params/default.yaml", shared | {"omit": [one for one in shared["omit"] if one not in own]})


def test_sources_are_planned_whatever_others_there_are(project: Project) -> None:
    for name in manifests.names():
        if name != "nema_lite":
            remove_source(project, name)
    before = project.planned()
    assert {base.split("/")[1] for base in before["train"]} == {"nema_lite"}
    assert "paper" in before
    add_toy(project)
    after = project.planned()
    assert after["train"] - before["train"] == {
        "results/toy_echo/track=repaired/model=lstm",
        "results/toy_echo/track=repaired/model=memory_rnn/memory=toy_register",
    }
    assert before["train"] <= after["train"]


def test_what_a_preset_omits_is_neither_trained_nor_shown(project: Project) -> None:
    omitted = set(read_yaml(project.path / "params/default.yaml")["omit"])
    assert omitted
    planned = project.planned()
    assert not omitted & {path.split("/")[1] for path in planned["train"] | planned["data"] | planned["plot"]}
    project.edit("params/default.yaml", "omit: [", "omit: [mqar, ")
    fewer = project.planned()
    assert {path.split("/")[1] for path in planned["train"] - fewer["train"]} == {"mqar"}
    assert fewer["train"] < planned["train"]
    whole = project.planned("--configfile", "params/smoke.yaml")
    assert omitted <= {path.split("/")[1] for path in whole["train"]}


WRONG = {
    "experiment": (
        "src/palimpsest/sources/toy.py",
        '        Experiment(\n            name="toy_echo",',
        '        Experiment(name="toy_echoes"),\n        Experiment(\n            name="toy_echo",',
        "sources/toy.py: experiments: 'toy_echoes': no preset has it; allowed: ",
    ),
    "number": (
        "src/palimpsest/sources/toy.py",
        'number="999"',
        'number="001"',
        "params/claims/toy.yaml: claims.999-a.source: '999'; allowed: 001",
    ),
    "title": (
        "src/palimpsest/sources/toy.py",
        'title="Toy"',
        'title="NeMA-LC"',
        "sources/toy.py: titles: 'NeMA-LC' is also in src/palimpsest/sources/nema_lc.py; allowed: one source",
    ),
    "template": (
        "src/palimpsest/sources/toy.py",
        'templates="toy"',
        'templates="toys"',
        "sources/toy.py: templates: 'toys'; no such file: paper/source/toys/abstract_claims.tex.j2",
    ),
    "citation": (
        "src/palimpsest/sources/toy.py",
        'citations=("toy2026",)',
        'citations=("toy2027",)',
        "sources/toy.py: citations: 'toy2027' is not in paper/source/references.bib or paper/source/toy/"
        "references.bib; allowed: toy2026, ",
    ),
    "notebook": (
        "src/palimpsest/sources/toy.py",
        'name="09_Toy"',
        'name="08_Toy"',
        "sources/toy.py: notebooks: '08_Toy'; no such file: notebooks/source/toy/08_Toy.ipynb",
    ),
    "claim": (
        "params/claims/toy.yaml",
        "experiment: toy_echo",
        "experiment: copy",
        "params/claims/toy.yaml: claims.999-a.experiment: 'copy'; allowed: toy_echo",
    ),
    "omitted": (
        "params/default.yaml",
        "omit: [",
        "omit: [toy_echoes, ",
        "params/default.yaml: omit: 'toy_echoes' is no experiment; allowed: nema_lite, ",
    ),
    "preset": (
        "params/default/toy.yaml",
        "  toy_echo:",
        "  copy: {}\n  toy_echo:",
        "params/default/toy.yaml: experiments: 'copy' is not in src/palimpsest/sources/toy.py; allowed: toy_echo",
    ),
}


@pytest.mark.parametrize(("file", "old", "new", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_manifest_is_one_line(file: str, old: str, new: str, message: str, project: Project) -> None:
    add_toy(project)
    project.edit(file, old, new)
    done = project.snakemake("--dry-run", check=False)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("palimpsest: ")]
    assert message in line
