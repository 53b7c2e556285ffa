"""What memories log of a batch, counted one by one in plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.series import slope_of_second_half
from palimpsest.memory import episodic_log, lifecycle
from palimpsest.memory.episodic_log import EpisodicRecord
from palimpsest.memory.lifecycle import COST
from palimpsest.memory.lifecycle_log import LifecycleRecord, log
from palimpsest.memory.logged import SHORTEST_FOR_SLOPE

RUNS, SIZE, STEPS, SLOTS = 2, 3, 8, 4


def made_up(seed: int, steps: int = STEPS) -> LifecycleRecord:
    """A record of a memory that takes a step a chunk; its values need not go together."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int, below: int = 2) -> torch.Tensor:
        return torch.randint(below, (RUNS, SIZE, *shape), generator=generator)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(RUNS, SIZE, *shape, generator=generator)

    return LifecycleRecord(
        write_gate=uniform(steps),
        writes=drawn(steps).float(),
        read_weights=uniform(SLOTS),
        slot_time=drawn(SLOTS, below=steps + 1) - 1,
        alive=drawn(SLOTS).float(),
        operations=drawn(steps, SLOTS, below=6),
        utilisation=uniform(steps),
        age_steps=uniform(steps),
        over_budget=drawn(steps).float(),
        state=lifecycle.initial_state(RUNS, SIZE, SLOTS, 1),
    )


def naive_means(record: LifecycleRecord, answers: torch.Tensor, time: int, run: int) -> dict[str, float]:
    """The metrics of one run, counted one by one."""
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for example in range(SIZE):
        steps = record.writes.shape[-1]
        for step in range(steps):
            for name, of in (("write_gate", "write_gate"), ("write_ratio", "writes"), ("over_budget", "over_budget")):
                note(name, float(getattr(record, of)[run, example, step]))
            note("utilisation", float(record.utilisation[run, example, step]))
            note("age_steps", float(record.age_steps[run, example, step]))
            codes = record.operations[run, example, step].tolist()
            note("operations_per_step", sum((0, 0, 1, 1, 1, 2)[code] for code in codes))
            for code in codes:
                note("update_rate", code == 2)
                note("forget_rate", code in (4, 5))
        answer = int(answers[run, example])
        at = answer * steps // time
        note("answer_written", answer >= 0 and float(record.writes[run, example, at]))
        slots = zip(record.slot_time[run, example].tolist(), record.alive[run, example].tolist(), strict=True)
        note("answer_kept", answer >= 0 and any(alive and held == at for held, alive in slots))
        for name, of in (("utilisation_slope", "utilisation"), ("age_slope", "age_steps")):
            half = getattr(record, of)[run, example].double().numpy()[steps // 2 :]
            note(name, np.polyfit(np.arange(len(half)), half, 1)[0])
    return {name: float(np.mean(values)) for name, values in found.items()}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tokens_of_a_step", [1, 3])
def test_logged_means_are_what_counting_one_by_one_gives(seed: int, tokens_of_a_step: int) -> None:
    record, time = made_up(seed), STEPS * tokens_of_a_step
    answers = torch.randint(-1, time, (RUNS, SIZE), generator=torch.Generator().manual_seed(seed))
    means = log(record, answers, time)
    for run in range(RUNS):
        expected = naive_means(record, answers, time, run)
        assert set(means) == set(expected)
        for name, value in expected.items():
            assert means[name][run].item() == pytest.approx(value, rel=1e-6, abs=1e-9), name
            assert means[name].dtype == torch.float64


def test_an_answer_that_is_nowhere_is_neither_written_nor_kept() -> None:
    record = made_up(0)._replace(
        writes=torch.ones(RUNS, SIZE, STEPS),
        slot_time=torch.tensor([0, -1, -1, -1]).expand(RUNS, SIZE, -1),
        alive=torch.ones(RUNS, SIZE, SLOTS),
    )
    means = log(record, torch.tensor([[-1, -1, -1], [0, -1, 5]]), STEPS)
    assert means["answer_written"].tolist() == pytest.approx([0, 2 / 3])
    assert means["answer_kept"].tolist() == pytest.approx([0, 1 / 3])


def test_where_the_task_knows_no_answer_nothing_is_logged_of_it() -> None:
    assert set(log(made_up(0), torch.zeros(RUNS, SIZE, dtype=torch.int64), STEPS)) - set(
        log(made_up(0), None, STEPS)
    ) == {
        "answer_written",
        "answer_kept",
    }


@pytest.mark.parametrize("seed", range(5))
def test_an_episodic_memory_logs_the_same_means(seed: int) -> None:
    of_lifecycle = made_up(seed)
    fields = {name: getattr(of_lifecycle, name) for name in EpisodicRecord._fields}
    answers = torch.randint(-1, STEPS, (RUNS, SIZE), generator=torch.Generator().manual_seed(seed))
    expected = log(of_lifecycle, answers, STEPS)
    found = episodic_log.log(EpisodicRecord(**fields), answers, STEPS)
    assert set(found) == {"write_gate", "write_ratio", "answer_written", "answer_kept"}
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_a_slope_needs_enough_steps() -> None:
    answers = torch.zeros(RUNS, SIZE, dtype=torch.int64)
    for steps in (SHORTEST_FOR_SLOPE - 1, SHORTEST_FOR_SLOPE):
        means = log(made_up(0, steps), answers, steps)
        assert ("age_slope" in means) == ("utilisation_slope" in means) == (steps == SHORTEST_FOR_SLOPE)


def test_the_prices_of_operations_are_those_that_the_metrics_were_checked_with() -> None:
    assert COST == (0, 0, 1, 1, 1, 2)


@pytest.mark.parametrize("values", [[3.0], [5.0, 3.0]])
def test_a_single_point_has_no_slope(values: list[float]) -> None:
    assert slope_of_second_half(torch.tensor(values)).item() == 0


@given(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=40))
def test_a_slope_is_that_of_numpys_line_through_the_second_half(values: list[float]) -> None:
    half = values[len(values) // 2 :]
    slope = slope_of_second_half(torch.tensor([values, values[::-1]], dtype=torch.float64))
    assert slope[0].item() == pytest.approx(np.polyfit(range(len(half)), half, 1)[0], rel=1e-6, abs=1e-6)
