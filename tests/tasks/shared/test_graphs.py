"""Graphs: the rules of a family, its split, what leaks, and what happens without the package."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from itertools import product
from pathlib import Path

import pytest
import torch

from palimpsest.foundation.errors import DataError
from palimpsest.tasks.shared import graphs

HAS_PYKEEN = importlib.util.find_spec("pykeen") is not None


def derived(parent: set[tuple[int, int]], people: int) -> set[tuple[int, str, int]]:
    """All facts of a family by the rules of the docstring alone, as joins over pairs of people."""
    pairs = list(product(range(people), repeat=2))
    of = dict(parent)
    grandparent = {(x, of[y]) for x, y in parent if y in of}
    sibling = {(x, z) for x, z in pairs if x != z and x in of and of.get(z) == of[x]}
    uncle = {(x, z) for x, y in parent for s, z in sibling if s == y}
    cousin = {(x, z) for x, y in uncle for z, p in parent if p == y}
    found = {"parent": parent, "grandparent": grandparent, "sibling": sibling, "uncle": uncle, "cousin": cousin}
    return {(x, name, z) for name, facts in found.items() for x, z in facts}


@pytest.mark.parametrize(("branching", "generations"), [(2, 3), (2, 4), (3, 3)])
def test_rules_derive_every_fact_of_a_family_from_the_parents_in_training(branching: int, generations: int) -> None:
    graph = graphs.family(branching, generations, 4)
    facts = {(h, graph.relations[r], t) for h, r, t in graph.facts.tolist()}
    parents = {(h, t) for h, r, t in graph.train.tolist() if graph.relations[r] == "parent"}
    assert len(facts) == len(graph.facts)
    assert derived(parents, len(graph.entities)) == facts


def test_no_fact_is_in_two_splits_and_the_seed_decides_which() -> None:
    one, again, other = (graphs.family(3, 4, seed) for seed in (0, 0, 1))
    assert len({tuple(fact) for fact in one.facts.tolist()}) == len(one.facts) == 441
    assert torch.equal(one.facts, again.facts)
    assert not torch.equal(one.test, other.test)


def test_leakage_counts_pairs_in_either_direction() -> None:
    graph = graphs.Graph(
        tuple("abcd"),
        ("r", "s"),
        train=torch.tensor([[0, 0, 1], [2, 1, 3]]),
        validation=torch.tensor([[0, 0, 3]]),
        test=torch.tensor([[1, 1, 0], [2, 0, 3], [3, 0, 0], [0, 1, 2]]),
    )
    assert graphs.leakage(graph) == graphs.Leakage(reversed_pairs=0.25, same_pairs=0.25, either=0.5)


@pytest.mark.skipif(not HAS_PYKEEN, reason="the graphs of requirements-graphs.lock are not installed")
@pytest.mark.parametrize(("name", "back"), [("kinships", 0.8147), ("umls", 0.4085), ("nations", 1)])
def test_the_bundled_graphs_have_their_sizes_and_leak_as_measured(name: str, back: float) -> None:
    graph, size = graphs.bundled(name), graphs.BUNDLED[name]
    assert (len(graph.entities), len(graph.relations)) == size[:2]
    assert tuple(len(part) for part in (graph.train, graph.validation, graph.test)) == size.facts
    assert graphs.leakage(graph).reversed_pairs == pytest.approx(back, abs=1e-4)


class Elsewhere:
    """A package whose files are in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locate_file(self, path: str) -> Path:
        return self.folder / path


def test_without_the_package_one_line_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(graphs.metadata, "distribution", missing)
    graphs.bundled.cache_clear()
    with pytest.raises(
        DataError, match="graph 'kinships': its package, pykeen 1.11.1, is missing.*`make venv`"
    ) as caught:
        graphs.bundled("kinships")
    assert "\n" not in str(caught.value)


def test_other_files_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(graphs.metadata, "distribution", lambda _: Elsewhere(tmp_path))
    graphs.bundled.cache_clear()
    with pytest.raises(DataError, match="cannot be read"):
        graphs.bundled("nations")
    folder = tmp_path / "pykeen/datasets/nations"
    folder.mkdir(parents=True)
    for file in graphs.FILES:
        (folder / file).write_text("a\tr\tb\n")
    with pytest.raises(DataError, match="other facts; allowed: the files of pykeen 1.11.1"):
        graphs.bundled("nations")
