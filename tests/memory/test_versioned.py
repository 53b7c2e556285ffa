"""Versions against copies of the whole table, and the gradient of written rows against that of dense writes."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from palimpsest.memory import versioned
from palimpsest.memory.versioned import Version, empty_log, read_rows, write_rows

RUNS, BATCH, ROWS, DIM = 2, 2, 6, 3


def table(generator: torch.Generator) -> tuple[Version, dict[str, Tensor]]:
    """A version with a column of rows and one of numbers, and a copy of both."""
    columns = {
        "rows": torch.randn(RUNS, BATCH, ROWS, DIM, generator=generator),
        "number": torch.randint(100, (RUNS, BATCH, ROWS), generator=generator),
    }
    return Version(columns), {name: column.clone() for name, column in columns.items()}


def holds(version: Version, copy: dict[str, Tensor]) -> bool:
    """Whether a version equals its copy."""
    return all(torch.equal(version.whole(name), column) for name, column in copy.items())


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_every_version_stays_what_it_was_in_whatever_order_they_are_read_and_written(seed: int, writes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    versions = [table(generator)]

    def any_of() -> tuple[Version, dict[str, Tensor]]:
        return versions[int(torch.randint(len(versions), (1,), generator=generator))]

    for _ in range(writes):
        version, copy = any_of()
        name = ("rows", "number")[int(torch.randint(2, (1,), generator=generator))]
        index = torch.stack([torch.randperm(ROWS, generator=generator)[:2] for _ in range(4)]).view(RUNS, BATCH, 2)
        new = torch.randn(RUNS, BATCH, 2, DIM, generator=generator) if name == "rows" else index * 7
        after = {key: column.clone() for key, column in copy.items()}
        for run, example, at in torch.cartesian_prod(*map(torch.arange, (RUNS, BATCH, 2))).tolist():
            after[name][run, example, index[run, example, at]] = new[run, example, at]
        versions.append((version.replace(name, index, new), after))
        assert holds(*any_of())
    assert all(holds(version, copy) for version, copy in versions)
    assert all(holds(version, copy) for version, copy in reversed(versions))


def test_what_is_gathered_is_a_copy() -> None:
    version, copy = table(torch.Generator().manual_seed(0))
    index = torch.zeros(RUNS, BATCH, 1, dtype=torch.int64)
    version.gather("rows", index).zero_()
    version.replace("rows", index, torch.ones(RUNS, BATCH, 1, DIM))
    assert holds(version, copy)


def test_a_version_is_restored_from_its_tensors_after_later_writes() -> None:
    version, copy = table(torch.Generator().manual_seed(0))
    index = torch.ones(RUNS, BATCH, 1, dtype=torch.int64)
    version.replace("number", index, index)
    again = Version.from_tensors(version.to_tensors())
    assert holds(again, copy)
    again.replace("number", index, index)
    assert holds(version, copy)


def test_a_long_chain_of_versions_is_read_and_let_go() -> None:
    start = Version({"number": torch.zeros(1, 1, 2, dtype=torch.int64)})
    version, index = start, torch.zeros(1, 1, 1, dtype=torch.int64)
    for step in range(5000):
        version = version.replace("number", index, index + step)
    assert version.whole("number")[0, 0, 0] == 4999
    assert start.whole("number")[0, 0, 0] == 0
    assert version.whole("number")[0, 0, 0] == 4999
    del start, version


def dense(memory: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """A write to a table that autograd sees whole."""
    return memory.scatter(2, index[..., None].expand_as(rows), rows)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_gradient_of_written_rows_is_that_of_dense_writes(seed: int, steps: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(steps, 1, 2, 2, DIM, generator=generator, dtype=torch.float64)
    scale = torch.randn(steps, 1, 2, 2, DIM, generator=generator, dtype=torch.float64)
    places = torch.stack([torch.randperm(ROWS, generator=generator)[:2] for _ in range(4 * steps)])
    write, look = places.view(2, steps, 1, 2, 2)

    def by_row(values: Tensor) -> Tensor:
        memory = Version({"rows": values.new_zeros(1, 2, ROWS, DIM), "event": torch.full((1, 2, ROWS), -1)})
        log, total = empty_log(values, 1, 2, DIM), values.new_zeros(())
        for step in range(steps):
            old, log = read_rows(memory, log, write[step], memory.gather("event", write[step]))
            new = torch.tanh(old) + values[step]
            log = write_rows(log, new)
            memory = memory.replace("rows", write[step], new)
            memory = memory.replace("event", write[step], (2 * step + torch.arange(2)).expand(1, 2, 2))
            rows, log = read_rows(memory, log, look[step], memory.gather("event", look[step]))
            total = total + (rows * scale[step]).sum()
        return total

    def by_table(values: Tensor) -> Tensor:
        memory, total = values.new_zeros(1, 2, ROWS, DIM), values.new_zeros(())
        for step in range(steps):
            at = write[step][..., None].expand(1, 2, 2, DIM)
            memory = dense(memory, write[step], torch.tanh(memory.gather(2, at)) + values[step])
            total = total + (memory.gather(2, look[step][..., None].expand(1, 2, 2, DIM)) * scale[step]).sum()
        return total

    mine, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    found, wanted = by_row(mine), by_table(theirs)
    torch.testing.assert_close(found, wanted)
    found.backward()
    wanted.backward()
    torch.testing.assert_close(mine.grad, theirs.grad)


def test_a_log_holds_no_rows() -> None:
    log = write_rows(empty_log(torch.zeros(()), 1, 1, 1000), torch.ones(1, 1, 500, 1000))
    assert log.shape == (1, 1, 500, 1000)
    assert log.untyped_storage().nbytes() == 4
    assert versioned.empty_log(log, 1, 1, 3).shape == (1, 1, 0, 3)
