"""Numbers: every macro is traceable to a row and column that hold its value."""

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from palimpsest.analysis.frames import axes_of
from palimpsest.analysis.tables import read_summary
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import sha256
from palimpsest.planning.parameters import Params
from palimpsest.planning.presets import read_parts
from palimpsest.rendering import frames, numbers
from tests.rendering import fake
from tests.rendering.conftest import PUBLISHED

WORDS = {"ablation", "use_memory", "softmax_over"}
AXES = WORDS | {"mem_lambda", "write_threshold", "write_probability"}
BEST = "nema_lite/repaired/nema_lite/best/test_accuracy_on/mean"


def sidecar(products: Path) -> dict:
    return numbers.read_numbers(products / numbers.NUMBERS)


def test_every_number_from_a_table_is_what_its_row_and_column_hold(products: Path) -> None:
    found = {name: origin for name, origin in sidecar(products).items() if origin["file"].endswith(".csv")}
    files = {origin["file"] for origin in found.values()}
    tables = {file: pd.read_csv(products / file, dtype=dict.fromkeys(WORDS, "str")) for file in files}
    digests = {file: sha256(products / file) for file in files}
    checked = 0
    for name, origin in found.items():
        table = tables[origin["file"]]
        assert origin["hashed"] == digests[origin["file"]]
        for column, value in origin["row"].items():
            table = table[table["flags"].notna()] if value == "any" else table[table[column] == value]
        if origin["column"] == "rows":
            assert origin["value"] == len(table), name
        elif name == "runs/all":
            assert origin["value"] == table["runs"].sum()
        else:
            axes = AXES & set(table.columns) - set(origin["row"])
            of_cells = origin["file"].startswith(("tables/summary/", "tables/gener")) and "model" in origin["row"]
            table = table[table[sorted(axes)].isna().all(axis=1)] if of_cells else table
            assert origin["value"] in table[origin["column"]].to_list(), name
        checked += 1
    assert checked > 100


def test_variants_have_all_numbers_and_a_name_by_their_words(products: Path) -> None:
    found = sidecar(products)
    for ablation in ("none", "write", "forget", "stability"):
        place = f"nema_lc/repaired/nema_lc/ablation={ablation}"
        for metric in ("accuracy_on", "forget_rate", "utilisation", "age_steps", "loss_stability", "answer_kept"):
            low, mean, high = (found[f"{place}/test_{metric}/{part}"]["value"] for part in ("low", "mean", "high"))
            assert low <= mean <= high
        assert found[f"{place}/n"]["value"] == 3
    assert "nema_lc/repaired/nema_lc/best/ablation" not in found  # a word is no number
    assert "nema_lc_lra/repaired/nema_lc/use_memory=true/test_accuracy_on/low" in found
    assert "nema_lite/repaired/nema_lite/best/mem_lambda" in found


def test_a_number_of_a_variant_is_explained(products: Path) -> None:
    name = "nema_lc/repaired/nema_lc/ablation=write/test_forget_rate/mean"
    explained = numbers.explain(name, products / numbers.NUMBERS, products)
    assert "ablation = write" in explained
    assert explained.count("results/nema_lc/track=repaired/model=nema_lc/ablation=write/seed=") == 3


def test_sizes_have_names_of_their_own_and_by_their_place(products: Path) -> None:
    found = sidecar(products)
    place = "sizes/copy/repaired"
    assert found[f"{place}/largest"]["value"] == fake.SIZES["copy"][-1]
    assert found[f"{place}/largest_trained"]["value"] == fake.SIZES["copy"][-2]
    for name, size in (("largest", 32), ("largest_trained", 16)):
        assert {f"{place}/dnc/{name}/{end}" for end in ("n", "accuracy/low", "success/high")} <= set(found)
        for end in ("accuracy/mean", "sequence_accuracy/mean", "succeeded", "runs"):
            assert found[f"{place}/dnc/{name}/{end}"]["value"] == found[f"{place}/dnc/at_{size}/{end}"]["value"]
    assert "sizes/copy/published/ntm/softmax_over=slots/at_4/accuracy/mean" in found
    assert not [name for name in found if name.startswith("sizes/nema")]


def test_a_number_of_a_size_is_explained(products: Path) -> None:
    explained = numbers.explain("sizes/copy/repaired/dnc/at_8/accuracy/mean", products / numbers.NUMBERS, products)
    assert "slice = 8" in explained
    assert explained.count("results/copy/track=repaired/model=dnc/seed=") == 3


def test_every_number_from_a_card_is_what_its_key_holds(products: Path) -> None:
    cards = {name: item for name, item in sidecar(products).items() if name.startswith("data/")}
    assert "data/nema_lite/published/ceiling" in cards
    for origin in cards.values():
        value = json.loads((products / origin["file"]).read_text(encoding="utf-8"))
        for key in origin["column"].split("."):
            value = value[key]
        assert value == origin["value"]


def test_what_the_sources_printed_is_there(products: Path) -> None:
    found = sidecar(products)
    assert found["published/nema_lite/printed/mem_lambda=0.2/write_ratio/mean"]["value"] == 0.09
    assert found["published/nema_lite/committed/mem_lambda=0.1/write_threshold=0.5/n"]["value"] == 4


def test_numbers_of_several_models_are_named_by_their_model(products: Path) -> None:
    found = sidecar(products)
    theirs = {name: item for name, item in found.items() if name.startswith("published/nema_lc_aan/lra/")}
    names = ["bigbird", "local_attention", "performer", "sparse_transformer", "transformer"]
    assert list(theirs) == [f"published/nema_lc_aan/lra/{name}/accuracy/mean" for name in names]
    assert [item["value"] for item in theirs.values()] == [0.5929, 0.5339, 0.5382, 0.5959, 0.5746]
    assert theirs["published/nema_lc_aan/lra/local_attention/accuracy/mean"]["row"] == {"of": "local attention"}
    content = read_parts(PUBLISHED, "experiments")
    for item in theirs.values():
        value = content
        for key in item["column"].split("."):
            value = value[int(key)] if isinstance(value, list) else value[key]
        assert value == item["value"]
    explained = numbers.explain("published/nema_lc_aan/s4/s4/accuracy/mean", products / numbers.NUMBERS, products)
    assert "row     of = S4" in explained


def test_models_whose_names_become_one_are_refused(tmp_path: Path, preset: Params, products: Path) -> None:
    rows = [{"of": of, "cell": {}, "values": {"a": {"mean": 0.5}}} for of in ("Big Bird", "big_bird")]
    source = {"source": "001", "ours": {"a": "test_accuracy_on"}, "tables": {"t": {"origin": "x", "rows": rows}}}
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump({"experiments": {"nema_lc_aan": source}}), encoding="utf-8")
    with pytest.raises(DataError, match=r"^[^\n]*: published/nema_lc_aan/t/big_bird/a/mean: given twice; [^\n]+$"):
        numbers.collect(preset, products, path)


def test_macros_are_those_that_are_named(products: Path) -> None:
    found = sidecar(products)
    macros = numbers.macros(["runs/all", BEST, "runs/all"], found)
    defined = [line for line in macros.splitlines() if line.startswith(r"\palimpsest@number{")]
    assert defined == [f"\\palimpsest@number{{{name}}}{{{found[name]['text']}}}" for name in (BEST, "runs/all")]


def test_every_mean_of_the_test_split_has_a_name_and_every_number_a_line(products: Path) -> None:
    found = sidecar(products)
    summary = read_summary(products, "nema_lite")
    for row in summary.to_dict("records"):
        cell = frames.cell_path(frames.cell_of(row, axes_of(summary)))
        base = "/".join(filter(None, ["nema_lite", row["track"], row["model"], cell]))
        for column in ("test_accuracy_on_mean", "test_write_ratio_low", "test_write_gate_high"):
            metric, _, statistic = column.rpartition("_")
            name = f"{base}/{metric}/{statistic}"
            assert name in found if row[column] == row[column] else name not in found
    lines = (products / numbers.NUMBERS).read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(found) + len({item["file"] for item in found.values()}) + 4


def test_twice_the_same_bytes_whatever_git_says(tmp_path: Path, products: Path, preset: Params) -> None:
    fake.write(tmp_path, preset)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    numbers.write_numbers(preset, tmp_path, published=PUBLISHED)
    assert (tmp_path / numbers.NUMBERS).read_bytes() == (products / numbers.NUMBERS).read_bytes()


def test_explain_names_file_row_column_hash_runs_and_commit(tmp_path: Path, preset: Params) -> None:
    fake.write(tmp_path, preset)
    numbers.write_numbers(preset, tmp_path, published=PUBLISHED)
    for command in (
        ["init", "-q"],
        ["add", "tables"],
        ["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-qm", "Tables of today"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    explained = numbers.explain(BEST, tmp_path / numbers.NUMBERS, tmp_path)
    assert "tables/summary/nema_lite.csv" in explained
    assert "model = nema_lite" in explained
    assert "metric = test_accuracy_on" in explained
    assert "column  mean" in explained
    assert sha256(tmp_path / "tables/summary/nema_lite.csv") in explained
    assert "results/nema_lite/track=repaired/model=nema_lite/mem_lambda=" in explained
    assert explained.count("/seed=") == len(preset.seeds)
    assert "Tables of today" in explained
    assert "changed since" not in explained


def test_explain_shows_when_the_file_has_changed(tmp_path: Path, preset: Params) -> None:
    fake.write(tmp_path, preset)
    numbers.write_numbers(preset, tmp_path, published=PUBLISHED)
    with (tmp_path / "tables/claims.csv").open("a", encoding="utf-8") as file:
        file.write("000-z,repaired,holds,,,,1,,,,,,,,,,,,holds,holds,holds\n")
    explained = numbers.explain("claims/all", tmp_path / numbers.NUMBERS, tmp_path)
    assert "the file has changed since" in explained
    assert "commit  " in explained


def test_explain_of_an_unknown_number_names_the_nearest(products: Path) -> None:
    with pytest.raises(ParameterError, match=rf"'{BEST}s': no such number; allowed: {BEST}, "):
        numbers.explain(f"{BEST}s", products / numbers.NUMBERS, products)


def test_a_broken_sidecar_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "numbers.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match=r"numbers.json: not a list of numbers"):
        numbers.explain("x", tmp_path / "numbers.json", tmp_path)
