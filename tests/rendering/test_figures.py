"""Figures: every seed is drawn, no panel is empty, the same tables give the same bytes."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from PIL import Image

from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.planning.parameters import Params
from palimpsest.rendering import figures, kinds, panels, style
from palimpsest.sources import experiment_of, manifests
from palimpsest.sources.shared.figures import Figure
from tests.rendering import fake

DRAWINGS = {drawing.name: drawing for drawing in experiment_of("nema_lite").figures}


def drawn(name: str, products: Path):
    with style.sized_for_print():
        figure = figures.draw_one(DRAWINGS[name], figures.read_products(products, "nema_lite"))
        figure.draw_without_rendering()
    return figure


def test_every_figure_of_every_manifest_is_of_a_kind_that_can_be_drawn() -> None:
    described = {
        type(figure) for source in manifests().values() for one in source.experiments for figure in one.figures
    }
    assert described == set(kinds.drawers())


def test_a_kind_that_nothing_draws_is_one_line(products: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Sculpture(Figure):
        pass

    with pytest.raises(ParameterError, match=r"^figure: 'x': Sculpture is no kind; allowed: AccuracyMatrix, [^\n]+$"):
        figures.draw_one(Sculpture(name="x"), figures.read_products(products, "nema_lite"))


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_panel_is_empty_and_both_tracks_are_there(name: str, products: Path) -> None:
    figure = drawn(name, products)
    assert len(figure.axes) % 2 == 0
    assert "published track" in figure.axes[0].get_title()
    assert "repaired track (1 diverged)" in figure.axes[1].get_title()
    for panel in figure.axes:
        low, high = sorted(panel.get_ylim())
        points = [value for line in panel.lines for value in np.ravel(line.get_ydata()) if np.isfinite(value)]
        points += [point[1] for group in panel.collections for point in group.get_offsets() if group.get_offsets().size]
        assert len([point for point in points if low <= point <= high]) > 5


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("acc_vs_write_ratio", "test_write_ratio", "test_accuracy_on"),
        ("write_ratio_vs_mem_lambda", None, "test_write_ratio"),
        ("acc_vs_mem_lambda", None, "test_accuracy_on"),
        ("tradeoff_by_threshold", "test_write_ratio", "test_accuracy_on"),
    ],
)
def test_every_seed_of_the_sweep_is_a_point(name: str, x: str | None, y: str, products: Path, preset: Params) -> None:
    figure = drawn(name, products)
    found = set()
    for panel in figure.axes:
        for group in panel.collections:
            if group.get_offsets().size:
                found |= {tuple(np.round(point, 9)) for point in np.asarray(group.get_offsets())}
    sweep = fake.runs(preset).query("model == 'nema_lite'")
    for _, run in sweep.iterrows():
        if x is not None:
            assert (round(run[x], 9), round(run[y], 9)) in found
        else:
            assert round(run[y], 9) in {point[1] for point in found}


def test_every_run_has_a_learning_curve(products: Path, preset: Params) -> None:
    panel = drawn("learning_curves", products).axes[0]
    curves = [line for line in panel.lines if len(line.get_xdata()) == fake.EPOCHS]
    lambdas, baselines = 4, 2  # at one threshold; write all and full attention
    assert len(curves) == len(preset.seeds) * (lambdas + baselines)


@pytest.mark.parametrize(
    "name", ["acc_vs_write_ratio", "acc_vs_mem_lambda", "memory_on_vs_off", "tradeoff_by_threshold"]
)
def test_chance_informed_floor_and_ceiling_are_drawn_and_named(name: str, products: Path) -> None:
    for panel in drawn(name, products).axes:
        texts = {text.get_text() for text in panel.texts}
        assert {"chance", "ceiling"} <= texts
        at = {round(float(line.get_ydata()[0]), 6) for line in panel.lines if len(set(line.get_ydata())) == 1}
        assert ("informed floor" in texts) == (fake.floor("nema_lite", "repaired") in at)  # published, it is chance
    assert "informed floor" in texts


def test_zero_is_shown_on_the_axis_of_lambda(products: Path) -> None:
    for panel in drawn("acc_vs_mem_lambda", products).axes:
        assert panel.get_xscale() == "symlog"
        assert panel.get_xticklabels()[0].get_text() == "0"
        assert panel.get_xlim()[0] < 0


def test_the_asked_token_is_marked(products: Path) -> None:
    figure = drawn("where_it_writes", products)
    assert any("asked token" in text.get_text() for text in figure.axes[0].texts)
    assert any(list(line.get_xdata()) == [0, 0] for line in figure.axes[2].lines)
    assert "asked token" in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("name", DRAWINGS)
def test_legend_covers_no_panel(name: str, products: Path) -> None:
    figure = drawn(name, products)
    below = figure.legends[0].get_window_extent().y1
    assert all(panel.get_tightbbox().y0 > below for panel in figure.axes)


def test_twice_the_same_bytes_in_any_directory(tmp_path: Path, preset: Params) -> None:
    contents = []
    for name in ("first", "second/deeper"):
        fake.write(tmp_path / name, preset)
        contents.append([path.read_bytes() for path in figures.write_figures(preset, tmp_path / name, "nema_lite")])
    assert contents[0] == contents[1]
    assert len(contents[0]) == 14
    pdfs = [content for content in contents[0] if content.startswith(b"%PDF")]
    assert len(pdfs) == 7
    for content in pdfs:
        assert b"CreationDate" not in content
        assert b"/Type3" not in content
    with Image.open(tmp_path / "first/plots/nema_lite/learning_curves.png") as picture:
        assert picture.size[0] == style.TEXT_WIDTH * style.PIXELS_PER_INCH


def test_one_seed_and_all_diverged_baselines_still_draw(tmp_path: Path) -> None:
    preset = fake.params(seeds=(0,))
    fake.write(tmp_path, preset)
    assert len(figures.write_figures(preset, tmp_path, "nema_lite")) == 14


def test_an_unknown_experiment_is_one_line(products: Path, preset: Params) -> None:
    allowed = "associative_recall, copy, nema_lc, nema_lc_lra, nema_lite"
    with pytest.raises(ParameterError, match=rf"^plot: 'other' is no experiment with figures; allowed: {allowed}$"):
        figures.write_figures(preset, products, "other")


def test_a_missing_column_is_one_line(tmp_path: Path, preset: Params) -> None:
    fake.write(tmp_path, preset)
    for name in ("tables/runs/nema_lite.csv", "tables/summary/nema_lite.csv"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("test_write_ratio", "test_ratio"), encoding="utf-8")
    with pytest.raises(DataError, match=r"test_write_ratio\w*: no such column; figure 'acc_vs_write_ratio' needs it$"):
        figures.write_figures(preset, tmp_path, "nema_lite")


def test_a_missing_table_is_one_line(tmp_path: Path, preset: Params) -> None:
    with pytest.raises(DataError, match=r"tables/runs/nema_lite.csv: no such file$"):
        figures.write_figures(preset, tmp_path, "nema_lite")


@pytest.mark.parametrize("name", ["acc_vs_write_ratio", "acc_vs_mem_lambda", "memory_on_vs_off"])
def test_no_bar_leaves_what_was_measured(name: str, products: Path) -> None:
    for panel in drawn(name, products).axes:
        points = [
            y
            for group in panel.collections
            if isinstance(group, PathCollection)
            for _, y in group.get_offsets()
            if y == y
        ]
        bars = [group for group in panel.collections if isinstance(group, LineCollection)]
        ends = [y for bar in bars for segment in bar.get_segments() for _, y in segment if np.isfinite(y)]
        assert ends
        assert min(points) - 1e-9 <= min(ends) <= max(ends) <= max(points) + 1e-9


def test_medians_are_of_the_runs_that_have_a_value() -> None:
    runs = pd.DataFrame({"x": [1, 1, 1, 1, 2], "y": [0.0, 0.1, 1.0, np.nan, np.nan]})
    cells = panels.medians(runs, "y", by=["x"])
    assert cells["y_median"].tolist()[0] == pytest.approx(0.1)
    assert cells["y_low"].tolist()[0] == pytest.approx(0.05)
    assert cells["y_high"].tolist()[0] == pytest.approx(0.55)
    assert np.isnan(cells["y_median"].tolist()[1])


def test_two_tracks_with_the_same_values_are_one_panel(products: Path) -> None:
    tables = figures.read_products(products, "nema_lite")
    published = tables.runs[tables.runs["track"] == "published"]
    twice = dataclasses.replace(tables, runs=pd.concat([published, published.assign(track="repaired")]))
    assert twice.tracks == ["published"]
    assert panels.title(twice, "published") == "published and repaired tracks"
    assert tables.tracks == ["published", "repaired"]
