"""Tables: what stands in them, and that LaTeX can read it."""

from pathlib import Path

import pandas as pd
import pytest

from palimpsest.analysis.claim_file import read_claims
from palimpsest.config import Params
from palimpsest.errors import DataError
from palimpsest.rendering import tables
from palimpsest.rendering.latex import escape
from tests.rendering import fake
from tests.rendering.conftest import CLAIMS, PUBLISHED

NAMES = [
    "claims.tex",
    "summary_final_epoch.tex",
    "comparison.csv",
    "comparison.tex",
    "models.csv",
    "models.tex",
    "parameters.tex",
]


def text(products: Path, name: str) -> str:
    return (products / "tables" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".tex")])
def test_every_row_has_as_many_cells_as_the_header(name: str, products: Path) -> None:
    rows = [line for line in text(products, name).splitlines() if line.endswith(r"\\") and " & " in line]
    rows = [line for line in rows if r"\multicolumn" not in line]
    assert len({line.replace(r"\&", "").count("&") for line in rows}) == 1
    assert len(rows) > 4


def test_claims_show_statement_verdict_and_reason(products: Path) -> None:
    shown = text(products, "claims.tex")
    for name, claim in read_claims(CLAIMS).claims.items():
        assert name in shown
        assert escape(claim.statement) in shown
    for row in fake.CLAIMS.to_dict("records"):
        assert escape(row["reason"]) in shown
    assert r"nothing written \\" in shown
    assert r"bound \& nothing" in shown


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
        "accuracy_mean", "accuracy_low", "accuracy_high", "chance", "ceiling",
    ]  # fmt: skip
    assert (models["examples_seen"] == fake.EPOCHS * fake.EXAMPLES).all()
    assert not models.duplicated(["track", "model"]).any()
    assert set(models["model"]) == {
        grid.model for track in preset.experiments["nema_lite"].tracks.values() for grid in track.grids.values()
    }
    assert models.set_index(["track", "model"])["ceiling"]["published"].eq(0.195).all()


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
    compared = pd.read_csv(products / "tables/comparison.csv")
    assert len(compared) == 12
    row = compared.query("mem_lambda == 0.1 and write_threshold == 0.5").iloc[0]
    assert row["committed_n"] == 4
    assert row["printed_write_ratio_mean"] == 0.21
    assert row["published_write_ratio_mean"] == 0
    shown = text(products, "comparison.tex")
    assert shown.index("source: committed") < shown.index("source: printed") < shown.index("ours")


def test_every_parameter_is_listed(products: Path, preset: Params) -> None:
    shown = text(products, "parameters.tex").replace(r"\allowbreak{}", "")
    for key, value in tables.flattened(preset.model_dump(mode="json", exclude={"workdir"})).items():
        if value != {}:
            assert escape(key.split(".")[-1]) in shown
            assert escape(tables.value_text(value)) in shown
    assert "workdir" not in shown  # where products go is no part of what they are


def test_twice_the_same_bytes(tmp_path: Path, products: Path, preset: Params) -> None:
    fake.write(tmp_path, preset)
    written = tables.write_tables(preset, tmp_path, claims=CLAIMS, published=PUBLISHED)
    assert [path.name for path in written] == NAMES
    for path in written:
        assert path.read_bytes() == (products / "tables" / path.name).read_bytes()


def test_a_broken_table_is_one_line_and_nothing_is_written(tmp_path: Path, preset: Params) -> None:
    fake.write(tmp_path, preset)
    (tmp_path / "tables/claims.csv").write_text("claim,track\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"^[^\n]*claims\.csv: [^\n]+$"):
        tables.write_tables(preset, tmp_path, claims=CLAIMS, published=PUBLISHED)
    assert not (tmp_path / "tables/claims.tex").exists()
