"""Experience replay: reservoirs are uniform, each run has its own, and what is replayed is of earlier phases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.planning import specs
from palimpsest.tasks import Examples, Splits
from palimpsest.training import datasets, loop
from palimpsest.training.methods import replay
from palimpsest.training.methods.replay import sources_of
from palimpsest.training.pack import Pack, build_pack
from tests.training.test_phases import METHODS, prepared, quiet, read


def naive(seen: int, came: int, capacity: int, seed: int) -> list[int]:
    """Algorithm R, one example at a time."""
    uniform = torch.rand(came, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()
    places = [-1] * capacity
    for index in range(came):
        number = seen + index
        place = number if number < capacity else int(np.floor(uniform[index] * (number + 1)))
        if place < capacity:
            places[place] = index
    return places


@given(st.integers(0, 30), st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**30))
def test_a_reservoir_is_algorithm_r(seen: int, came: int, capacity: int, seed: int) -> None:
    found = sources_of(seen, came, capacity, torch.Generator().manual_seed(seed))
    assert found.tolist() == naive(seen, came, capacity, seed)


@pytest.mark.parametrize("parts", [[40], [13, 27], [3, 3, 34]])
def test_every_example_of_every_phase_is_kept_with_the_same_probability(parts: list[int]) -> None:
    """8 of 40 examples, 4000 times: each is kept 800 times, give or take 5 standard deviations of 25."""
    counts, trials, capacity = np.zeros(40), 4000, 8
    for trial in range(trials):
        generator = torch.Generator().manual_seed(trial)
        kept, seen = np.full(capacity, -1), 0
        for came in parts:
            source = sources_of(seen, came, capacity, generator).numpy()
            kept = np.where(source >= 0, source + seen, kept)
            seen += came
        counts[kept] += 1
    assert np.abs(counts - trials * capacity / 40).max() < 5 * np.sqrt(trials * 0.2 * 0.8)


def built(directory: Path) -> tuple[Pack, list[Splits]]:
    """A pack of three runs after its first phase."""
    params = read(directory, **METHODS["replay"])
    pack = build_pack(specs.of_pack(params, prepared(params, directory)))
    data = datasets.load_phases(pack.specs[0], directory)
    pack.method_state = pack.method.initial_state(pack, data)
    for _ in range(pack.training.num_epochs):
        loop.advance(pack, data, quiet)
    return pack, data


def rows(examples: Examples, run: int) -> list[tuple[int, ...]]:
    """Inputs and target of a run's examples."""
    pairs = zip(examples.inputs[run].tolist(), examples.targets[run].tolist(), strict=True)
    return [(*inputs, *answers) for inputs, answers in pairs]


def test_what_is_replayed_is_of_the_first_phase_and_stands_behind_the_batch(tmp_path: Path) -> None:
    pack, data = built(tmp_path)
    state: replay.State = pack.method_state
    known = set(rows(Examples(*(part[None] for part in data[0].train[:2]), {}), 0))
    assert state.seen.tolist() == [48, 48, 48]
    assert all(set(rows(state.stored, run)) <= known for run in range(3))
    assert len({tuple(rows(state.stored, run)) for run in range(3)}) == 3  # each run has its own
    batch = data[1].train.rows(torch.arange(16).expand(3, -1))
    mixed = pack.method.examples(pack, state, batch)
    assert torch.equal(mixed.inputs[:, :16], batch.inputs)
    assert torch.equal(mixed.targets[:, :16], batch.targets)
    for run in range(3):
        assert set(rows(mixed, run)[16:]) <= set(rows(state.stored, run))
        assert len(rows(mixed, run)) == 16 + 3
    for name, value in mixed.extras.items():
        assert torch.equal(value[:, :16], batch.extras[name])


def test_nothing_is_replayed_in_the_first_phase_and_means_are_over_all_examples(tmp_path: Path) -> None:
    pack, data = built(tmp_path)
    seen: list[int] = []
    pack.model.register_forward_pre_hook(lambda module, given: seen.append(given[0].inputs.shape[1]))
    means, steps = loop.train_epoch(pack, data[1].train, 0)
    assert seen == [19, 19, 19]
    torch.testing.assert_close(means["loss"], steps["loss"].mean(0))
    pack.phase = 0
    batch = data[0].train.rows(torch.arange(16).expand(3, -1))
    assert pack.method.examples(pack, pack.method_state, batch) is batch


def test_shorter_examples_are_padded_to_the_longest_of_any_phase(tmp_path: Path) -> None:
    pack, _ = built(tmp_path)
    long, short = (
        Examples(torch.ones(5, time, dtype=torch.int64), torch.zeros(5, time, dtype=torch.int64), {}) for time in (6, 4)
    )
    both = [Splits(split, split, split) for split in (long, short)]
    state = pack.method.initial_state(pack, both)
    pack.method_state = pack.method.after_phase(pack, state, both[1])
    stored = pack.method_state.stored
    assert stored.inputs.shape == (3, 7, 6)
    assert stored.targets[0, 0].tolist() == [0, 0, 0, 0, -1, -1]
    mixed = pack.method.examples(pack, pack.method_state, short.rows(torch.arange(5).expand(3, -1)))
    assert mixed.inputs.shape == (3, 8, 6)
    assert (mixed.targets[:, :, 4:] == -1).all()
