"""Tables: what stands in them, and that LaTeX can read it."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from palimpsest import sources
from palimpsest.analysis.claim_file import read_claims
from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import write_json
from palimpsest.planning.parameters import Params
from palimpsest.planning.presets import read_params, read_parts
from palimpsest.rendering import tables
from palimpsest.rendering.latex import escape
from tests.rendering import fake
from tests.rendering.conftest import CLAIMS, PROJECT, PUBLISHED

NAMES = sources.table_files(["nema_lite", "nema_lc", "copy"])
LITE = "experiment == 'nema_lite'"


def text(products: Path, name: str) -> str:
    return (products / "tables" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".tex")])
def test_every_row_has_as_many_cells_as_the_header(name: str, products: Path) -> None:
    found = 0
    for table in text(products, name).split(r"\begin{longtable}"):
        rows = [line for line in table.splitlines() if line.endswith(r"\\") and " & " in line]
        rows = [line for line in rows if r"\multicolumn" not in line]
        assert len({line.replace(r"\&", "").count("&") for line in rows}) <= 1
        found += len(rows)
    assert found > 4


def test_claims_show_statement_verdict_and_reason(products: Path) -> None:
    shown = text(products, "claims.tex")
    for name, claim in read_claims(CLAIMS).claims.items():
        assert name in shown
        assert escape(claim.statement) in shown
    for row in fake.CLAIMS.to_dict("records"):
        assert escape(row["reason"]) in shown
    assert r"nothing written \\" in shown
    assert r"bound \& nothing" in shown


def test_other_choices_stand_beside_the_verdict_and_differences_are_bold(products: Path) -> None:
    rows = [line for line in text(products, "claims_sensitivity.tex").splitlines() if " & " in line][1:]
    assert len(rows) == len(fake.CLAIMS)
    for row, line in zip(fake.CLAIMS.to_dict("records"), rows, strict=True):
        assert (r"\textbf{undecided}" in line) == (row["verdict"] != "undecided")
        assert line.rstrip(r"\ ").endswith("of 2 met")


def test_degenerate_cells_are_marked_beside_their_number(products: Path) -> None:
    rows = [line for line in text(products, "summary_final_epoch.tex").splitlines() if line.endswith(r"\\")]
    closed = next(line for line in rows if r"$\lambda$\,=\,0.05, $\tau$\,=\,0.3" in line)
    write_ratio, off = closed.split(" & ")[4], closed.split(" & ")[6]
    assert write_ratio.endswith(r"$^{\mathrm{a}}$")
    assert off.endswith(r"$^{\mathrm{d}}$")
    lost = next(line for line in rows if "write all" in line and r"\,+\,$1$" in line)
    assert "e:1/3" in lost.split(" & ")[3]
    assert "a: writes nothing" in text(products, "summary_final_epoch.tex")


def test_models_have_budget_and_levels(products: Path, preset: Params) -> None:
    models = pd.read_csv(products / "tables/models.csv")
    assert list(models.columns) == [
        "experiment", "track", "model", "cell", "parameters", "steps", "examples_seen", "n",
        "accuracy_mean", "accuracy_low", "accuracy_high", "chance", "floor", "ceiling",
    ]  # fmt: skip
    streams = models["experiment"].isin(list(fake.SIZES))
    assert (models[~streams]["examples_seen"] == fake.EPOCHS * fake.EXAMPLES).all()
    assert (models[streams]["examples_seen"] == fake.EXAMPLES).all()
    assert not models.query(LITE).duplicated(["track", "model"]).any()
    assert set(models["model"]) == {
        grid.model
        for experiment in preset.experiments.values()
        for track in experiment.tracks.values()
        for grid in track.grids.values()
    }
    assert models.query(LITE).set_index(["track", "model"])["ceiling"]["published"].eq(0.195).all()


def test_a_data_set_without_a_card_is_one_line(tmp_path: Path, preset: Params) -> None:
    fake.write(tmp_path, preset)
    (tmp_path / "data/nema_lc/track=repaired/card.json").unlink()
    with pytest.raises(DataError, match=r"^[^\n]*nema_lc/track=repaired/card.json: [^\n]+$"):
        tables.write_tables(preset, tmp_path, claims=CLAIMS, published=PUBLISHED)


def test_variants_are_not_chosen_among(products: Path) -> None:
    for name in ("models.csv", "lifecycle.csv"):
        table = pd.read_csv(products / "tables" / name)
        cells = table.query("experiment == 'nema_lc' and track == 'repaired' and model == 'nema_lc'")["cell"]
        assert sorted(cells) == ["ablation=forget", "ablation=none", "ablation=stability", "ablation=write"]


def test_every_experiment_stands_below_its_title(products: Path, preset: Params) -> None:
    for name in ("summary_final_epoch.tex", "models.tex"):
        shown = text(products, name)
        for experiment in preset.experiments.values():
            assert shown.count(escape(experiment.title)) == 1
    assert text(products, "lifecycle.tex").count(escape(preset.experiments["nema_lc_lra"].title)) == 2
    assert "NeMA-Lite" not in text(products, "lifecycle.tex") + text(products, "claims_001.tex")
    assert "000-a" in text(products, "claims_000.tex")
    assert "000-a" not in text(products, "claims_001.tex")


def test_lifecycle_says_what_each_memory_does_and_nothing_of_what_has_none(products: Path) -> None:
    table = pd.read_csv(products / "tables/lifecycle.csv").query("experiment == 'nema_lc' and track == 'repaired'")
    table = table.drop_duplicates("model").set_index("model")
    runs = fake.runs(fake.params()).query("experiment == 'nema_lc' and track == 'repaired' and model == 'fifo'")
    fifo = table.loc["fifo"]
    for metric in ("test_accuracy_on", "test_utilisation", "test_age_steps", "test_forget_rate"):
        assert fifo[f"{metric}_mean"] == pytest.approx(runs[metric].mean())
        assert fifo[f"{metric}_low"] < fifo[f"{metric}_mean"] < fifo[f"{metric}_high"]
    assert (fifo["chance"], fifo["floor"], fifo["ceiling"], fifo["parameters"]) == (0.125, 0.28, 1.0, 23456)
    without = table.loc["no_memory"]
    assert pd.isna(without["test_utilisation_mean"])
    reached, done = text(products, "lifecycle.tex").split(r"\end{longtable}", 1)
    assert "no memory" in reached
    assert "no memory" not in done
    assert "letter X" in reached


def test_ablations_show_the_reduction_that_the_evidence_holds(products: Path) -> None:
    shown = text(products, "ablations.tex")
    rows = [
        line for line in shown.splitlines() if "all losses" in line or line.startswith((" & no ", "repaired & no "))
    ]
    reduced = [line for line in rows if "001-c" in line]
    assert len(reduced) == 6
    assert all("$0.440$ [$0.400$, $0.480$] (001-c)" in line for line in reduced)
    plain = [line for line in rows if "all losses" in line]
    assert [line.split(" & ")[-1] for line in plain] == [r"-- \\", r"-- \\"]


def test_evidence_of_another_track_or_kind_is_no_reduction(tmp_path: Path, preset: Params) -> None:
    fake.write(tmp_path, preset)
    evidence = [
        one | ({"kind": "difference"} if one["track"] == "repaired" else {}) for one in fake.evidence(preset)[1:]
    ]
    write_json(tmp_path / "tables/claims_evidence.json", evidence)
    tables.write_tables(preset, tmp_path, claims=CLAIMS, published=PUBLISHED)
    assert (tmp_path / "tables/ablations.tex").read_text(encoding="utf-8").count("001-c") == 2


def test_a_reduction_of_one_seed_or_of_none_has_no_interval(tmp_path: Path, preset: Params) -> None:
    fake.write(tmp_path, preset)
    evidence = [one | {"low": None, "high": None} for one in fake.evidence(preset)]
    evidence[0]["estimate"] = None
    write_json(tmp_path / "tables/claims_evidence.json", evidence)
    tables.write_tables(preset, tmp_path, claims=CLAIMS, published=PUBLISHED)
    shown = (tmp_path / "tables/ablations.tex").read_text(encoding="utf-8")
    assert shown.count(r"& -- (001-c) \\") == 1
    assert shown.count(r"& $0.440$ (001-c) \\") == 5


@pytest.mark.parametrize("content", ["{}", "[{}]", '[{"claim": "001-c"}]', "[3]"])
def test_broken_evidence_is_one_line(content: str, tmp_path: Path, preset: Params) -> None:
    fake.write(tmp_path, preset)
    (tmp_path / "tables/claims_evidence.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"^[^\n]*claims_evidence\.json: not the evidence of claims; [^\n]+$"):
        tables.write_tables(preset, tmp_path, claims=CLAIMS, published=PUBLISHED)


def test_sizes_count_the_seeds_that_have_learnt_them(products: Path, preset: Params) -> None:
    table = pd.read_csv(products / "tables/generalisation.csv")
    runs = fake.runs(preset).query("experiment == 'copy' and track == 'repaired' and model == 'dnc'")
    own = table.query("experiment == 'copy' and track == 'repaired' and model == 'dnc'").set_index("slice")
    for size in fake.SIZES["copy"]:
        scores = runs[f"test_accuracy_at_{size}"]
        assert own.loc[size, "accuracy_mean"] == pytest.approx(scores.mean())
        assert own.loc[size, "succeeded"] == (scores >= 0.99).sum()
        assert own.loc[size, "runs"] == len(preset.seeds)
        assert own.loc[size, "success_low"] <= own.loc[size, "success_rate"] <= own.loc[size, "success_high"]
    assert own["trained"].to_list() == ["yes", "yes", "yes", "no"]
    shown = text(products, "generalisation.tex")
    assert shown.count(r"$32$\,$^{*}$") == 6
    assert "$16$ &" in shown
    assert "NTM, without the defect" in shown


def test_repeat_copy_counts_vectors_and_repeats(tmp_path: Path) -> None:
    preset = fake.params(seeds=(0,), experiments=["repeat_copy"])
    fake.write(tmp_path, preset)
    tables.write_tables(preset, tmp_path, claims=CLAIMS, published=PUBLISHED)
    shown = text(tmp_path, "generalisation.tex")
    assert shown.count(r"$8\times4$\,$^{*}$ &") == 3
    assert shown.count(r"$4\times4$ &") == 3
    assert "404" not in shown


@pytest.mark.parametrize("experiments", [["nema_lite"], ["nema_lc"], ["nema_lc_lra"], ["priority_sort", "mqar"]])
def test_a_preset_of_one_experiment_has_every_table(experiments: list[str], tmp_path: Path) -> None:
    preset = fake.params(seeds=(0,), experiments=experiments)
    fake.write(tmp_path, preset)
    written = tables.write_tables(preset, tmp_path, claims=CLAIMS, published=PUBLISHED)
    assert {path.name for path in written} == set(sources.table_files(experiments))
    assert all(path.read_text(encoding="utf-8").strip() for path in written)


def test_the_best_cell_is_chosen_on_validation_and_not_on_test() -> None:
    keys = {"experiment": "e", "track": "t", "model": "m", "n": 3, "diverged": 0}
    summary = pd.DataFrame(
        [
            keys
            | {
                "x": 1.0,
                "validation_accuracy_on_mean": 0.9,
                "validation_write_ratio_mean": 0.5,
                "test_accuracy_on_mean": 0.1,
            },
            keys
            | {
                "x": 2.0,
                "validation_accuracy_on_mean": 0.9,
                "validation_write_ratio_mean": 0.2,
                "test_accuracy_on_mean": 0.1,
            },
            keys
            | {
                "x": 3.0,
                "validation_accuracy_on_mean": 0.8,
                "validation_write_ratio_mean": 0.0,
                "test_accuracy_on_mean": 0.99,
            },
            keys
            | {
                "x": 4.0,
                "validation_accuracy_on_mean": 1.0,
                "validation_write_ratio_mean": 0.0,
                "test_accuracy_on_mean": 0.99,
                "diverged": 1,
            },
        ]
    )
    assert list(tables.best_cells(summary)["x"]) == [2.0]


def test_comparison_puts_three_columns_of_numbers_side_by_side(products: Path) -> None:
    compared = pd.read_csv(products / "tables/comparison.csv").query(LITE)
    assert len(compared) == 12
    row = compared.query("mem_lambda == 0.1 and write_threshold == 0.5").iloc[0]
    assert row["committed_n"] == 4
    assert row["printed_write_ratio_mean"] == 0.21
    assert row["published_write_ratio_mean"] == 0
    shown = text(products, "comparison.tex")
    assert shown.index("source: committed") < shown.index("source: printed") < shown.index("ours")


@pytest.fixture
def on_documents(monkeypatch: pytest.MonkeyPatch) -> Params:
    """The preset for those who have the real documents of LRA Retrieval."""
    monkeypatch.setitem(fake.LEVELS, ("nema_lc_aan", "repaired"), (0.5, 1.0))
    return read_params(PROJECT / "params/lra_retrieval.yaml")


def rendered(root: Path, preset: Params, published: Path = PUBLISHED) -> tuple[str, pd.DataFrame]:
    """``comparison.tex`` and ``comparison.csv``."""
    fake.write(root, preset)
    tables.write_tables(preset, root, claims=CLAIMS, published=published)
    return text(root, "comparison.tex"), pd.read_csv(root / "tables/comparison.csv")


def test_models_of_others_stand_above_ours_where_the_real_documents_were_read(
    tmp_path: Path, on_documents: Params
) -> None:
    shown, compared = rendered(tmp_path, on_documents)
    assert set(compared["experiment"]) == {"nema_lc_aan"}
    assert list(compared["by"]) == ["lra"] * 5 + ["s4"] + ["repaired"] * 2
    assert compared.set_index("model")["accuracy_mean"]["BigBird"] == 0.5929
    mine = compared.set_index("model").loc["nema_lc"]
    theirs, below = shown.split("S4 & source: s4 & -- & $0.910$ \\\\\n\\midrule\n")
    assert theirs.count("source: lra") == 5
    assert r"Sparse Transformer & source: lra & -- & $0.596$ \\" in theirs
    assert f"& ours: repaired & $5$ & ${mine['accuracy_mean']:.3f}$" in below
    assert f"$\\pm$${mine['accuracy_sd']:.3f}$" in below
    assert escape(on_documents.experiments["nema_lc_aan"].title) in theirs
    assert "lra: Theirs encode each document whole" in below
    assert shown.count(r"\begin{tabular}") == 1


def test_both_comparisons_stand_one_below_the_other(tmp_path: Path, on_documents: Params) -> None:
    lite = fake.params(experiments=["nema_lite"])
    both = lite.model_copy(update={"experiments": {**lite.experiments, **on_documents.experiments}})
    shown, compared = rendered(tmp_path / "both", both)
    alone, _ = rendered(tmp_path / "lite", lite)
    assert shown.startswith(alone)
    assert shown.count(r"\begin{tabular}") == shown.count(r"\end{tabular}") == 2
    assert compared["experiment"].value_counts().to_dict() == {"nema_lite": 12, "nema_lc_aan": 8}
    assert compared.query("experiment == 'nema_lc_aan'")["committed_n"].isna().all()


def test_numbers_on_real_documents_leave_other_presets_as_they_are(tmp_path: Path) -> None:
    without = tmp_path / "published.yaml"
    content = read_parts(PUBLISHED, "experiments")
    del content["experiments"]["nema_lc_aan"]
    without.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    for name in ("nema_lite", "nema_lc"):
        preset = fake.params(seeds=(0,), experiments=[name])
        rendered(tmp_path / name / "with", preset)
        rendered(tmp_path / name / "without", preset, without)
        for file in ("comparison.tex", "comparison.csv"):
            assert text(tmp_path / name / "with", file) == text(tmp_path / name / "without", file)


def test_cells_of_ours_and_of_theirs_are_spelled_out(tmp_path: Path) -> None:
    values = {"accuracy": {"mean": 0.5, "sd": 0.25}}
    rows = [{"of": "A_b", "cell": {"width": 64.0}, "runs": 4, "values": values}]
    source = {"source": "001", "ours": {"accuracy": "test_accuracy_on"}, "tables": {"t": {"origin": "x", "rows": rows}}}
    published = tmp_path / "published.yaml"
    published.write_text(yaml.safe_dump({"experiments": {"nema_lc_lra": source}}), encoding="utf-8")
    shown, _ = rendered(tmp_path, fake.params(experiments=["nema_lc_lra"]), published)
    assert r"A\_b, width\,=\,64 & source: t & $4$ & $0.500$\,{\tiny$\pm$$0.250$} \\" in shown
    assert shown.count("ours: published & $3$") == shown.count("ours: repaired & $3$") == 4
    assert shown.count(", without memory & ours: ") == shown.count(", with memory & ours: ") == 2
    assert r"\multicolumn{4}{@{}>" not in shown  # there is no note


def test_every_parameter_is_listed(products: Path, preset: Params) -> None:
    shown = text(products, "parameters.tex").replace(r"\allowbreak{}", "")
    for key, value in tables.flattened(preset.model_dump(mode="json", exclude={"workdir", "omit", "keep"})).items():
        if value != {}:
            assert escape(key.split(".")[-1]) in shown
            assert escape(tables.value_text(value)) in shown
    assert "workdir" not in shown  # where products go is no part of what they are


def test_twice_the_same_bytes(tmp_path: Path, products: Path, preset: Params) -> None:
    fake.write(tmp_path, preset)
    written = tables.write_tables(preset, tmp_path, claims=CLAIMS, published=PUBLISHED)
    assert [path.name for path in written] == list(NAMES)
    for path in written:
        assert path.read_bytes() == (products / "tables" / path.name).read_bytes()


def test_a_broken_table_is_one_line_and_nothing_is_written(tmp_path: Path, preset: Params) -> None:
    fake.write(tmp_path, preset)
    (tmp_path / "tables/claims.csv").write_text("claim,track\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"^[^\n]*claims\.csv: [^\n]+$"):
        tables.write_tables(preset, tmp_path, claims=CLAIMS, published=PUBLISHED)
    assert not (tmp_path / "tables/claims.tex").exists()
