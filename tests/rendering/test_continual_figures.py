"""Figures and tables of continual learning: means and seeds as the table of matrices has them, nothing overlaps."""

import dataclasses
import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from palimpsest import sources
from palimpsest.analysis.tables import read_runs, read_summary
from palimpsest.foundation.errors import DataError
from palimpsest.planning.parameters import Params
from palimpsest.rendering import figures, style, tables
from palimpsest.rendering.continual_tables import COLUMNS, continual_table
from palimpsest.rendering.frames import best_cells, select
from palimpsest.rendering.latex import interval
from palimpsest.rendering.panels import Products
from palimpsest.sources.shared.figures import AccuracyMatrix, Figure, ForgettingCurves
from palimpsest.sources.shared.tables import Continual
from tests.rendering import fake

MATRIX, CURVES = AccuracyMatrix(name="accuracy_matrix"), ForgettingCurves(name="forgetting")
SINCE = ForgettingCurves(name="forgetting_since", clock="since")
CELLS = 3
"""Two of the sweep and a baseline, on each track; full attention has one phase."""


@pytest.fixture(scope="module")
def preset() -> Params:
    return fake.params(experiments=("in_phases", "copy"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, preset: Params) -> Path:
    path = tmp_path_factory.mktemp("phases")
    fake.write(path, preset)
    return path


@pytest.fixture(scope="module")
def products(root: Path) -> Products:
    return figures.read_products(root, "in_phases")


def drawn(drawing: Figure, products: Products):
    with style.sized_for_print():
        figure = figures.draw_one(drawing, products)
        figure.draw_without_rendering()
    return figure


def painted(figure):
    """The panels with a matrix: the others are the colour bar and empty places."""
    return [panel for panel in figure.axes if panel.images]


def with_lines(figure):
    return [panel for panel in figure.axes if panel.lines]


def of_first_cell(products: Products) -> pd.DataFrame:
    """Of the first panel: published, λ = 0."""
    return select(products.accuracy_matrices, track="published", model="nema_lite", mem_lambda=0)


class TestAccuracyMatrix:
    def test_a_panel_a_cell_and_track_with_the_mean_over_seeds(self, products: Products) -> None:
        panels = painted(drawn(MATRIX, products))
        assert len(panels) == 2 * CELLS
        means = of_first_cell(products).groupby(["phases_trained", "phase"])["test_accuracy"].mean()
        values = np.asarray(panels[0].images[0].get_array())
        for (trained, phase), mean in means.items():
            assert values[trained - 1, phase - 1] == pytest.approx(mean)
        assert [text.get_text() for text in panels[0].texts] == [
            "1.0" if round(value, 2) == 1 else f"{value:.2f}"[1:] for value in values.ravel()
        ]

    def test_all_panels_share_one_bar_from_0_to_1(self, products: Products) -> None:
        figure = drawn(MATRIX, products)
        assert {panel.images[0].get_clim() for panel in painted(figure)} == {(0, 1)}
        assert [panel.get_ylabel() for panel in figure.axes].count("test accuracy") == 1

    def test_phases_are_named_in_the_first_column_and_the_last_row(self, products: Products) -> None:
        panels = painted(drawn(MATRIX, products))
        words = ["first words", "second", "third words"]
        assert [text.get_text() for text in panels[0].get_yticklabels()] == words
        assert [text.get_text() for text in panels[-1].get_xticklabels()] == words
        assert [text.get_text() for text in panels[1].get_yticklabels()] == [""] * 3

    def test_panels_of_other_phases_have_their_own_names(self, products: Products) -> None:
        table = products.accuracy_matrices
        two = (table["model"] == "write_all") & (table["phases_trained"] < 3) & (table["phase"] < 3)
        less = dataclasses.replace(products, accuracy_matrices=table[(table["model"] != "write_all") | two])
        panels = painted(drawn(MATRIX, less))
        assert {len(panel.get_yticklabels()) for panel in panels} == {2, 3}
        assert all(panel.get_yticklabels()[0].get_text() == "first words" for panel in panels)

    def test_numbers_lie_in_their_cells_and_nothing_leaves_the_figure(self, products: Products) -> None:
        figure = drawn(MATRIX, products)
        whole = figure.bbox
        for panel in painted(figure):
            side = panel.get_window_extent().width / 3
            assert all(text.get_window_extent().width < side for text in panel.texts)
            box = panel.get_tightbbox()
            assert whole.x0 <= box.x0 <= box.x1 <= whole.x1
            assert whole.y0 <= box.y0 <= box.y1 <= whole.y1
            assert figure.legends[0].get_window_extent().y1 < box.y0

    def test_numbers_that_would_be_too_small_are_left_out(self, products: Products) -> None:
        phases = range(1, 31)
        row = of_first_cell(products).iloc[:1].to_dict("records")[0]
        many = [
            row | {"phases_trained": i, "phase": j, "on": f"p{j}", "after": f"p{i}"} for i in phases for j in phases
        ]
        figure = drawn(MATRIX, dataclasses.replace(products, accuracy_matrices=pd.DataFrame(many)))
        assert not painted(figure)[0].texts


class TestForgettingCurves:
    def test_every_seed_is_a_thin_line_and_the_mean_a_bold_one(self, products: Products) -> None:
        panel = with_lines(drawn(CURVES, products))[0]
        rows = of_first_cell(products)
        seeds, solid = rows["seed"].nunique(), [line for line in panel.lines if line.get_linestyle() == "-"]
        thin = [line for line in solid if line.get_linewidth() < 1]
        bold = [line for line in solid if line.get_linewidth() > 1]
        assert (len(thin), len(bold)) == (3 * seeds, 3)
        for phase, line in enumerate(bold, 1):
            own = rows[(rows["phase"] == phase) & (rows["phases_trained"] >= phase)]
            assert line.get_xdata().tolist() == list(range(phase, 4))
            assert line.get_ydata() == pytest.approx(own.groupby("phases_trained")["test_accuracy"].mean().to_numpy())

    def test_what_was_not_yet_trained_is_dotted(self, products: Products) -> None:
        panel = with_lines(drawn(CURVES, products))[0]
        dotted = [line for line in panel.lines if line.get_linestyle() == ":" and line.get_linewidth() > 1]
        assert [line.get_xdata().tolist() for line in dotted] == [[1], [1, 2], [1, 2, 3]]

    def test_curves_since_training_begin_at_0(self, products: Products) -> None:
        panel = with_lines(drawn(SINCE, products))[0]
        rows = of_first_cell(products)
        bold = [line for line in panel.lines if line.get_linestyle() == "-" and line.get_linewidth() > 1]
        for phase, line in enumerate(bold, 1):
            own = rows[(rows["phase"] == phase) & (rows["phases_trained"] >= phase)]
            known = np.isfinite(line.get_ydata())
            assert line.get_xdata()[known].tolist() == list(range(4 - phase))
            means = own.groupby("phases_trained")["test_accuracy"].mean().to_numpy()
            assert line.get_ydata()[known] == pytest.approx(means)

    @pytest.mark.parametrize("drawing", [CURVES, SINCE], ids=["trained", "since"])
    def test_chance_is_drawn_in_every_panel_and_nothing_leaves_the_figure(
        self, products: Products, drawing: ForgettingCurves
    ) -> None:
        figure = drawn(drawing, products)
        assert len(with_lines(figure)) == 2 * CELLS
        named = 0
        for panel in with_lines(figure):
            assert [0.1, 0.1] in [list(line.get_ydata()) for line in panel.lines]
            named += "chance" in [text.get_text() for text in panel.texts]
            box = panel.get_tightbbox()
            assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
            assert figure.legends[0].get_window_extent().y1 < box.y0
        assert named == 2
        labels = [panel.xaxis.label.get_window_extent() for panel in with_lines(figure) if panel.get_xlabel()]
        assert all(one.x1 < other.x0 for one, other in itertools.pairwise(labels))


@pytest.mark.parametrize("drawing", [MATRIX, CURVES], ids=["matrix", "curves"])
def test_an_experiment_without_phases_is_one_line(root: Path, drawing: Figure) -> None:
    with pytest.raises(DataError, match=r"^accuracy_matrices.csv: no row; allowed: completed runs with more than one"):
        drawn(drawing, figures.read_products(root, "copy"))


class TestTable:
    def test_a_row_for_each_model_with_every_measure(self, root: Path, preset: Params) -> None:
        summary = read_summary(root)
        text = continual_table(Continual(), summary, ["in_phases", "copy"], tables.titles_of(preset))
        lines = [line for line in text.splitlines() if line.count("&") == 2 + len(COLUMNS)]
        assert len(lines) == 1 + 2 * 2  # a header; the best cell of the sweep and write all on each track
        assert "One after the other" in text
        assert "full attention" not in text
        assert "copy" not in text
        best = best_cells(select(summary, experiment="in_phases", track="published", model="write_all"))
        for measure in COLUMNS:
            parts = [float(best[f"{measure}_{part}"].iloc[0]) for part in ("mean", "low", "high")]
            assert interval(*parts).replace(r"\,", r"\\") in text

    def test_diverged_runs_are_counted(self, root: Path, preset: Params) -> None:
        text = continual_table(Continual(), read_summary(root), ["in_phases"], tables.titles_of(preset))
        assert r"$2$\,+\,$1$" in text

    def test_models_may_be_chosen(self, root: Path, preset: Params) -> None:
        table = Continual(models=("write_all",))
        text = continual_table(table, read_summary(root), ["in_phases"], tables.titles_of(preset))
        assert "NeMA-Lite" not in text

    def test_without_phases_it_says_so(self, root: Path, preset: Params) -> None:
        text = continual_table(Continual(), read_summary(root, "copy"), ["copy"], tables.titles_of(preset))
        assert "no run has phases" in text

    def test_a_table_of_two_sources_is_about_both(
        self, root: Path, preset: Params, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = SimpleNamespace(tables=(Continual(),), experiment_names=("in_phases",))
        other = SimpleNamespace(tables=(Continual(),), experiment_names=("copy",))
        monkeypatch.setattr(sources, "present", lambda names: {"one": one, "other": other})
        found = tables._continual(preset, read_summary(root))
        assert list(found) == ["continual.tex"]
        assert "One after the other" in found["continual.tex"]

    def test_the_cell_is_chosen_by_the_accuracy_on_all_phases(self, root: Path) -> None:
        """Validation after the last phase knows nothing of the phases before it."""
        summary = select(read_summary(root), experiment="in_phases", track="repaired", model="nema_lite")
        changed = summary.assign(validation_accuracy_on_mean=[0.9, 0.1], validation_average_accuracy_mean=[0.2, 0.3])
        assert best_cells(changed)["mem_lambda"].tolist() == [summary["mem_lambda"].iloc[1]]
        without = changed.assign(validation_average_accuracy_mean=np.nan)
        assert best_cells(without)["mem_lambda"].tolist() == [summary["mem_lambda"].iloc[0]]
        assert list(best_cells(changed).columns) == list(summary.columns)


def test_the_measures_of_a_run_are_those_of_its_matrix(root: Path, products: Products) -> None:
    """What the figures show and what the tables say is the same."""
    measured = read_runs(root, "in_phases").query("status == 'completed'").dropna(subset=["test_average_accuracy"])
    last = select(products.accuracy_matrices, phases_trained=3).fillna({"mem_lambda": -1})
    keys = ["track", "model", "mem_lambda", "seed"]
    means = last.groupby(keys)["test_accuracy"].mean().to_dict()
    assert len(means) == len(measured) > 0
    for run in measured.fillna({"mem_lambda": -1}).to_dict("records"):
        assert run["test_average_accuracy"] == pytest.approx(means[tuple(run[key] for key in keys)])
