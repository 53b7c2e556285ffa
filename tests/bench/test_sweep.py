"""The sweep: which processes a method starts, that none of its runs goes missing, and what stands in its table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import plain, processes, sweep, workload
from bench.processes import Cost
from palimpsest.foundation.errors import ParameterError, ToolError
from palimpsest.foundation.files import read_json
from palimpsest.planning.specs import RunSpec

SPECS = [
    workload.sized(spec, device="cpu", batch=4, steps=2)
    for spec in workload.grid(workload.specs_of("default", "published"), 7)
]


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    sweep.add_options(parser)
    return argparse.Namespace(device="cpu", **vars(parser.parse_args(words)))


def test_the_columns_are_those_that_were_agreed_on() -> None:
    assert ",".join(sweep.COLUMNS) == (
        "method,device,runs,batch,runs_steps_per_s,ratio_to_process_per_run,ratio_to_loop,peak_memory_mb"
    )


def test_every_setting_of_the_script_comes_from_the_run(tmp_path: Path) -> None:
    settings = sweep.plain_settings(SPECS[3])
    assert set(settings) == set(plain.Settings.__dataclass_fields__) - {"trace_examples"}
    assert settings["mem_lambda"] == SPECS[3].config["mem_lambda"]
    assert settings["batch_size"] == 4
    assert settings["num_train"] == 8
    words = sweep.plain_commands(SPECS, tmp_path)[3]
    assert words[0] == "bench/plain.py"
    assert f"--mem-lambda={settings['mem_lambda']}" in words


def test_the_script_has_the_defaults_of_the_default_preset() -> None:
    spec = workload.specs_of("default", "published")[0]
    settings = plain.Settings(**sweep.plain_settings(spec))
    ours = {"mem_lambda", "write_threshold", "seed", "data_seed"}
    assert {name: getattr(settings, name) for name in vars(settings) if name not in ours} == {
        name: value for name, value in vars(plain.Settings()).items() if name not in ours
    }


def test_packs_hold_every_run_once_and_in_order(tmp_path: Path) -> None:
    commands = sweep.pack_commands(SPECS, tmp_path, 3)
    jobs = [read_json(Path(words[2])) for words in commands]
    assert [len(job["specs"]) for job in jobs] == [3, 3, 1]
    assert [RunSpec.model_validate(spec) for job in jobs for spec in job["specs"]] == SPECS
    assert len({job["root"] for job in jobs}) == 3


def test_a_loop_is_one_process_with_all_runs(tmp_path: Path) -> None:
    (command,) = sweep.loop_commands(SPECS, tmp_path)
    assert command[0] == "bench/plain.py"
    assert read_json(tmp_path / "grid.json") == [sweep.plain_settings(spec) for spec in SPECS]


def test_methods_differ_in_processes_and_threads() -> None:
    known = sweep.methods([5, 20], at_a_time=4)
    assert {name: (method.at_a_time, method.one_thread) for name, method in known.items()} == {
        "process_per_run": (1, False),
        "process_per_run_own": (1, False),
        "two_processes": (2, True),
        "loop": (1, False),
        "packed_5": (4, True),
        "packed_20": (4, True),
    }


def test_a_method_is_run_in_a_folder_that_is_gone_afterwards(tmp_path: Path) -> None:
    def commands(specs: Sequence[RunSpec], folder: Path) -> sweep.Commands:
        (tmp_path / "seen").write_text(str(folder))
        files = [folder / str(index) / "final.json" for index in range(len(specs))]
        text = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.parent.mkdir(); p.write_text('{}')"
        return [["-c", text, str(file)] for file in files]

    cost = sweep.run(sweep.Method(commands, 2, one_thread=True), SPECS[:3], "cpu")
    assert cost.seconds > 0
    assert not Path((tmp_path / "seen").read_text()).exists()


def test_a_run_that_goes_missing_is_an_error() -> None:
    method = sweep.Method(lambda specs, folder: [["-c", "pass"]], 1, one_thread=True)
    with pytest.raises(ToolError, match=r"^bench: -c pass: 0 of 7 runs were finished$"):
        sweep.run(method, SPECS, "cpu")


def test_a_process_that_fails_names_the_reason_in_one_line() -> None:
    failing = ["-c", "raise SystemExit('first\\nno more paper')"]
    with pytest.raises(ToolError, match=r"^bench: .*: exit status 1: no more paper$"):
        processes.run_all([failing], at_a_time=1, one_thread=True)


def test_threads_are_torchs_own_or_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    monkeypatch.setenv("MKL_NUM_THREADS", "9")
    default, one = processes.environment(one_thread=False), processes.environment(one_thread=True)
    assert not {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY"} & set(default)
    assert (one["OMP_NUM_THREADS"], one["OMP_WAIT_POLICY"]) == ("1", "PASSIVE")
    assert "MKL_NUM_THREADS" not in one


def test_memory_is_that_of_the_children_together() -> None:
    import subprocess

    text = "import sys; held = bytearray(100_000_000); print('ready', flush=True); sys.stdin.read()"
    children = [
        subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    sampler = processes.MemorySampler("cpu")
    sampler.sample()
    for child in children:
        child.communicate()
    sampler.sample()
    assert sampler.peak_mb is not None
    assert 200 < sampler.peak_mb < 400


def test_the_table_holds_medians_and_their_ratios() -> None:
    costs = {
        (8, "process_per_run"): [Cost(8.0, 100.0), Cost(10.0, 120.0), Cost(30.0, 110.0)],
        (8, "loop"): [Cost(5.0, 50.0)] * 3,
        (8, "packed_5"): [Cost(2.0, None)] * 3,
        (32, "packed_5"): [Cost(4.0, 7.0)],
    }
    rows = sweep.table(costs, runs=5, steps=20, device="cpu")
    assert [set(row) for row in rows] == [set(sweep.COLUMNS)] * 4
    assert [row["runs_steps_per_s"] for row in rows] == [10.0, 20.0, 50.0, 25.0]
    assert [row["ratio_to_process_per_run"] for row in rows] == [1.0, 2.0, 5.0, None]
    assert [row["ratio_to_loop"] for row in rows] == [0.5, 1.0, 2.5, None]
    assert [row["peak_memory_mb"] for row in rows] == [110.0, 50.0, None, 7.0]


def test_methods_take_turns_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    order = []

    def run(method: sweep.Method, specs: Sequence[RunSpec], device: str) -> Cost:
        order.append((len(specs), specs[0].training.batch_size, method.at_a_time))
        return Cost(1.0, 1.0)

    monkeypatch.setattr(sweep, "run", run)
    words = ["--runs", "3", "--steps", "4", "--batch", "4", "2", "--repeats", "2", "--cores", "3", "--pack", "2"]
    rows = sweep.measure(options(*words, "--methods", "packed_2", "loop"))
    assert order[2:] == [(3, 4, 1), (3, 4, 3), (3, 2, 1), (3, 2, 3)] * 2
    assert all(size == 1 for size, _, _ in order[:2]), "a warm-up first"
    assert [(row["batch"], row["method"]) for row in rows] == [
        (4, "loop"), (4, "packed_2"), (2, "loop"), (2, "packed_2")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--runs", "0"], "--runs: 0; allowed: at least 1"),
        (["--repeats", "0"], "--repeats: 0; allowed: at least 1"),
        (["--pack", "5", "0"], "--pack [5, 0] --batch [32, 8]; allowed: at least 1 each"),
        (["--methods", "magic"], "--methods: 'magic'; allowed: process_per_run, "),
        (["--steps", "5"], "--batch 32 --steps 5 --epochs 2; allowed: at least 1 each, epochs a divisor of steps"),
    ],
)
def test_options_out_of_range_are_refused_in_one_line(words: list[str], line: str) -> None:
    with pytest.raises(ParameterError) as error:
        sweep.measure(options(*words))
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)
