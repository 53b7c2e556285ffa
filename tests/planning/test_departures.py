"""What a preset that extends another changes everywhere at once: tracks, learning rates and seeds."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from palimpsest.analysis.claim_file import read_claims
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import merge
from palimpsest.planning import plan, specs
from palimpsest.planning.departures import Search
from palimpsest.planning.parameters import Params, Training
from palimpsest.planning.presets import read_params
from tests.training import presets

RATES = {"adam": [0.001, 0.003], "rmsprop": [0.0001, 0.0003]}
MOMENTUM = {"optimiser": "rmsprop", "momentum": 0.9}


def extended(directory: Path, own: dict[str, Any], **changes: Any) -> Params:
    """A preset with these keys, which extends the tiny one."""
    base = presets.write(directory, **changes)
    path = directory / "own.yaml"
    path.write_text(yaml.safe_dump({"extends": base.name, **own}))
    return read_params(path)


def rates_of(params: Params) -> dict[str, Any]:
    return {name: grid.axes.get("learning_rate") for name, grid in grids_of(params).items()}


def grids_of(params: Params) -> dict[str, Any]:
    return params.experiments["tiny"].tracks["repaired"].grids


def two_tracks(directory: Path, own: dict[str, Any]) -> Params:
    """The same with a published track beside the repaired one, and an experiment that has a published track alone."""
    content = presets.content()
    repaired = content["experiments"]["tiny"]["tracks"]["repaired"]
    content["experiments"]["tiny"]["tracks"]["published"] = repaired
    content["experiments"]["lonely"] = {"source": "000", "title": "lonely", "tracks": {"published": repaired}}
    (directory / "base.yaml").write_text(yaml.safe_dump(content))
    (directory / "own.yaml").write_text(yaml.safe_dump({"extends": "base.yaml", **own}))
    return read_params(directory / "own.yaml")


class TestTracks:
    def test_the_named_tracks_stay_and_an_experiment_without_them_goes(self, tmp_path: Path) -> None:
        found = two_tracks(tmp_path, {"tracks": ["repaired"]})
        assert {name: set(one.tracks) for name, one in found.experiments.items()} == {"tiny": {"repaired"}}

    def test_an_experiment_that_is_omitted_may_have_none_of_them(self, tmp_path: Path) -> None:
        assert set(two_tracks(tmp_path, {"tracks": ["repaired"], "omit": ["lonely"]}).experiments) == {"tiny"}

    @pytest.mark.parametrize("tracks", [[], ["mended"], "repaired"])
    def test_wrong_tracks_are_one_line(self, tmp_path: Path, tracks: Any) -> None:
        with pytest.raises(ParameterError, match=r"own.yaml: tracks") as caught:
            two_tracks(tmp_path, {"tracks": tracks})
        assert len(str(caught.value).splitlines()) == 1

    def test_both_stay_where_none_is_named(self, tmp_path: Path) -> None:
        found = two_tracks(tmp_path, {})
        assert {name: set(one.tracks) for name, one in found.experiments.items()} == {
            "tiny": {"published", "repaired"},
            "lonely": {"published"},
        }


class TestSearch:
    def test_every_grid_has_the_rates_of_its_optimiser(self, tmp_path: Path) -> None:
        found = extended(tmp_path, {"search": RATES}, grids={"no_memory": {"training": MOMENTUM}})
        assert rates_of(found) == {"sweep": RATES["adam"], "no_memory": RATES["rmsprop"]}
        assert set(grids_of(found)["sweep"].axes) == {"mem_lambda", "write_threshold", "learning_rate"}

    def test_the_optimiser_of_the_track_counts_where_the_grid_has_none(self, tmp_path: Path) -> None:
        found = extended(
            tmp_path, {"search": RATES}, training=MOMENTUM, grids={"no_memory": {"training": {"optimiser": "adam"}}}
        )
        assert rates_of(found) == {"sweep": RATES["rmsprop"], "no_memory": RATES["adam"]}

    def test_the_rate_reaches_the_run(self, tmp_path: Path) -> None:
        found = extended(tmp_path, {"search": RATES}, grids={"no_memory": {"training": {"learning_rate": 0.5}}})
        rates = {specs.resolve(found, cell)[0].training.learning_rate for cell in plan.cells(found)}
        assert rates == set(RATES["adam"])

    def test_a_grid_over_rates_is_a_control_and_is_not_searched(self, tmp_path: Path) -> None:
        found = extended(tmp_path, {"search": RATES}, grids={"no_memory": {"axes": {"learning_rate": [1e-12]}}})
        assert set(grids_of(found)) == {"sweep"}

    def test_the_preset_that_is_extended_stays_as_it_is(self, tmp_path: Path) -> None:
        extended(tmp_path, {"search": RATES, "seed_offset": 3})
        assert rates_of(read_params(tmp_path / "params.yaml")) == {"sweep": None, "no_memory": None}

    def test_there_are_rates_for_every_optimiser(self) -> None:
        assert set(Search.model_fields) == set(typing.get_args(Training.model_fields["optimiser"].annotation))

    @pytest.mark.parametrize(
        ("search", "line"),
        [
            ({**RATES, "adam": []}, r"own.yaml: search\.adam: \[\]: no rate; allowed: at least one$"),
            ({**RATES, "adam": [0.001, -0.1]}, r"own.yaml: search\.adam\.1: -0\.1: .*greater than 0$"),
            ({**RATES, "rmsprop": [0]}, r"own.yaml: search\.rmsprop\.0: 0: .*greater than 0$"),
            ({**RATES, "adam": [0.1, 0.1]}, r"own.yaml: search\.adam: \[0\.1, 0\.1\]: a rate is repeated; allowed: "),
            ({**RATES, "sgd": [0.1]}, r"own.yaml: search\.sgd: \[0\.1\]: unknown key; allowed: adam, rmsprop$"),
            ({"adam": [0.1]}, r"own.yaml: search\.rmsprop: missing$"),
            ("many", r"own.yaml: search: 'many': "),
        ],
    )
    def test_a_wrong_search_is_one_line(self, tmp_path: Path, search: Any, line: str) -> None:
        with pytest.raises(ParameterError, match=line) as caught:
            extended(tmp_path, {"search": search})
        assert len(str(caught.value).splitlines()) == 1

    def test_a_grid_with_an_optimiser_that_has_no_rates_is_one_line(self, tmp_path: Path) -> None:
        line = r"search: experiments\.tiny\.tracks\.repaired\.grids\.sweep is trained by 'sgd'; allowed: adam, rmsprop$"
        with pytest.raises(ParameterError, match=line):
            extended(tmp_path, {"search": RATES}, grids={"sweep": {"training": {"optimiser": "sgd"}}})

    def test_a_broken_grid_is_named_as_without_a_search(self, tmp_path: Path) -> None:
        with pytest.raises(ParameterError, match=r"own.yaml: experiments\.tiny\.tracks\.repaired\.grids\.broken"):
            extended(tmp_path, {"search": RATES}, grids={"broken": 3})


class TestSeeds:
    def test_every_seed_moves_and_their_number_stays(self, tmp_path: Path) -> None:
        assert extended(tmp_path, {"seed_offset": 1000}).seeds == (1000, 1001, 1002)

    def test_seeds_of_a_track_or_a_grid_move_too(self, tmp_path: Path) -> None:
        found = extended(tmp_path, {"seed_offset": 10}, seeds=[4, 5], grids={"no_memory": {"seeds": [7]}})
        seeds = {cell.grid: cell.seeds for cell in plan.cells(found)}
        assert seeds == {"sweep": (14, 15), "no_memory": (17,)}

    def test_a_search_has_its_own_seeds_in_every_grid(self, tmp_path: Path) -> None:
        own = {"search": RATES, "seeds": [100]}
        found = extended(tmp_path, own, seeds=[4, 5], grids={"no_memory": {"seeds": [7]}})
        assert {cell.seeds for cell in plan.cells(found)} == {(100,)}

    def test_data_sets_keep_their_seeds(self, tmp_path: Path) -> None:
        found = extended(tmp_path, {"seed_offset": 1000})
        assert found.experiments["tiny"].tracks["repaired"].task.seed == 1

    @pytest.mark.parametrize("offset", [-1, 2**31, "many"])
    def test_an_offset_out_of_range_is_one_line(self, tmp_path: Path, offset: Any) -> None:
        with pytest.raises(ParameterError, match=r"own.yaml: seed_offset: ") as caught:
            extended(tmp_path, {"seed_offset": offset})
        assert len(str(caught.value).splitlines()) == 1


def test_a_preset_that_extends_none_has_no_departures(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(merge(presets.content(), {"search": RATES})))
    with pytest.raises(ParameterError, match=r"params.yaml: search: .*unknown key"):
        read_params(path)


class TestThePresetsOfTheChecks:
    """Of the project itself: ``params/search.yaml`` and ``params/fresh.yaml``."""

    default = read_params(presets.PROJECT / "params/default.yaml")

    def test_the_search_tries_three_rates_for_every_model_of_every_repaired_track(self) -> None:
        search = read_params(presets.PROJECT / "params/search.yaml")
        specs.check(search)
        repaired = {
            (name, grid)
            for name, track, one in plan.tracks(self.default)
            if track == "repaired" and name not in search.omit
            for grid, asked in one.grids.items()
            if "learning_rate" not in asked.axes
        }
        found = {(name, grid) for name, _, one in plan.tracks(search) for grid in one.grids}
        assert found == repaired
        left_out = set(search.omit) - set(self.default.omit) - {"emt"}  # its first phase has a rate of its own
        of_their_own = {name for name, _, one in plan.tracks(self.default) if one.training.learning_rate > 0.003}
        assert left_out == of_their_own  # beyond what is searched: decisions.md says how these were chosen
        assert {track for _, track, _ in plan.tracks(search)} == {"repaired"}
        for _, _, track in plan.tracks(search):
            assert {len(grid.axes["learning_rate"]) for grid in track.grids.values()} == {3}

    def test_the_search_uses_a_seed_that_no_other_preset_uses(self) -> None:
        seeds = {
            preset: {
                seed
                for cell in plan.cells(read_params(presets.PROJECT / f"params/{preset}.yaml"))
                for seed in cell.seeds
            }
            for preset in ("search", "default", "fresh", "paper", "smoke")
        }
        assert len(seeds["search"]) == 1
        assert not any(seeds["search"] & others for preset, others in seeds.items() if preset != "search")

    def test_the_rates_of_a_cell_are_one_pack(self) -> None:
        search = read_params(presets.PROJECT / "params/search.yaml")
        packs = plan.packs(search, lambda cell: 20)
        assert {len(pack.runs) for pack in packs} == {3}
        for pack in packs:
            assert len({run.cell.values["learning_rate"] for run in pack.runs}) == 3

    def test_the_search_has_the_data_and_the_steps_of_the_default_preset(self) -> None:
        search = read_params(presets.PROJECT / "params/search.yaml")
        for name, _, track in plan.tracks(search):
            before = self.default.experiments[name].tracks["repaired"]
            assert (track.task, track.training, track.data) == (before.task, before.training, before.data)
            for grid, one in track.grids.items():
                assert (one.training, one.config) == (before.grids[grid].training, before.grids[grid].config)

    def test_fresh_seeds_are_as_many_as_before_and_none_of_them(self) -> None:
        fresh = read_params(presets.PROJECT / "params/fresh.yaml")
        specs.check(fresh)
        before = {cell.base: cell.seeds for cell in plan.cells(self.default) if cell.experiment not in fresh.omit}
        after = {cell.base: cell.seeds for cell in plan.cells(fresh)}
        assert {base: len(seeds) for base, seeds in after.items()} == {
            base: len(seeds) for base, seeds in before.items()
        }
        used = {seed for seeds in before.values() for seed in seeds}
        assert used.isdisjoint(seed for seeds in after.values() for seed in seeds)

    def test_fresh_seeds_are_all_that_differs_where_a_claim_is_decided(self) -> None:
        fresh = read_params(presets.PROJECT / "params/fresh.yaml")
        before, after = (without_seeds(one.model_dump(mode="json")) for one in (self.default, fresh))
        left = {name: one for name, one in before["experiments"].items() if name not in fresh.omit}
        own = {"preset": "fresh", "workdir": "build/fresh", "omit": after["omit"], "experiments": left}
        assert after == {**before, **own}

    def test_fresh_seeds_leave_out_no_experiment_about_which_a_claim_is_decided(self) -> None:
        fresh, default = (read_params(presets.PROJECT / f"params/{name}.yaml") for name in ("fresh", "default"))
        omitted = set(fresh.omit) - set(default.omit)  # of what the default preset omits no claim is decided
        for file in sorted((presets.PROJECT / "params/claims").glob("*.yaml")):
            for name, claim in read_claims(file).claims.items():
                decided = {claim.experiment, *(test.experiment for test in claim.tests)}
                assert decided.isdisjoint(omitted), name


def without_seeds(value: Any) -> Any:
    """Plain values without the seeds of runs; the seed of a data set has another name."""
    if isinstance(value, dict):
        return {key: without_seeds(one) for key, one in value.items() if key != "seeds"}
    return value


class TestSeedsOfTheExtendingPreset:
    def test_its_seeds_stand_for_those_of_tracks_and_grids(self, tmp_path: Path) -> None:
        content = presets.content()
        track = content["experiments"]["tiny"]["tracks"]["repaired"]
        track["seeds"] = [5, 6, 7]
        next(iter(track["grids"].values()))["seeds"] = [8]
        (tmp_path / "base.yaml").write_text(yaml.safe_dump(content))
        (tmp_path / "own.yaml").write_text(yaml.safe_dump({"extends": "base.yaml", "seeds": [1, 2]}))
        (tmp_path / "none.yaml").write_text(yaml.safe_dump({"extends": "base.yaml"}))
        found = {name: {cell_seeds(read_params(tmp_path / name))} for name in ("own.yaml", "none.yaml")}
        assert found["own.yaml"] == {frozenset({1, 2})}
        assert found["none.yaml"] == {frozenset({5, 6, 7, 8})}


def cell_seeds(params: Params) -> frozenset[int]:
    return frozenset(spec.seed for cell in plan.cells(params) for spec in specs.resolve(params, cell))
