"""The README agrees with the committed results, and names only commands and files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from palimpsest.analysis.tables import read_runs
from palimpsest.foundation.errors import DataError
from palimpsest.rendering import readme
from tests.training.presets import PROJECT

TEXT = (PROJECT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_claims_is_that_of_the_verdicts() -> None:
    assert readme.render(PROJECT / "README.md", PROJECT / "params/claims", PROJECT) == TEXT


def test_the_numbers_beside_the_first_figure_are_those_of_the_runs() -> None:
    runs = read_runs(PROJECT, "nema_lite")
    runs = runs[runs["model"] == "nema_lite"]
    published, repaired = (runs[runs["track"] == track] for track in ("published", "repaired"))
    accurate = repaired[repaired["test_accuracy_on"] >= 0.9]["test_write_ratio"]
    sentences = " ".join(re.sub(r"<!--.*?-->", "", TEXT, flags=re.DOTALL).split())
    for words in (
        f"{(published['test_write_ratio'] == 0).sum()} of {len(published)} runs write nothing",
        f"none has an accuracy above {published['test_accuracy_on'].max():.3f}",
        f"the best possible is {published['ceiling'].max():.3f}",
        f"{len(accurate)} of {len(repaired)} runs reach an accuracy of 0.9 or more",
        f"{(accurate <= 0.1).sum()} of them write at most one token in ten",
        f"and {(accurate <= 0.02).sum()} at most two in a hundred",
    ):
        assert words in sentences, words


def test_every_verdict_of_the_table_stands_in_the_readme() -> None:
    rows = (PROJECT / "tables/claims.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len({tuple(row.split(",")[:2]) for row in rows}) == len(rows) >= 18
    for row in rows:
        claim, track, verdict = row.split(",")[:3]
        line = next(line for line in TEXT.splitlines() if line.startswith(f"| {claim}:"))
        assert line.split("|")[{"published": 2, "repaired": 3}[track]].strip() == f"**{verdict}**"


def test_what_other_seeds_flip_is_counted() -> None:
    rows = [row.split(",") for row in (PROJECT / "tables/flips.csv").read_text(encoding="utf-8").splitlines()]
    pairs = [(row[rows[0].index("verdict")], row[rows[0].index("fresh_verdict")]) for row in rows[1:]]
    pairs = [pair for pair in pairs if "by construction" not in pair]
    flips = sum(one != other for one, other in pairs)
    opposite = sum(set(pair) == {"holds", "fails"} for pair in pairs)
    words = f"{flips} of the {len(pairs)} that can change do, {opposite} of them from holds to fails or back."
    assert words in " ".join(TEXT.split())


def test_links_and_pictures_lead_to_files() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert targets
    for target in targets:
        assert (PROJECT / target).is_file(), target


def test_the_layout_names_files_and_folders_that_exist() -> None:
    layout = TEXT.split("## Layout")[1].split("##")[0]
    cells = [line.split("|")[1] for line in layout.splitlines() if line.startswith("| `")]
    named = [path for cell in cells for path in re.findall(r"`([^`…]+)`", cell)]
    assert len(named) > 20
    homes = [PROJECT, PROJECT / "src/palimpsest", PROJECT / "params"]
    for path in named:
        assert any(any(home.glob(path.replace("NAME", "*"))) for home in homes), path


def test_every_make_target_that_it_names_exists() -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_sentences_follow_the_runs(tmp_path: Path) -> None:
    count = '{count of nema_lite where track == "repaired" and model == "write_all"}'
    template = f"A {count} and {{max seed of nema_lite where seed < 3}}.\n"
    path = tmp_path / "README.md"
    block = "<!-- from results:\n{}-->\nOld.\n<!-- end of results -->\n"
    path.write_text(f"{readme.BEGIN}\n{readme.END}\n" + block.format(template), encoding="utf-8")
    text = readme.render(path, PROJECT / "params/claims", PROJECT)
    runs = read_runs(PROJECT, "nema_lite").query("track == 'repaired' and model == 'write_all'")
    assert f"-->\nA {len(runs)} and 2.\n<!-- end of results -->" in text
    assert template in text
    for wrong in (
        "{count of nema_lite where nothing == 1}",
        "{mean x of nema_lite}",
        "{max seed of nema_lite where seed < 0}",
    ):
        path.write_text(f"{readme.BEGIN}\n{readme.END}\n" + block.format(wrong + "\n"), encoding="utf-8")
        with pytest.raises(DataError, match=r"README.md: '{.*allowed: "):
            readme.render(path, PROJECT / "params/claims", PROJECT)


def test_a_readme_without_marks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("nothing")
    with pytest.raises(DataError, match=r"README\.md: .*not found once each; allowed: one pair of marks"):
        readme.render(path, PROJECT / "params/claims", PROJECT)
