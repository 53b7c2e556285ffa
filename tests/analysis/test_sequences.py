"""What is read off sequences: by hand for made-up traces, held to what training writes, refused when broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from palimpsest.analysis import runs, sequences
from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import read_json, write_json
from palimpsest.foundation.tensors import read_tensors, write_tensors
from palimpsest.measuring import job as measuring
from palimpsest.planning import plan, specs
from palimpsest.planning.parameters import Params
from palimpsest.training import datasets, job
from tests.analysis import made_up

COPY = {"bits": 2, "max_length": 2, "test_lengths": [1, 2, 3], "block": 4}
SPLITS = {"num_train": 10, "num_validation": 4, "num_test": 6}
ACCURACIES = {0: 0.5, 1: 0.9, 2: 0.7, 3: 0.8}
"""Of four seeds: the lower median is seed 2's."""
TRACE = "trace.safetensors"


def preset(seeds: tuple[int, ...] = (0, 1, 2, 3), task: str = "copy", **config: Any) -> Params:
    """A preset of one experiment with a memory and a net without."""
    track = {
        "task": {"name": task, "config": {**SPLITS, **(config or COPY)}},
        "training": {"num_epochs": 2, "batch_size": 4, "order": "stream"},
        "grids": {
            "dnc": {"model": "dnc", "config": {"hidden": 3, "num_slots": 3, "slot_dim": 2, "num_read_heads": 2}},
            "lstm": {"model": "lstm", "config": {"hidden": 3}},
        },
    }
    experiment = {"source": "004", "title": "made up", "tracks": {"repaired": track}}
    return Params.model_validate({"preset": "smoke", "seeds": seeds, "experiments": {"tiny": experiment}})


def copy_tokens(length: int, time: int = 7) -> list[int]:
    """Tokens of copy with two bits: 1, 2 and 3 in turn, END 4, then blanks 5."""
    return [*range(1, length + 1), 4, *[5] * (time - length - 1)]


def traced(remembers: bool) -> dict[str, torch.Tensor]:
    """A trace of three sequences of one, two and three vectors, padded to seven steps."""
    generator = torch.Generator().manual_seed(3)
    trace = {
        "inputs": torch.tensor([copy_tokens(1), copy_tokens(2), copy_tokens(3)], dtype=torch.int16),
        "length": torch.tensor([3, 5, 7]),
        "slice": torch.tensor([1, 2, 3]),
        "group": torch.tensor([0, 1, 2]),
        "probability": torch.rand(3, 7, 2, generator=generator).half(),
    }
    if remembers:
        trace |= {
            "read_weighting": torch.rand(3, 7, 2, 3, generator=generator).half() / 3,
            "write_weighting": torch.rand(3, 7, 1, 3, generator=generator).half() / 3,
            "usage_steps": torch.rand(3, 7, 3, generator=generator).half(),
            "link": torch.zeros(3, 3, 3).half(),
        }
    return trace


def write(root: Path, params: Params, **changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """A tree of runs whose accuracies differ, and whose traces are of sequences; returns that of the memory."""
    made_up.write_tree(params, root)
    traces = {model: traced(model == "dnc") for model in ("dnc", "lstm")}
    traces["dnc"] = {name: value for name, value in {**traces["dnc"], **changes}.items() if value is not None}
    for cell in plan.cells(params):
        for spec in specs.resolve(params, cell):
            directory = root / cell.directory(spec.seed)
            final = read_json(directory / "final.json")
            accuracy = ACCURACIES[spec.seed]
            sizes = {f"test_accuracy_at_{size}": accuracy - size / 10 for size in (1, 2, 3)}
            sizes |= {f"test_sequence_accuracy_at_{size}": 0.25 for size in (1, 2, 3)}
            final["floors"] = {"1": 0.6, "3": 0.52}
            final["metrics"] |= {"test_accuracy_on": accuracy, "test_loss_at_2": 0.5, **sizes}
            write_json(directory / "final.json", final)
            write_tensors(directory / TRACE, traces[spec.model])
    return traces["dnc"]


def of_model(table: pd.DataFrame, model: str, **values: Any) -> pd.DataFrame:
    for column, value in {"model": model, **values}.items():
        table = table[table[column] == value]
    return table


class TestGeneralisation:
    def test_has_a_row_a_run_and_size(self, tmp_path):
        params = preset()
        write(tmp_path, params)
        table = sequences.generalisation(params, tmp_path, "tiny")
        assert len(table) == 2 * 4 * 3
        own = of_model(table, "dnc", seed=1)
        assert own["slice"].tolist() == [1, 2, 3]
        assert own["accuracy"].tolist() == pytest.approx([0.8, 0.7, 0.6])
        assert own["sequence_accuracy"].tolist() == [0.25] * 3
        assert own["loss"].isna().tolist() == [True, False, True]
        assert own["trained"].tolist() == ["yes", "yes", "no"]
        assert own["floor"].tolist() == [0.6, 0.125, 0.52]  # that of the whole split where a size has none

    def test_reads_back_as_it_was(self, tmp_path):
        params = preset()
        write(tmp_path, params)
        table = sequences.generalisation(params, tmp_path, "tiny")
        table.to_csv(tmp_path / "g.csv", index=False)
        pd.testing.assert_frame_equal(sequences.read_generalisation(tmp_path / "g.csv"), table)

    def test_of_one_experiment_is_that_of_the_whole_table(self, tmp_path):
        params = preset()
        write(tmp_path, params)
        everything = sequences.by_size(params, runs.collect(params, tmp_path))
        pd.testing.assert_frame_equal(everything, sequences.generalisation(params, tmp_path, "tiny"))

    def test_of_examples_that_do_not_differ_in_size_is_a_header(self, tmp_path):
        params = preset()
        made_up.write_tree(params, tmp_path)
        table = sequences.generalisation(params, tmp_path, "tiny")
        assert len(table) == 0
        assert {*sequences.GENERALISATION.head, *sequences.GENERALISATION.middle} == set(table.columns)

    @pytest.mark.parametrize(
        ("task", "config", "sizes"),
        [
            ("copy", {"min_length": 2, "max_length": 4}, {1: "no", 2: "yes", 4: "yes", 5: "no"}),
            (
                "repeat_copy",
                {"min_length": 2, "max_length": 12, "max_repeats": 3},
                {1203: "yes", 1204: "no", 103: "no", 1303: "no"},
            ),
            ("associative_recall", {"max_items": 4}, {2: "yes", 4: "yes", 5: "no"}),
            ("priority_sort", {"min_vectors": 6, "max_vectors": 8}, {5: "no", 6: "yes", 9: "no"}),
            ("mqar", {"train_settings": [[16, 2], [32, 8]]}, {2: "yes", 4: "no", 8: "yes"}),
            ("delayed_qa", {}, {4: "unknown"}),
        ],
    )
    def test_knows_what_was_trained(self, task, config, sizes):
        module = sequences.tasks.load(task)
        asked = module.Config.model_validate(config)
        assert {size: sequences.trained(asked, size) for size in sizes} == sizes

    @pytest.mark.parametrize("task", ["copy", "repeat_copy", "associative_recall", "priority_sort", "mqar"])
    def test_calls_trained_what_the_training_stream_has(self, task):
        module = sequences.tasks.load(task)
        config = module.Config.model_validate({"num_train": 3000, "num_test": 12, "block": 1})
        splits = config.build(0)
        drawn = {int(size) for size in splits.train.extras["slice"].unique()}
        assert all(sequences.trained(config, size) == "yes" for size in drawn)
        for size in splits.test.extras["slice"].unique().tolist():
            assert (size in drawn) == (sequences.trained(config, size) == "yes")


class TestRates:
    def rates(self, accuracies: list[float], diverged: int = 0) -> dict[str, Any]:
        rows = [
            {"experiment": "e", "track": "repaired", "model": "m", "seed": seed, "slice": 4, "trained": "yes"}
            | {"status": "completed", "accuracy": accuracy, "sequence_accuracy": 0.5, "loss": 0.1}
            for seed, accuracy in enumerate(accuracies)
        ]
        lost = {"status": "diverged", "accuracy": np.nan, "sequence_accuracy": np.nan, "loss": np.nan}
        rows += [{**rows[0], **lost, "seed": len(rows) + place} for place in range(diverged)]
        (row,) = sequences.rates(runs.run_frame(rows, [], list(sequences.GENERALISATION.middle)), 0.95).to_dict(
            "records"
        )
        return row

    def test_count_runs_that_reach_the_mark_exactly_or_pass_it(self):
        row = self.rates([0.99, 1.0, 0.9899, 0.5])
        assert (row["n"], row["runs"], row["succeeded"], row["success_rate"]) == (4, 4, 2, 0.5)

    def test_means_have_clopper_and_pearsons_interval_of_as_many_trials(self):
        row = self.rates([0.9, 0.8, 0.7])
        trials = 0.8 * 0.2 / (0.1**2 / 3) * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 2)) ** 2
        low = stats.beta.ppf(0.025, 0.8 * trials, 0.2 * trials + 1)
        high = stats.beta.ppf(0.975, 0.8 * trials + 1, 0.2 * trials)
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((low, high))

    def test_a_diverged_run_has_not_succeeded(self):
        row = self.rates([1.0, 1.0], diverged=2)
        assert (row["n"], row["diverged"], row["runs"], row["succeeded"]) == (2, 2, 4, 2)
        assert row["success_rate"] == 0.5
        assert row["accuracy_mean"] == 1

    def test_read_back_as_they_were(self, tmp_path):
        params = preset()
        write(tmp_path, params)
        table = sequences.rates(sequences.generalisation(params, tmp_path, "tiny"), 0.95)
        assert len(table) == 2 * 3
        table.to_csv(tmp_path / "r.csv", index=False)
        pd.testing.assert_frame_equal(sequences.read_rates(tmp_path / "r.csv"), table)

    def test_of_nothing_are_a_header(self, tmp_path):
        params = preset()
        made_up.write_tree(params, tmp_path)
        table = sequences.rates(sequences.generalisation(params, tmp_path, "tiny"), 0.95)
        table.to_csv(tmp_path / "r.csv", index=False)
        assert len(sequences.read_rates(tmp_path / "r.csv")) == 0

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(0, 3))
    def test_an_interval_holds_its_share(self, accuracies, diverged):
        row = self.rates(accuracies, diverged)
        assert 0 <= row["success_low"] <= row["success_rate"] <= row["success_high"] <= 1


class TestWhatIsShown:
    def test_is_the_lower_median_run_and_the_largest_trained_size(self, tmp_path):
        params = preset()
        write(tmp_path, params)
        table = sequences.outputs(params, tmp_path, "tiny")
        assert table[["model", "seed", "slice"]].drop_duplicates().to_numpy().tolist() == [
            ["dnc", 2, 2],
            ["lstm", 2, 2],
        ]

    def test_is_no_run_that_diverged(self, tmp_path):
        params = preset()
        write(tmp_path, params)
        for seed in (1, 3):
            path = tmp_path / f"results/tiny/track=repaired/model=dnc/seed={seed}/final.json"
            write_json(path, read_json(path) | {"status": "diverged"})
        table = sequences.outputs(params, tmp_path, "tiny")
        assert set(of_model(table, "dnc")["seed"]) == {0}  # of seeds 0 and 2 the lower

    def test_is_short_enough_where_any_example_is(self, tmp_path, monkeypatch):
        params = preset()
        write(tmp_path, params)
        for longest, size in ((5, 2), (4, 1), (2, 1)):
            monkeypatch.setattr(sequences, "LONGEST", longest)
            assert set(sequences.outputs(params, tmp_path, "tiny")["slice"]) == {size}

    def test_is_any_size_where_none_was_trained(self, tmp_path):
        params = preset(**COPY | {"min_length": 2})
        write(tmp_path, params, slice=torch.tensor([1, 3, 4]), length=torch.tensor([3, 7, 6]))
        assert set(of_model(sequences.outputs(params, tmp_path, "tiny"), "dnc")["slice"]) == {3}


class TestSaid:
    def matrix(self, table: pd.DataFrame, line: str) -> list[list[float]]:
        rows = table[table["line"] == line]
        return rows.pivot(index="step", columns="channel", values="value").to_numpy().tolist()

    def test_is_bits_of_inputs_targets_and_outputs(self, tmp_path):
        params = preset()
        trace = write(tmp_path, params)
        table = of_model(sequences.outputs(params, tmp_path, "tiny"), "dnc")
        # tokens 1, 2, END, blank, blank: two bits each, and a channel for each flag
        assert self.matrix(table, "input") == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
        assert self.matrix(table, "target") == [[1, 0], [0, 1]]
        assert sorted(set(table[table["line"] == "output"]["step"])) == [3, 4]
        assert np.allclose(self.matrix(table, "output"), trace["probability"][1, 3:5].numpy(), atol=1e-4)
        assert table[table["line"] == "level"].empty

    def test_has_levels_apart_from_bits(self, tmp_path):
        params = preset(
            task="priority_sort", bits=1, num_levels=3, num_sorted=1, min_vectors=2, max_vectors=2, test_vectors=[2]
        )
        inputs = torch.tensor([[1 + 2 * 2, 0 + 2 * 0, 6, 7]] * 3, dtype=torch.int16)
        sizes = {"slice": torch.tensor([2, 2, 2]), "length": torch.tensor([4, 4, 4])}
        write(tmp_path, params, inputs=inputs, probability=torch.full((3, 4, 1), 0.25).half(), **sizes)
        for seed in range(4):
            (tmp_path / f"results/tiny/track=repaired/model=lstm/seed={seed}" / TRACE).unlink()
        dnc = Params.model_validate(_without_lstm(params))
        table = sequences.outputs(dnc, tmp_path, "tiny")
        assert self.matrix(table, "level") == [[1], [-1], [0], [0]]
        assert self.matrix(table, "input") == [[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]]
        assert self.matrix(table, "target") == [[1]]  # the vector of the higher level
        assert self.matrix(table, "output") == [[0.25]]

    def test_of_classes_is_tokens(self, tmp_path):
        params = preset(
            task="mqar", vocabulary=8, train_settings=[[8, 2]], test_settings=[[8, 2]], num_test=3, num_train=10
        )
        tokens = [2, 5, 1, 7, 1, 0, 2, 0]
        inputs = torch.tensor([tokens] * 3, dtype=torch.int16)
        prediction = torch.arange(8, dtype=torch.int16).repeat(3, 1)
        more = {"slice": torch.tensor([2] * 3), "length": torch.tensor([8] * 3), "probability": None}
        write(tmp_path, params, inputs=inputs, prediction=prediction, **more)
        table = sequences.outputs(Params.model_validate(_without_lstm(params)), tmp_path, "tiny")
        assert self.matrix(table, "input") == [[token] for token in tokens]
        rows = table[table["line"] != "input"][["line", "step", "value"]].to_numpy().tolist()
        assert rows == [["target", 4, 7], ["target", 6, 5], ["output", 4, 4], ["output", 6, 6]]

    def test_reads_back_as_it_was(self, tmp_path):
        params = preset()
        write(tmp_path, params)
        table = sequences.outputs(params, tmp_path, "tiny")
        table.to_csv(tmp_path / "s.csv", index=False)
        pd.testing.assert_frame_equal(sequences.read_outputs(tmp_path / "s.csv"), table)


def _without_lstm(params: Params) -> dict[str, Any]:
    content = params.model_dump()
    del content["experiments"]["tiny"]["tracks"]["repaired"]["grids"]["lstm"]
    return content


class TestWeightings:
    def test_are_those_of_the_example_without_its_padding(self, tmp_path):
        params = preset()
        trace = write(tmp_path, params)
        table = sequences.weightings(params, tmp_path, "tiny")
        assert set(table["model"]) == {"dnc"}
        slots = ["slot_000", "slot_001", "slot_002"]
        for kind, name in (("read", "read_weighting"), ("write", "write_weighting")):
            heads = trace[name].shape[2]
            rows = table[table["kind"] == kind]
            assert len(rows) == heads * 5
            for head in range(heads):
                wanted = trace[name][1, :5, head].double().numpy()
                assert np.allclose(rows[rows["head"] == head][slots].to_numpy(float), wanted, atol=1e-4)
        usage = table[table["kind"] == "usage"][slots].to_numpy(float)
        assert np.allclose(usage, trace["usage_steps"][1, :5].double().numpy(), atol=1e-4)

    def test_have_the_links_of_the_example_s_own_steps(self, tmp_path):
        params = preset()
        trace = write(tmp_path, params)
        table = sequences.weightings(params, tmp_path, "tiny")
        link = table[table["kind"] == "link"][["slot_000", "slot_001", "slot_002"]].to_numpy(float)
        assert np.allclose(link, linked_one_by_one(trace["write_weighting"][1, :5, 0].double().numpy()), atol=1e-4)

    @given(hnp.arrays(float, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(0, 1)))
    def test_links_agree_with_loops_over_slots_and_stay_below_one(self, raw):
        weights = raw / np.maximum(1, raw.sum(1, keepdims=True))
        link = sequences.link_after(weights)
        assert np.allclose(link, linked_one_by_one(weights))
        assert (link >= -1e-12).all()
        assert (link.sum(0) <= 1 + 1e-9).all()
        assert (link.sum(1) <= 1 + 1e-9).all()
        assert (np.diag(link) == 0).all()

    def test_are_of_no_more_slots_than_fit(self, tmp_path, monkeypatch):
        params = preset()
        write(tmp_path, params)
        monkeypatch.setattr(sequences, "MOST_SLOTS", 2)
        table = sequences.weightings(params, tmp_path, "tiny")
        assert [name for name in table.columns if name.startswith("slot_")] == ["slot_000", "slot_001"]
        assert len(table[table["kind"] == "link"]) == 2

    def test_read_back_as_they_were(self, tmp_path):
        params = preset()
        write(tmp_path, params)
        table = sequences.weightings(params, tmp_path, "tiny")
        table.to_csv(tmp_path / "w.csv", index=False)
        pd.testing.assert_frame_equal(sequences.read_weightings(tmp_path / "w.csv"), table)


def linked_one_by_one(weights: np.ndarray) -> np.ndarray:
    """Temporal links by the equations of the DNC, a slot at a time."""
    slots = weights.shape[1]
    link, precedence = np.zeros((slots, slots)), np.zeros(slots)
    for now in weights:
        after = np.zeros_like(link)
        for i in range(slots):
            for j in range(slots):
                if i != j:
                    after[i, j] = (1 - now[i] - now[j]) * link[i, j] + now[i] * precedence[j]
        link = after
        precedence = np.array([(1 - sum(now)) * precedence[i] + now[i] for i in range(slots)])
    return link


@pytest.mark.parametrize("name", ["outputs", "weightings"])
def test_without_sequences_there_is_a_header_alone(tmp_path: Path, name: str):
    params = preset()
    made_up.write_tree(params, tmp_path)
    table = getattr(sequences, name)(params, tmp_path, "tiny")
    assert len(table) == 0
    table.to_csv(tmp_path / "e.csv", index=False)
    assert list(getattr(sequences, f"read_{name}")(tmp_path / "e.csv").columns) == list(table.columns)


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("outputs", {"length": None}, "length: missing; allowed: what a model of sequences records"),
        ("outputs", {"length": torch.tensor([3, 5])}, "slice (3,), length (2,), inputs (3, 7); allowed: (examples,)"),
        ("outputs", {"length": torch.tensor([3, 8, 7])}, "length 8; allowed: 1 to 7, the tokens of the trace"),
        ("outputs", {"length": torch.tensor([0, 5, 7])}, "length 0; allowed: 1 to 7, the tokens of the trace"),
        ("outputs", {"probability": None}, "probability: missing; allowed: what a model of sequences records"),
        (
            "outputs",
            {"probability": torch.zeros(3, 7, 3)},
            "probability: (7, 3) of an example; allowed: (exam",
        ),
        (
            "outputs",
            {"probability": torch.zeros(3, 4, 2)},
            "probability: (4, 2) of an example; allowed: (exam",
        ),
        (
            "weightings",
            {"read_weighting": torch.zeros(3, 7, 3)},
            "read_weighting (7, 3) of an example",
        ),
        ("weightings", {"write_weighting": torch.zeros(3, 4, 1, 3)}, "write_weighting (4, 1, 3) of an example"),
        (
            "weightings",
            {"usage_steps": torch.zeros(3, 4, 3)},
            "usage_steps (4, 3) of an example; allowed",
        ),
    ],
)
def test_a_trace_that_cannot_be_is_named(tmp_path: Path, name: str, changes: dict[str, Any], problem: str):
    params = preset()
    write(tmp_path, params, **changes)
    with pytest.raises(DataError) as caught:
        getattr(sequences, name)(params, tmp_path, "tiny")
    path = tmp_path / "results/tiny/track=repaired/model=dnc/seed=2" / TRACE
    assert str(caught.value).startswith(f"{path}: {problem}")
    assert "\n" not in str(caught.value)


def test_what_training_writes_is_what_is_read(tmp_path: Path):
    params = preset(seeds=(0,))
    datasets.generate(params, "tiny", "repaired", tmp_path)
    for model in ("dnc", "lstm"):
        pack = plan.find_runs(params, f"results/tiny/track=repaired/model={model}", [])
        job.train_pack(params, pack, tmp_path, file="p", progress=lambda *_: None, report=lambda _: None)
        measuring.measure_pack(params, pack, tmp_path, file="p", report=lambda _: None)
    table = sequences.generalisation(params, tmp_path, "tiny")
    assert set(table["slice"]) == {1, 2, 3}
    assert table[["accuracy", "sequence_accuracy", "loss"]].notna().all().all()
    recorded = sequences.outputs(params, tmp_path, "tiny")
    data = datasets.load(
        tmp_path / "data/tiny/track=repaired", sequences.tasks.load("copy").Config.model_validate({**SPLITS, **COPY}),
    ).test  # fmt: skip
    first = int(torch.nonzero(data.extras["slice"] == 2)[0])
    for model in ("dnc", "lstm"):
        own = of_model(recorded, model)
        target = own[own["line"] == "target"].pivot(index="step", columns="channel", values="value").to_numpy()
        tokens = data.targets[first]
        assert (target @ [1, 2]).tolist() == tokens[tokens >= 0].tolist()
    weights = sequences.weightings(params, tmp_path, "tiny")
    assert set(weights["kind"]) == set(sequences.KINDS)
    trace = read_tensors(tmp_path / "results/tiny/track=repaired/model=dnc/seed=0" / TRACE)
    padded = sequences.link_after(trace["write_weighting"][0, :, 0].double().numpy())
    assert np.allclose(padded, trace["link"][0].double().numpy(), atol=2e-3)
    seen = runs.histories(params, tmp_path, "tiny")
    assert of_model(seen, "lstm")["examples_seen"].tolist() == [4, 10]  # 3 steps of 4, 4 and 2: 1, then all
