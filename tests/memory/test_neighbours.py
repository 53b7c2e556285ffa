"""Buckets of random signs: what is put in is found, what is near is found mostly, nothing else is ever made up."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.memory import neighbours, recency
from palimpsest.memory.neighbours import Hashing
from palimpsest.memory.versioned import Version

CPU = torch.device("cpu")


def empty(hashing: Hashing) -> Version:
    columns = neighbours.empty_columns(1, 1, hashing, CPU)
    return Version(columns | {recency.COLUMN: recency.never_used(1, 1, hashing.num_rows, CPU)})


def filled(vectors: torch.Tensor, hashing: Hashing) -> tuple[Version, torch.Tensor]:
    """An index with all vectors put in, eight a step, and its random vectors."""
    directions = neighbours.directions(vectors.shape[-1], hashing)
    version = empty(hashing)
    for time, rows in enumerate(torch.arange(len(vectors)).split(8), 1):
        code = neighbours.hash_of(vectors[rows][None, None], directions, hashing).code
        index, every = rows[None, None], torch.ones(1, 1, len(rows), dtype=torch.bool)
        version = neighbours.insert(version, index, every, code, hashing)
        version = recency.use(version, index, every, time, hashing.num_rows)
    return version, directions


def found(version: Version, queries: torch.Tensor, directions: torch.Tensor, hashing: Hashing) -> list[set[int]]:
    """Rows that are found for each query."""
    hashed = neighbours.hash_of(queries[None, None], directions, hashing)
    return [set(rows) - {-1} for rows in neighbours.candidates(version, hashed, hashing)[0, 0].tolist()]


@given(st.integers(2, 4), st.integers(0, 1000))
def test_a_hash_is_the_signs_of_products_and_its_neighbours_differ_in_the_smallest(dim: int, seed: int) -> None:
    hashing = Hashing(num_rows=40, num_tables=3, bucket_size=8, num_probes=2)
    assert hashing.num_signs == math.ceil(math.log2(10))
    vector = torch.randn(dim, generator=torch.Generator().manual_seed(seed))
    directions = neighbours.directions(dim, hashing)
    hashed = neighbours.hash_of(vector[None, None, None], directions, hashing)
    for table in range(3):
        products = [float(vector @ directions[:, table * 4 + sign]) for sign in range(4)]
        code = sum(2**sign for sign, value in enumerate(products) if value > 0)
        doubtful = sorted(range(4), key=lambda sign: abs(products[sign]))
        near = {code, code ^ 2 ** doubtful[0], code ^ 2 ** doubtful[1]}
        assert hashed.code[0, 0, 0, table] == code
        assert set(hashed.near[0, 0, 0, :, table].tolist()) == near


def test_in_a_small_memory_every_row_is_found_from_everywhere() -> None:
    hashing = Hashing(num_rows=8, num_tables=2, bucket_size=16, num_probes=1)
    assert hashing.num_signs == 0
    vectors = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    version, directions = filled(vectors, hashing)
    queries = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    assert found(version, queries, directions, hashing) == [set(range(8))] * 4


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_a_row_is_found_by_its_content(seed: int) -> None:
    hashing = Hashing(num_rows=64, num_tables=4, bucket_size=16, num_probes=0)
    vectors = torch.randn(30, 6, generator=torch.Generator().manual_seed(seed))
    version, directions = filled(vectors, hashing)
    for row, rows in enumerate(found(version, vectors, directions, hashing)):
        assert row in rows


@pytest.mark.parametrize(("noise", "least"), [(0.0, 1.0), (0.1, 0.97), (0.3, 0.8)])
def test_most_near_rows_are_found(noise: float, least: float) -> None:
    generator = torch.Generator().manual_seed(3)
    hashing = Hashing(num_rows=300, num_tables=4, bucket_size=16, num_probes=1)
    vectors = torch.randn(300, 16, generator=generator)
    version, directions = filled(vectors, hashing)
    queries = vectors + noise * torch.randn(300, 16, generator=generator)
    sets = found(version, queries, directions, hashing)
    assert sum(row in rows for row, rows in enumerate(sets)) / 300 >= least
    assert max(map(len, sets)) <= 4 * 2 * 16


def test_a_row_that_moved_away_makes_room_first_and_then_the_least_recent() -> None:
    hashing = Hashing(num_rows=16, num_tables=1, bucket_size=2, num_probes=0)
    version, once = empty(hashing), torch.ones(1, 1, 1, dtype=torch.bool)

    def put(version: Version, row: int, code: int, time: int) -> Version:
        index = torch.tensor([[[row]]])
        version = neighbours.insert(version, index, once, torch.tensor([[[[code]]]]), hashing)
        return recency.use(version, index, once, time, 16)

    def held(version: Version, code: int) -> set[int]:
        return set(version.whole("bucket")[0, 0, 2 * code : 2 * code + 2].tolist())

    for time, row in enumerate((5, 6), 1):
        version = put(version, row, 3, time)
    version = put(version, 6, 4, 3)
    assert held(version, 3) == {5, 6}
    version = put(version, 7, 3, 4)
    assert held(version, 3) == {5, 7}
    version = put(version, 8, 3, 5)
    assert held(version, 3) == {7, 8}
    assert held(version, 4) == {6, -1}
    version = put(version, 8, 3, 6)
    assert held(version, 3) == {7, 8}


def test_rows_of_one_step_do_not_take_each_others_place_and_one_named_twice_goes_in_once() -> None:
    hashing = Hashing(num_rows=16, num_tables=1, bucket_size=4, num_probes=0)
    index, first = torch.tensor([[[3, 9, 3, 4]]]), torch.tensor([[[True, True, False, True]]])
    code = torch.full((1, 1, 4, 1), 2)
    version = neighbours.insert(empty(hashing), index, first, code, hashing)
    assert sorted(version.whole("bucket")[0, 0, 8:12].tolist()) == [-1, 3, 4, 9]
