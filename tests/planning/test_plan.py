"""From presets to runs: which, where, and what exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked, merge
from palimpsest.planning import plan, specs
from palimpsest.planning.parameters import Params
from tests.training import presets


def test_every_combination_and_seed_is_asked_for_once(tmp_path: Path) -> None:
    params = presets.read(tmp_path, grids={"sweep": {"axes": {"mem_lambda": [0, 0.1], "write_threshold": [0.3, 0.5]}}})
    directories = [cell.directory(seed).as_posix() for cell in plan.cells(params) for seed in cell.seeds]
    assert len(directories) == len(set(directories)) == (2 * 2 + 1) * 3
    base = "results/tiny/track=repaired/model=nema_lite"
    assert f"{base}/mem_lambda=0.1/write_threshold=0.3/seed=2" in directories
    assert "results/tiny/track=repaired/model=no_memory/seed=0" in directories


def seeds_of(params: Params) -> dict[str, tuple[int, ...]]:
    return {cell.model: cell.seeds for cell in plan.cells(params)}


def test_a_grid_has_its_own_seeds_or_those_of_its_track_or_of_the_preset(tmp_path: Path) -> None:
    assert seeds_of(presets.read(tmp_path)) == {"nema_lite": (0, 1, 2), "no_memory": (0, 1, 2)}
    of_track = presets.read(tmp_path, seeds=[4, 5])
    assert seeds_of(of_track) == {"nema_lite": (4, 5), "no_memory": (4, 5)}
    of_grid = presets.read(tmp_path, seeds=[4, 5], grids={"sweep": {"seeds": [6]}})
    assert seeds_of(of_grid) == {"nema_lite": (6,), "no_memory": (4, 5)}
    assert [spec.seed for cell in plan.cells(of_grid) for spec in specs.resolve(of_grid, cell)].count(6) == 2


def test_an_overlay_gives_a_grid_the_seeds_of_the_preset_again() -> None:
    content = merge(presets.content(grids={"sweep": {"seeds": [6]}}), {"seeds": [1]})
    overlay = {"experiments": {"tiny": {"tracks": {"repaired": {"grids": {"sweep": {"seeds": None}}}}}}}
    assert seeds_of(checked(Params, content, "file"))["nema_lite"] == (6,)
    assert seeds_of(checked(Params, merge(content, overlay), "file"))["nema_lite"] == (1,)


def test_further_seeds_leave_the_runs_that_are_there_as_they_are(tmp_path: Path) -> None:
    few = presets.read(tmp_path)
    more = presets.read(tmp_path, grids={"sweep": {"seeds": [0, 1, 2, 3]}})
    old = {run.directory for cell in plan.cells(few) for run in plan.runs_of(cell)}
    packs = plan.packs(more, lambda cell: 20, lambda run: run.directory in old)
    new = [pack for pack in packs if not {run.directory for run in pack.runs} <= old]
    assert [run.seed for pack in new for run in pack.runs] == [3] * 2
    for one, other in zip(plan.cells(few), plan.cells(more), strict=True):
        assert specs.resolve(few, one) == specs.resolve(more, other)[:3]


def test_packs_are_sorted_and_do_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    forward = presets.read(tmp_path, grids={"sweep": {"axes": {"mem_lambda": [0, 0.1]}}})
    backward = presets.read(tmp_path, grids={"sweep": {"axes": {"mem_lambda": [0.1, 0]}}})
    assert [cell.base for cell in plan.cells(forward)] == [cell.base for cell in plan.cells(backward)]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=6, unique=True))
def test_every_value_of_an_axis_has_a_path_of_its_own(values: list[float]) -> None:
    cells = [plan.Cell("e", "repaired", "m", "g", {"mem_lambda": value}, (0,)) for value in values]
    assert len({cell.base for cell in cells}) == len({float(value) for value in values})


def grid_of(tmp_path: Path, axes: list[str], lambdas: list[float], seeds: int) -> Params:
    """A preset of λ × τ × seeds and a baseline, whose packs go along ``axes``."""
    grids = {"sweep": {"axes": {"mem_lambda": lambdas, "write_threshold": [0.3, 0.5]}}}
    params = presets.read(tmp_path, grids=grids)
    packing = params.packing.model_copy(update={"axes": tuple(axes)})
    return params.model_copy(update={"seeds": tuple(range(seeds)), "packing": packing})


AXES = ["seed", "mem_lambda", "write_threshold"]


@given(
    axes=st.lists(st.sampled_from(AXES), unique=True),
    lambdas=st.lists(st.sampled_from([0.0, 0.1, 0.2, 1.0]), min_size=1, unique=True),
    seeds=st.integers(1, 4),
    largest=st.integers(1, 9),
    there=st.sets(st.integers(0, 40)),
)
def test_packs_are_a_division_of_the_runs(
    tmp_path_factory: pytest.TempPathFactory,
    axes: list[str],
    lambdas: list[float],
    seeds: int,
    largest: int,
    there: set[int],
) -> None:
    params = grid_of(tmp_path_factory.mktemp("grid"), axes, lambdas, seeds)
    every = [run for cell in plan.cells(params) for run in plan.runs_of(cell)]
    exists = {run.directory: index in there for index, run in enumerate(every)}
    packs = plan.packs(params, lambda cell: largest, lambda run: exists[run.directory])
    assert sorted(str(run.directory) for pack in packs for run in pack.runs) == sorted(str(r.directory) for r in every)
    assert len({pack.name for pack in packs}) == len(packs)
    for pack in packs:
        assert 1 <= len(pack.runs) <= largest
        assert len({run.cell.model for run in pack.runs}) == 1
        assert len({exists[run.directory] for run in pack.runs}) == 1
        for axis in set(AXES) - set(axes):
            assert len({run.seed if axis == "seed" else run.cell.values.get(axis) for run in pack.runs}) == 1


def test_packs_are_as_few_and_as_equal_as_can_be(tmp_path: Path) -> None:
    params = grid_of(tmp_path, AXES, [0, 0.1, 0.2], 4)  # 24 runs of the model, 4 of the baseline
    assert sorted(len(pack.runs) for pack in plan.packs(params, lambda cell: 10)) == [4, 8, 8, 8]


def test_a_value_more_makes_packs_of_its_own_runs(tmp_path: Path) -> None:
    before = {
        run.directory for pack in plan.packs(grid_of(tmp_path, AXES, [0, 0.2], 3), lambda _: 5) for run in pack.runs
    }
    after = plan.packs(grid_of(tmp_path, AXES, [0, 0.1, 0.2], 3), lambda _: 5, lambda run: run.directory in before)
    new = [pack for pack in after if pack.runs[0].directory not in before]
    assert [run.cell.values["mem_lambda"] for pack in new for run in pack.runs] == [0.1] * 6


def test_runs_are_found_by_their_names(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    base = "results/tiny/track=repaired/model=nema_lite"
    pack = plan.find_runs(
        params, base, ["mem_lambda=0.1/write_threshold=0.5/seed=2", "mem_lambda=0/write_threshold=0.5/seed=0"]
    )
    assert [(run.cell.values["mem_lambda"], run.seed) for run in pack.runs] == [(0.1, 2), (0, 0)]
    assert len(plan.find_runs(params, base, []).runs) == 6
    with pytest.raises(ParameterError, match=r"no grid of preset 'smoke' asks for 'seed=9' below .*; allowed: mem_lam"):
        plan.find_runs(params, base, ["seed=9"])
    with pytest.raises(ParameterError, match=r"no grid of preset 'smoke' asks for 'results/none'; see"):
        plan.find_runs(params, "results/none", [])
