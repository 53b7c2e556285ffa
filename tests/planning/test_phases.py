"""Phases and methods of a preset: what is resolved, and the one line that every mistake gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from palimpsest.foundation.errors import ParameterError
from palimpsest.planning import params_file, plan, schedule, specs
from palimpsest.planning.parameters import Params
from palimpsest.planning.presets import read_params
from palimpsest.planning.provenance import closure, code_of
from tests.training import presets
from tests.training.test_phases import PHASES, read, read_persistent


def of_model(params: Params, model: str = "nema_lite") -> specs.RunSpec:
    """The first run of a model."""
    return specs.resolve(params, next(cell for cell in plan.cells(params) if cell.model == model))[0]


def test_a_phase_has_the_runs_training_but_for_its_departures(tmp_path: Path) -> None:
    spec = of_model(read(tmp_path))
    first, second = spec.stages
    assert first.training == spec.training
    assert second.training == spec.training.model_copy(update={"num_epochs": 2, "learning_rate": 0.02})
    assert (first.task["seed"], second.task["seed"]) == (1, 2)
    assert {**first.task, "seed": 2} == second.task
    assert spec.num_epochs == 4


def test_a_grid_may_have_phases_and_a_method_of_its_own(tmp_path: Path) -> None:
    own = {"phases": {"alone": {}}, "method": {"name": "replay"}}
    params = read(tmp_path, method={"name": "ewc"}, grids={"no_memory": own})
    assert [phase.name for phase in of_model(params, "no_memory").phases] == ["alone"]
    assert of_model(params, "no_memory").method_name == "replay"
    assert [phase.name for phase in of_model(params).phases] == list(PHASES)
    assert of_model(params).method_name == "ewc"


def test_data_sets_and_files_of_runs_follow_from_the_phases(tmp_path: Path) -> None:
    one, two = presets.read(tmp_path), read(tmp_path)
    track = Path("data/tiny/track=repaired")
    for cell in plan.cells(one):
        assert cell.data_directories == [track]
        assert cell.training_files == plan.TRAINING_FILES
    for cell in plan.cells(two):
        assert cell.data_directories == [track, track / "data=other"]
        assert cell.training_files == (*plan.TRAINING_FILES, "phases.csv")
    found = schedule.read(two, "params", tmp_path / "kept")
    assert set(found.data) == {str(track), str(track / "data=other")}
    assert found.data[str(track)] != found.data[str(track / "data=other")]


def test_the_order_of_phases_decides_what_a_run_is(tmp_path: Path) -> None:
    """Though mappings of parameters are compared whatever their order."""
    forward = read(tmp_path)
    track = forward.experiments["tiny"].tracks["repaired"]
    turned = track.model_copy(update={"phases": dict(reversed(track.phases.items()))})
    tiny = forward.experiments["tiny"].model_copy(update={"tracks": {"repaired": turned}})
    backward = forward.model_copy(update={"experiments": {"tiny": tiny}})
    values = [schedule.read(params, "params", tmp_path).kinds for params in (forward, backward)]
    assert all(values[0][base].values != values[1][base].values for base in values[0])


def test_a_run_depends_on_the_code_of_its_method_alone(tmp_path: Path) -> None:
    modules = [f"palimpsest.training.methods.{name}" for name in ("plain", "ewc", "replay")]
    plain, ewc, replay = (code_of("no_memory", "delayed_qa", module) for module in modules)
    assert len({plain, ewc, replay}) == 3
    assert "palimpsest.training.methods.ewc" not in closure("palimpsest.training.job")
    kinds = schedule.read(read(tmp_path, method={"name": "ewc"}), "params", tmp_path).kinds
    assert kinds["results/tiny/track=repaired/model=no_memory"].code == ewc


def test_phases_are_written_with_their_comments_and_read_as_they_were(tmp_path: Path) -> None:
    params = read(tmp_path, method={"name": "ewc", "config": {"ewc_strength": 3.0}})
    path = tmp_path / "written.yaml"
    path.write_text(params_file.render(params))
    assert read_params(path) == params
    assert "ewc_strength: 3  # λ: weight of the quadratic penalty" in path.read_text()


def phase(**second: Any) -> dict[str, Any]:
    return {"phases": {"second": second}}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (phase(data="third"), r"tracks\.repaired\.phases\.second\.data: 'third': no such data set; allowed: other"),
        (phase(epochs=3), r"phases\.second\.epochs: 3: unknown key; allowed: data, frozen, state, trained, training"),
        (phase(training={"num_epochs": 0}), r"phases\.second\.training\.num_epochs: 0: .*greater than or equal to 1"),
        (
            phase(trained=["head.*"]),
            r"phases\.second\.trained: 'head\.\*': matches no parameter; allowed: .*classifier",
        ),
        (phase(frozen=["*"]), r"phases\.second\.frozen: \['\*'\]: nothing moves; allowed: leave a parameter out"),
        (
            phase(trained=["gate*"], frozen=["gate*"]),
            r"phases\.second: `trained` and `frozen` are both given; allowed: one of them",
        ),
        (
            phase(state="from_previous"),
            r"phases\.second\.state: 'from_previous': no memory of 'nema_lite' outlives a batch; allowed: fresh",
        ),
        (phase(state="kept"), r"phases\.second\.state: 'kept': .*'fresh' or 'from_previous'"),
        ({"phases": {"First": {}}}, r"'First' is not a name; allowed: lower case letters, digits, '_'"),
        (
            {"data": {"other": {"config": {"num_digits": 9}}}},
            r"data\.other\.config: num_tokens would be .*; allowed: 21",
        ),
        ({"data": {"other": {"config": {"digits": 9}}}}, r"data\.other\.config\.digits: 9: unknown key; allowed: .*"),
        (
            {"grids": {"no_memory": {"axes": {"learning_rate": [0.1]}}}},
            r"phases\.second\.training\.learning_rate: 0\.02: is an axis of the grid; allowed: every other key",
        ),
        (
            {"method": {"name": "magic"}},
            r"method\.name: 'magic' is no method; allowed: agem, ewc, joint, l2, plain, replay",
        ),
        ({"method": {"config": {"strength": 1}}}, r"method\.config\.strength: 1: unknown key"),
        ({"method": {"name": "ewc", "config": {"ewc_strength": -1}}}, r"method\.config\.ewc_strength: -1: .*or equal"),
    ],
)
def test_every_mistake_is_one_line_that_names_it(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ParameterError, match=line) as error:
        specs.check(read(tmp_path, **changes), "params.yaml")
    assert "params.yaml: " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_phase_that_is_given_twice_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("experiments: {e: {tracks: {repaired: {phases: {first: {}, first: {}}}}}}")
    with pytest.raises(ParameterError, match=r"params\.yaml: line 1: key 'first' is given twice; allowed: once"):
        read_params(path)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"first": {"state": "from_previous"}}, r"first\.state: 'from_previous': there is no phase before the first"),
        (
            {"second": {"state": "from_previous", "training": {"batch_size": 32}}},
            r"second\.state: 'from_previous': batches of 32 examples, but the state has 16; allowed: .*up to 16",
        ),
        ("replay", r"second\.state: 'from_previous': method 'replay' makes batches larger; allowed: fresh"),
    ],
)
def test_a_state_that_cannot_be_carried_is_one_line(tmp_path: Path, changes: Any, line: str) -> None:
    params = read_persistent(tmp_path)
    content = params.model_dump(mode="json", exclude_unset=True)
    track = content["experiments"]["nema_lc"]["tracks"]["published"]
    if isinstance(changes, str):
        track["method"] = {"name": changes}
    else:
        track["phases"].update(changes)
    with pytest.raises(ParameterError, match=line):
        specs.check(Params.model_validate(content))


def test_a_track_without_phases_has_no_key_more(tmp_path: Path) -> None:
    dumped = of_model(presets.read(tmp_path)).model_dump(mode="json")
    assert set(dumped) & {"phases", "method"} == set()
