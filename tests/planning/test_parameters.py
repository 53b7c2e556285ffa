"""Reading presets: what is accepted, and the one line that every mistake gets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.numbers import as_number
from palimpsest.foundation.sections import PerRun, Section, format_value, merge, per_run_fields
from palimpsest.planning import params_file, plan, specs
from palimpsest.planning.parameters import Experiment, Params, Training
from palimpsest.planning.presets import read_params, read_whole
from tests.training import presets

PRESETS = sorted((presets.PROJECT / "params").glob("*.yaml"))
COMPLETE = [presets.PROJECT / f"params/{name}.yaml" for name in ("default", "smoke", "paper")]
SMALLEST = presets.content()


def write(directory: Path, content: Any) -> Path:
    path = directory / "params.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def track(**changes: Any) -> dict[str, Any]:
    """The smallest preset with changes in its track."""
    return presets.content(**changes)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({**SMALLEST, "sedes": [1]}, r"params\.yaml: sedes: \[1\]: unknown key; allowed: .*seeds"),
        ({**SMALLEST, "seeds": [1, 1]}, r"params\.yaml: seeds: \[1, 1\]: a seed is repeated; allowed: each seed once"),
        ({**SMALLEST, "seeds": []}, r"params\.yaml: seeds: \[\]: .*at least 1"),
        ({**SMALLEST, "seeds": [-1]}, r"params\.yaml: seeds: .*allowed: 0 to 2147483647"),
        (track(seeds=[0, 0]), r"tracks\.repaired\.seeds: \[0, 0\]: a seed is repeated; allowed: each seed once"),
        (track(grids={"sweep": {"seeds": []}}), r"grids\.sweep\.seeds: \[\]: .*at least 1"),
        (track(grids={"sweep": {"seeds": [2**31]}}), r"grids\.sweep\.seeds: .*allowed: 0 to 2147483647"),
        ({**SMALLEST, "confidence": "high"}, r"params\.yaml: confidence: 'high': .*number"),
        ({**SMALLEST, "workdir": "/elsewhere"}, r"params\.yaml: workdir: '/elsewhere': leaves the project"),
        ({**SMALLEST, "workdir": "../up"}, r"params\.yaml: workdir: '\.\./up': leaves the project"),
        ({**SMALLEST, "preset": "large"}, r"params\.yaml: preset: 'large': .*'paper', 'search' or 'fresh'"),
        ({**SMALLEST, "omit": ["big"]}, r"params\.yaml: omit: 'big' is no experiment; allowed: tiny$"),
        ({**SMALLEST, "omit": ["tiny"]}, r"params\.yaml: omit: nothing is left; allowed: all experiments but one$"),
        ({**SMALLEST, "omit": ["a", "a"]}, r"params\.yaml: omit: \['a', 'a'\]: an experiment is repeated"),
        (track(task={"sed": 1}), r"tracks\.repaired\.task\.sed: 1: unknown key; allowed: config, name, seed"),
        (track(training={"num_epochs": 0}), r"repaired\.training\.num_epochs: 0: .*greater than or equal to 1"),
        (track(training={"num_epochs": 1.5}), r"repaired\.training\.num_epochs: 1\.5: .*integer"),
        (track(training={"momentum": 1}), r"repaired\.training\.momentum: 1: .*less than 1"),
        (track(training={"alpha": -0.1}), r"repaired\.training\.alpha: -0\.1: .*greater than or equal to 0"),
        (track(training={"clip_value": 0}), r"repaired\.training\.clip_value: 0: .*greater than 0"),
        (track(training={"clip_norm": -1}), r"repaired\.training\.clip_norm: -1: .*greater than 0"),
        (
            track(grids={"sweep": {"axes": {"mem_lambda": []}}}),
            r"grids\.sweep\.axes: axis 'mem_lambda' is empty; allowed: at least one value",
        ),
        (
            track(grids={"sweep": {"axes": {"mem_lambda": [0.1, 0.1]}}}),
            r"grids\.sweep\.axes: axis 'mem_lambda' repeats a value",
        ),
        (merge(SMALLEST, {"experiments": {"tiny": {"tracks": {"mended": {}}}}}), r"tracks\.mended.*"),
        ("experiments: [", r"params\.yaml: not YAML"),
        ("seeds: [1]\nseeds: [2]", r"params\.yaml: line 1: key 'seeds' is given twice"),
        ("- 1\n- 2", r"params\.yaml: holds list; allowed: a mapping"),
    ],
)
def test_a_mistake_in_the_structure_is_one_line(tmp_path: Path, content: Any, line: str) -> None:
    with pytest.raises(ParameterError, match=line) as caught:
        read_params(write(tmp_path, content))
    assert all(str(tmp_path) in text for text in str(caught.value).splitlines())


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"grids": {"sweep": {"axes": {"mem_lambda": [-0.1]}}}}, r"sweep\.config\.mem_lambda: -0\.1: .*greater than"),
        ({"grids": {"sweep": {"axes": {"write_threshold": [1]}}}}, r"write_threshold: 1: .*less than 1"),
        ({"grids": {"sweep": {"axes": {"write_threshold": [0]}}}}, r"write_threshold: 0: .*greater than 0"),
        (
            {"grids": {"sweep": {"axes": {"lambda": [0.1]}}}},
            r"sweep\.axes: 'lambda' is no axis .*; allowed: .*mem_lambda",
        ),
        ({"shared": {"num_heads": 3}}, r"num_heads 3 does not divide width 8; allowed: a divisor"),
        ({"shared": {"segment": 32}}, r"segment 32 does not cut a sequence of 16; allowed: a divisor of it"),
        ({"shared": {"widht": 8}}, r"repaired\.shared\.widht: 8: no model of the track takes it; allowed: .*width"),
        ({"shared": {"num_tokens": 8}}, r"repaired\.shared\.num_tokens: 8: no model of the track takes it"),
        ({"grids": {"sweep": {"model": "lite"}}}, r"grids\.sweep\.model: 'lite' is no model; allowed: .*nema_lite"),
        ({"task": {"name": "copied"}}, r"task\.name: 'copied' is no task; allowed: .*copy, delayed_qa"),
        ({"training": {"order": "sorted"}}, r"repaired\.training\.order: 'sorted': .*'shuffled' or 'stream'"),
        ({"training": {"optimiser": "sgd"}}, r"repaired\.training\.optimiser: 'sgd': .*'adam' or 'rmsprop'"),
        ({"task": {"config": {"question": "why"}}}, r"task\.config\.question: 'why': .*'none', 'flag' or 'marker'"),
        ({"task": {"config": {"sequence_length": 15}}}, r"sequence_length 15 is odd; allowed: an even number"),
        ({"grids": {"no_memory": {"config": {"window": 99}}}}, r"window 99 is longer than the sequence"),
        ({"grids": {"again": {"model": "no_memory"}}}, r"params\.yaml: .*'again' and 'no_memory' both ask for"),
        (
            {"grids": {"sweep": {"training": {"lr": 1}}}},
            r"sweep\.training\.lr: 1: unknown key; allowed: .*learning_rate",
        ),
    ],
)
def test_a_mistake_in_what_a_model_or_task_takes_is_one_line(tmp_path: Path, changes: Any, line: str) -> None:
    file = presets.write(tmp_path, **changes)
    with pytest.raises(ParameterError, match=line) as caught:
        specs.check(read_params(file), file)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"packing": {"max_runs": 0}}, "packing.max_runs"),
        ({"looks": [20, 10]}, "looks: [20, 10]: [20, 10]; allowed: numbers from 1 on, each larger than the one before"),
        ({"looks": [10, 10]}, "looks: [10, 10]: [10, 10]; allowed: numbers from 1 on, each larger than the one before"),
        ({"looks": [0]}, "looks: [0]: [0]; allowed: numbers from 1 on, each larger than the one before"),
        ({"packing": {"max_runs": "many"}}, "packing.max_runs"),
        (
            {"packing": {"axes": ["seed", "seed"]}},
            "packing.axes: ['seed', 'seed']: an axis is repeated; allowed: each axis once",
        ),
        ({"packing": {"size": 3}}, "packing.size: 3: unknown key; allowed: axes, max_runs, memory_mb, packs_per_gpu"),
        ({"precision": "bfloat16"}, "precision: 'bfloat16' on device 'cpu'; allowed there: float32"),
    ],
)
def test_a_mistake_about_packs_and_precision_is_named(tmp_path: Path, changes: Any, line: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({**presets.content(), **changes}))
    with pytest.raises(ParameterError) as caught:
        read_params(path)
    assert line in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"none\.yaml: no such file"):
        read_params(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", COMPLETE, ids=lambda path: path.stem)
def test_presets_are_complete_and_right(path: Path) -> None:
    params = read_params(path)
    assert params.preset == path.stem
    assert specs.check(params, path)


def test_presets_differ_in_sizes_only() -> None:
    shapes = []
    for path in COMPLETE:
        params = read_whole(path)
        shapes.append(
            {
                (experiment, name, grid, entry.model, tuple(entry.axes))
                for experiment, name, track in plan.tracks(params)
                for grid, entry in track.grids.items()
            }
        )
    assert shapes[0] == shapes[1] == shapes[2]


def test_smoke_stays_out_of_the_published_results() -> None:
    assert read_params(COMPLETE[1]).workdir == "build/smoke"
    assert read_params(COMPLETE[0]).workdir == read_params(COMPLETE[2]).workdir == "."


def test_the_default_preset_is_what_its_models_write() -> None:
    path = presets.PROJECT / "params/default.yaml"
    for file, text in params_file.files(read_whole(path), path).items():
        assert file.read_text() == text, file.name


def test_the_schema_is_that_of_the_models() -> None:
    for name, text in params_file.schemas().items():
        assert (presets.PROJECT / "params" / name).read_text() == text, name


def test_rendering_loses_nothing(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    again = tmp_path / "again.yaml"
    again.write_text(params_file.render(params))
    assert read_params(again) == params
    assert params_file.render(read_params(again)) == again.read_text()


def test_a_part_of_a_preset_is_rendered_with_the_comments_of_the_whole(tmp_path: Path) -> None:
    params = presets.read(tmp_path)
    part = params_file.render({"experiments": params.experiments}, header="# a part\n")
    assert part.startswith("# a part\nexperiments:\n")
    content = yaml.safe_load(part)
    assert {name: Experiment.model_validate(value) for name, value in content["experiments"].items()} == dict(
        params.experiments
    )
    for line in ("  # step size (> 0)", "  # examples a step (≥ 1)", "  # λ: weight of the mean write gate (≥ 0)"):
        assert part.count(line) == 1, line


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**9), 10**9)))
def test_a_formatted_number_reads_back_as_itself(value: float) -> None:
    assert float(format_value(value)) == value


class Words(Section):
    """Parameters of every kind that may differ from run to run."""

    word: Annotated[Literal["none", "some", "all"], PerRun()] = "none"
    weight: Annotated[float, PerRun()] = 0.5
    count: Annotated[int, PerRun()] = 3
    switch: Annotated[bool, PerRun()] = False
    shared: Literal["one", "other"] = "one"


@pytest.mark.parametrize(
    ("name", "value", "number"),
    [
        ("word", "none", 0),
        ("word", "some", 1),
        ("word", "all", 2),
        ("weight", 0.25, 0.25),
        ("weight", 0, 0),
        ("count", 7, 7),
        ("switch", True, True),
    ],
)
def test_a_word_is_its_place_among_those_allowed_and_a_number_is_itself(name: str, value: Any, number: Any) -> None:
    found = as_number(Words, name, value)
    assert found == number
    assert not isinstance(found, str)


def test_no_two_words_are_the_same_number() -> None:
    numbers = [as_number(Words, "word", word) for word in ("none", "some", "all")]
    assert len(set(numbers)) == 3


def test_what_may_differ_from_run_to_run_is_known_in_its_order() -> None:
    assert per_run_fields(Words) == ("word", "weight", "count", "switch")
    assert per_run_fields(Training) == ("learning_rate", "weight_decay")


def test_a_word_that_is_not_allowed_has_no_number() -> None:
    with pytest.raises(ValueError, match="tuple"):
        as_number(Words, "word", "few")


def test_parameters_are_frozen() -> None:
    params: Params = read_params(COMPLETE[0])
    with pytest.raises(ValueError, match="frozen"):
        params.seeds = (1,)  # type: ignore[misc]
