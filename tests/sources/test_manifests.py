"""Manifests: cheap to read, of one mind with each other, and refused in one line where they are not."""

import dataclasses
import subprocess
import sys

import pytest

from palimpsest import sources
from palimpsest.foundation.errors import ParameterError
from palimpsest.sources.shared.checks import check_alone, check_together
from palimpsest.sources.shared.figures import Figure, Weightings
from palimpsest.sources.shared.looks import Look
from palimpsest.sources.shared.manifest import Experiment, Looks, Notebook, Source, Words
from palimpsest.sources.shared.tables import Scores

TOY = Source(
    number="999",
    title="Toy",
    phrase="a toy",
    citations=("toy2026",),
    description="A toy.",
    experiments=(Experiment(name="toy"),),
    section_needs=("toy",),
    templates="toy",
)


def test_manifests_import_neither_torch_nor_matplotlib() -> None:
    command = "import sys; from palimpsest import sources; sources.manifests(); print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "palimpsest.sources.shared.manifest" in imported
    assert not imported & {"torch", "matplotlib", "pandas", "numpy"}


def test_manifests_come_in_the_order_of_their_numbers() -> None:
    numbers = [source.number for source in sources.manifests().values()]
    assert numbers == sorted(numbers)
    assert set(sources.manifests()) == set(sources.names())


def test_an_unknown_source_is_refused_with_those_that_are_allowed() -> None:
    with pytest.raises(ParameterError, match="'nobody' is no source; allowed: .*nema_lite"):
        sources.load("nobody")


WRONG_ALONE = {
    "number": ({"number": "4"}, r"toy\.py: number: '4'; allowed: three digits"),
    "experiment twice": (
        {"experiments": (Experiment(name="toy"), Experiment(name="toy"))},
        r"toy\.py: experiments: 'toy' twice",
    ),
    "figure of no kind": (
        {"experiments": (Experiment(name="toy", figures=(Figure(name="plain"),)),)},
        r"toy\.py: experiments\.toy\.figures: Figure\(name='plain'\); allowed: a kind of Figure",
    ),
    "figure twice": (
        {"experiments": (Experiment(name="toy", figures=(Weightings(name="w"), Weightings(name="w"))),)},
        r"toy\.py: experiments\.toy\.figures: 'w' twice",
    ),
    "notebook": (
        {"notebooks": (Notebook(name="09_Toy", experiments=("copy",)),)},
        r"toy\.py: notebooks\.09_Toy: 'copy'; allowed: toy",
    ),
    "section": ({"section_needs": ("copy",)}, r"toy\.py: section_needs: 'copy'; allowed: toy"),
    "section without needs": ({"section_needs": ()}, r"toy\.py: section_needs: \(\); allowed: .* toy"),
    "table": (
        {"tables": (Scores(name="scores", metrics=("test_accuracy_on",), experiments=("copy",)),)},
        r"toy\.py: tables\.scores: 'copy'; allowed: toy",
    ),
}


@pytest.mark.parametrize(("change", "message"), WRONG_ALONE.values(), ids=WRONG_ALONE)
def test_a_wrong_manifest_is_refused_in_one_line(change: dict, message: str) -> None:
    check_alone("toy", TOY)
    with pytest.raises(ParameterError, match=message) as error:
        check_alone("toy", dataclasses.replace(TOY, **change))
    assert "\n" not in str(error.value)


WRONG_TOGETHER = {
    "title": ({"title": "NeMA-Lite"}, r"toy\.py: titles: 'NeMA-Lite' is also in src/palimpsest/sources/nema_lite\.py"),
    "experiment": (
        {"experiments": (Experiment(name="toy"), Experiment(name="copy"))},
        r"toy\.py: experiments: 'copy' is also in .*library",
    ),
    "notebook": ({"notebooks": (Notebook(name="02_NeMA_LC_Memory_Dynamics", experiments=()),)}, r"notebooks: '02_"),
    "templates": ({"templates": "nema_lc"}, r"toy\.py: templates: 'nema_lc' is also in"),
    "label": ({"words": Words(labels={"ntm": "Toy"})}, r"words\.labels: 'ntm': 'Toy', but 'NTM' in .*library\.py"),
    "look": ({"looks": Looks(models={"fifo": Look("#000000", "o")})}, r"looks\.models: 'fifo'"),
}


@pytest.mark.parametrize(("change", "message"), WRONG_TOGETHER.values(), ids=WRONG_TOGETHER)
def test_what_belongs_to_one_source_is_refused_in_another(change: dict, message: str) -> None:
    known = sources.manifests()
    check_together({**known, "toy": TOY})
    with pytest.raises(ParameterError, match=message) as error:
        check_together({**known, "toy": dataclasses.replace(TOY, **change)})
    assert "\n" not in str(error.value)


def test_sources_may_agree_on_what_they_share() -> None:
    same = Words(labels={"ntm": "NTM"})
    check_together({**sources.manifests(), "toy": dataclasses.replace(TOY, words=same)})


def test_parts_of_one_source_share_its_number_and_its_table_of_claims() -> None:
    known = sources.manifests()
    part = dataclasses.replace(TOY, number="000")
    check_together({**known, "toy": part})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "manifests", lambda: {**known, "toy": part})
        files = sources.table_files(["nema_lite", "toy"])
    assert files.count("claims_000.tex") == 1
