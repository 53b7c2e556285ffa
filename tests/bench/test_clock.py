"""Timing: everything has its turn in every round, and nothing is counted that only warms up."""

import pytest

from bench import clock


def test_every_function_is_called_once_before_and_once_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    times = iter(range(100))
    monkeypatch.setattr(clock, "per_call", lambda function, *_: (function(), float(next(times)))[1])
    medians = clock.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, "test")
    assert calls == ["a", "b"] * 4
    assert medians == {"a": 2.0, "b": 3.0}


def test_a_short_function_is_repeated_until_the_time_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(0.1 * tick for tick in range(100))
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(now))
    calls = []
    assert clock.per_call(lambda: calls.append(1), at_least=0.35) == pytest.approx(0.1)
    assert len(calls) == 4


def test_a_function_is_called_once_even_if_no_time_is_to_be_filled() -> None:
    calls = []
    clock.per_call(lambda: calls.append(1), at_least=0.0)
    assert calls == [1]
