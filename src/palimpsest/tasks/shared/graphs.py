"""Knowledge graphs: those that PyKEEN bundles, a family tree whose rules are known, and what leaks between splits.

A graph is a set of facts (h, r, t): the relation r leads from the head h to the tail t. Entities and relations are
numbers, each from 0, in the order of their sorted names.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Generator, Tensor

from palimpsest.foundation.errors import DataError

PACKAGE, VERSION = "pykeen", "1.11.1"
"""What has the graphs [Ali et al. 2021]; its files are read, its code is never imported."""
FILES = ("train.txt", "valid.txt", "test.txt")
"""Files of a graph, as PyKEEN splits it: a fact a line, ``head ⇥ relation ⇥ tail``."""


class Size(NamedTuple):
    """What there is in a bundled graph."""

    entities: int
    relations: int
    facts: tuple[int, int, int]
    """Of training, validation and test."""
    sha256: str
    """Of the three files behind each other."""


BUNDLED = {
    "kinships": Size(104, 25, (8544, 1068, 1074), "e565d94e6c85967eb25a4951102ab65c05c3ca0675443f8be62fee446e426290"),
    "nations": Size(14, 55, (1592, 199, 201), "a38229914394e26a8d0825aa0d6ba9965eb6a443429d2c50b5366ec2843ded5c"),
    "umls": Size(135, 46, (5216, 652, 661), "3f85eacad0939d890fcc4dc1a35eeb3ebb9a063729bf260d862d8d26c14ee1c2"),
}
"""Kinships of the Alyawarra, relations of nations, and concepts of medicine [Kemp et al. 2006]."""
FAMILY = ("parent", "grandparent", "sibling", "uncle", "cousin")
"""Relations of a family tree: (h, r, t) says that t is the r of h."""


class Graph(NamedTuple):
    """A graph in three splits, no fact in two of them."""

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    train: Int[Tensor, "facts 3"]
    """(h, r, t), one a row."""
    validation: Int[Tensor, "facts 3"]
    test: Int[Tensor, "facts 3"]

    @property
    def facts(self) -> Int[Tensor, "facts 3"]:
        """All facts."""
        return torch.cat([self.train, self.validation, self.test])


class Leakage(NamedTuple):
    """Shares of test facts (h, r, t) that training gives away, each in [0, 1]."""

    reversed_pairs: float
    """Some relation leads from t to h in training: an inverse, or a symmetric one."""
    same_pairs: float
    """Another relation leads from h to t in training: a duplicate, or one that comes with it."""
    either: float


@lru_cache(maxsize=4)
def bundled(name: str) -> Graph:
    """Read a graph of :data:`BUNDLED` from the files of PyKEEN's package.

    Raises:
        DataError: the package is not installed, or has other files than those of this version.
    """
    size = BUNDLED[name]
    try:
        package = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        raise DataError(
            f"graph {name!r}: its package, {PACKAGE} {VERSION}, is missing; allowed: graph 'family', or all "
            "after `make venv`, which installs requirements-graphs.lock"
        ) from None
    folder = Path(str(package.locate_file(f"pykeen/datasets/{name}")))
    try:
        contents = [(folder / file).read_bytes() for file in FILES]
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be read: {error.strerror}; allowed: the files of {PACKAGE} {VERSION}"
        ) from None
    if hashlib.sha256(b"".join(contents)).hexdigest() != size.sha256:
        raise DataError(f"{folder}: other facts; allowed: the files of {PACKAGE} {VERSION}")
    return numbered(*([tuple(line.split("\t")) for line in text.decode().splitlines()] for text in contents))


def numbered(*splits: list[tuple[str, ...]]) -> Graph:
    """Return the graph of facts by name; entities and relations are those of the first split, which is training."""
    entities = tuple(sorted({name for head, _, tail in splits[0] for name in (head, tail)}))
    relations = tuple(sorted({relation for _, relation, _ in splits[0]}))
    entity, relation = ({name: number for number, name in enumerate(names)} for names in (entities, relations))
    tensors = [torch.tensor([[entity[h], relation[r], entity[t]] for h, r, t in split]) for split in splits]
    return Graph(entities, relations, *tensors)


def family_size(branching: int, generations: int) -> int:
    """People of a family tree: 1 + b + … + b^(g−1)."""
    return sum(branching**depth for depth in range(generations))


@lru_cache(maxsize=4)
def family_facts(branching: int, generations: int) -> Int[Tensor, "facts 3"]:
    """Return all facts of a tree in which everybody has b children, g generations deep, relations as in FAMILY.

    Only ``parent`` is free; all others follow by rules, of which a test has a second implementation::

        grandparent(x, z) ← parent(x, y), parent(y, z)            cousin(x, z) ← uncle(x, y), parent(z, y)
        sibling(x, z)     ← parent(x, y), parent(z, y), x ≠ z     uncle(x, z)  ← parent(x, y), sibling(y, z)

    Person 0 is the root, and the children of i are i·b + 1 … i·b + b.
    """
    people = range(family_size(branching, generations))
    parent = {person: (person - 1) // branching for person in people if person}
    children = {person: [child for child, of in parent.items() if of == person] for person in people}
    grandparent = {person: parent[of] for person, of in parent.items() if of in parent}
    found = [(person, "parent", of) for person, of in parent.items()]
    found += [(person, "grandparent", of) for person, of in grandparent.items()]
    found += [(a, "sibling", b) for siblings in children.values() for a, b in product(siblings, siblings) if a != b]
    uncles = [(a, b) for a, top in grandparent.items() for b in children[top] if b != parent[a]]
    found += [(a, "uncle", b) for a, b in uncles]
    found += [(a, "cousin", child) for a, b in uncles for child in children[b]]
    return torch.tensor([(head, FAMILY.index(relation), tail) for head, relation, tail in found])


def family(branching: int, generations: int, seed: int) -> Graph:
    """Return a family tree in three splits: every ``parent`` fact is in training, as is most of what follows from it.

    Of the facts that follow, a fifth is the test and a tenth is validation. The seed decides which, and gives people
    their numbers.

    Args:
        branching: children b of everybody but the youngest.
        generations: g.
        seed: of the split.
    """
    generator = Generator().manual_seed(seed)
    facts = family_facts(branching, generations)
    size = family_size(branching, generations)
    number = torch.randperm(size, generator=generator)
    facts = torch.stack([number[facts[:, 0]], facts[:, 1], number[facts[:, 2]]], 1)
    facts = facts[torch.randperm(len(facts), generator=generator)]
    derived = facts[facts[:, 1] != FAMILY.index("parent")]
    test, validation = len(derived) // 5, len(derived) // 10
    train = torch.cat([facts[facts[:, 1] == FAMILY.index("parent")], derived[test + validation :]])
    train = train[torch.randperm(len(train), generator=generator)]
    people = tuple(f"person{person}" for person in range(size))
    return Graph(people, FAMILY, train, derived[test : test + validation], derived[:test])


def pairs_of(facts: Int[Tensor, "facts 3"], entities: int) -> Bool[Tensor, "entities entities"]:
    """Whether any relation leads from one entity (row) to another (column)."""
    joined = torch.zeros(entities, entities, dtype=torch.bool)
    joined[facts[:, 0], facts[:, 2]] = True
    return joined


def leakage(graph: Graph) -> Leakage:
    """Measure which test facts have a pair of entities that training joins, in this direction or the other.

    A model that learns which relations come together answers these without learning anything of the entities
    [Toutanova, Chen 2015; Dettmers et al. 2018].
    """
    joined = pairs_of(graph.train, len(graph.entities))
    heads, tails = graph.test[:, 0], graph.test[:, 2]
    back, along = joined[tails, heads], joined[heads, tails]
    return Leakage(*(float(share.double().mean()) for share in (back, along, back | along)))
