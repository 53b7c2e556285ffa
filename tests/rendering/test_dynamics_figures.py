"""Figures of what happens over time: every run is a line, every slot is painted, what is missing is stated."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from palimpsest.analysis.dynamics import OPERATIONS
from palimpsest.foundation.errors import DataError
from palimpsest.planning.parameters import Params
from palimpsest.rendering import figures, style
from palimpsest.rendering.panels import Products, series_of
from palimpsest.sources import experiment_of
from palimpsest.sources.shared.figures import Figure, Raster, Trajectories
from tests.rendering import fake

LC = {drawing.name: drawing for drawing in experiment_of("nema_lc").figures}
LRA = {drawing.name: drawing for drawing in experiment_of("nema_lc_lra").figures}
OVER_TRAINING = ["utilisation", "retention_age", "operation_rates", "loss_components"]


@pytest.fixture(scope="module")
def tables(products: Path) -> Products:
    return figures.read_products(products, "nema_lc")


def drawn(drawing: Figure, tables: Products):
    with style.sized_for_print():
        figure = figures.draw_one(drawing, tables)
        figure.draw_without_rendering()
    return figure


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("name", OVER_TRAINING)
def test_a_panel_a_track_and_a_line_a_run(name: str, tables: Products, preset: Params) -> None:
    figure = drawn(LC[name], tables)
    metrics = LC[name].metrics
    assert len(figure.axes) == 2 * len(metrics)
    assert [panel.get_title() for panel in figure.axes[:2]] == ["published track", "repaired track"]
    of_policies = "fifo" in LC[name].models
    for index, panel in enumerate(figure.axes):
        series = (1 if index % 2 == 0 else 6) if of_policies else 4
        assert len(panel.lines) == series * len(preset.seeds)
        assert all(len(line.get_xdata()) == fake.WINDOWS for line in panel.lines)


@pytest.mark.parametrize("name", OVER_TRAINING)
def test_lines_are_the_windows_of_the_table(name: str, tables: Products) -> None:
    figure = drawn(LC[name], tables)
    metric, model = LC[name].metrics[0], LC[name].models[0]
    steps = tables.steps.query(f"track == 'published' and model == '{model}' and seed == 1 and ablation == 'none'")
    lines = [np.asarray(line.get_ydata(), dtype=float) for line in figure.axes[0].lines]
    assert any(np.array_equal(line, steps[metric].to_numpy()) for line in lines)
    low, high = sorted(figure.axes[0].get_ylim())
    assert all(low < value < high for line in lines for value in line)


def test_what_never_changes_has_one_tick(tables: Products) -> None:
    flat = replace(tables, steps=tables.steps.assign(utilisation=0.0))
    assert [list(panel.get_yticks()) for panel in drawn(LC["utilisation"], flat).axes] == [[0.0], [0.0]]
    assert all(len(panel.get_yticks()) > 1 for panel in drawn(LC["utilisation"], tables).axes)


@pytest.mark.parametrize("name", LC)
def test_nothing_is_cut_off_or_lies_on_the_legend(name: str, tables: Products) -> None:
    figure = drawn(LC[name], tables)
    below = figure.legends[0].get_window_extent().y1 if figure.legends else 0
    width, height = figure.bbox.width, figure.bbox.height
    for panel in figure.axes:
        box = panel.get_tightbbox()
        assert box.y0 >= below
        assert box.x0 >= -1
        assert box.x1 <= width + 1
        assert box.y1 <= height + 1
    if figure.legends:
        assert figure.legends[0].get_window_extent().width <= width


def test_variants_are_named_in_words_and_in_order(tables: Products) -> None:
    assert legend(drawn(LC["operation_rates"], tables)) == [
        "all losses",
        "no write loss",
        "no forget loss",
        "no stability loss",
    ]
    assert legend(drawn(LC["utilisation"], tables))[:2] == ["NeMA-LC", "FIFO"]


@pytest.mark.parametrize("name", ["utilisation", "operation_rates"])
def test_runs_that_coincide_are_all_seen(name: str, tables: Products) -> None:
    panel = drawn(LC[name], tables).axes[1]
    solid = [line.get_linestyle() == "-" for line in panel.lines]
    assert solid == sorted(solid, reverse=True)  # what has no gaps lies below what has
    assert 0 < sum(solid) < len(solid) / 2


def test_along_a_sequence_only_tracks_with_several_memory_steps_are_shown(tables: Products, preset: Params) -> None:
    figure = drawn(LC["within_sequence"], tables)
    assert len(figure.axes) == 5
    assert figure.axes[0].get_title() == "repaired track"
    for panel in figure.axes:
        assert len(panel.lines) == 6 * len(preset.seeds)
        assert all(list(line.get_xdata()) == list(range(fake.CHUNKS)) for line in panel.lines)


def test_one_memory_step_a_sequence_is_a_dot_a_run(tables: Products, preset: Params) -> None:
    frames = {name: table for name, table in vars(tables).items() if isinstance(table, pd.DataFrame)}
    published = replace(tables, **{name: table[table["track"] == "published"] for name, table in frames.items()})
    panel = drawn(LC["within_sequence"], published).axes[0]
    assert [line.get_marker() for line in panel.lines] == ["."] * len(preset.seeds)


def test_every_slot_is_painted_with_what_happened_to_it(tables: Products) -> None:
    figure = drawn(LC["lifecycle_raster"], tables)
    assert [panel.get_title() for panel in figure.axes] == ["NeMA-LC", "FIFO", "oracle replacement"]
    life = tables.lifecycle.query("track == 'repaired' and model == 'fifo'")
    picture = np.asarray(figure.axes[1].images[0].get_array())
    assert picture.shape == (fake.SLOTS, fake.CHUNKS)
    for row in life.to_dict("records"):
        assert OPERATIONS[int(picture[row["slot"], row["step"]])] == row["operation"]
    assert legend(figure) == [*OPERATIONS, "the answer is shown"]
    assert all(list(panel.lines[0].get_xdata()) == [9, 9] for panel in figure.axes)


def test_operations_have_a_colour_each_that_is_told_apart_without_hue() -> None:
    assert list(style.OPERATIONS) == list(OPERATIONS)
    colours = [to_rgb(colour) for colour in style.OPERATIONS.values()]
    distances = [np.abs(np.subtract(a, b)).sum() for i, a in enumerate(colours) for b in colours[:i]]
    assert min(distances) > 0.3


def test_only_the_first_example_of_the_first_seed_is_painted(tables: Products) -> None:
    later = tables.lifecycle.assign(example=1, operation="forget")
    other = tables.lifecycle.assign(seed=7, operation="forget")
    more = Products(**{**vars(tables), "lifecycle": pd.concat([other, later, tables.lifecycle])})
    first, again = (drawn(LC["lifecycle_raster"], one).axes[0].images[0].get_array() for one in (tables, more))
    assert np.array_equal(first, again)


def test_without_a_known_place_of_the_answer_none_is_marked(tables: Products) -> None:
    unknown = Products(**{**vars(tables), "lifecycle": tables.lifecycle.assign(answer_step=-1)})
    figure = drawn(LC["lifecycle_raster"], unknown)
    assert not any(panel.lines for panel in figure.axes)
    assert legend(figure) == list(OPERATIONS)


def test_a_model_that_is_not_run_on_a_track_is_marked_so(tables: Products) -> None:
    drawing = Raster(name="x", models=("nema_lc", "fifo"), where={"ablation": "none"})
    repaired = tables.lifecycle[tables.lifecycle["track"] == "repaired"]
    both = pd.concat([repaired, repaired[repaired["model"] == "nema_lc"].assign(track="published")])
    more = Products(**{**vars(tables), "lifecycle": both})
    texts = [text.get_text() for panel in drawn(drawing, more).axes for text in panel.texts]
    assert texts == ["not run on this track"]


def test_training_curves_stand_between_chance_and_ceiling(products: Path, preset: Params) -> None:
    figure = drawn(LRA["training_curves"], figures.read_products(products, "nema_lc_lra"))
    for panel in figure.axes[:2]:
        assert {"chance", "ceiling"} <= {text.get_text() for text in panel.texts}
    assert not any(panel.texts for panel in figure.axes[2:])
    names = ["NeMA-LC, with memory", "NeMA-LC, without memory", "no memory", "full attention"]
    assert legend(figure) == names
    curves = [line for line in figure.axes[0].lines if len(line.get_xdata()) == fake.WINDOWS]
    assert len(curves) == len(names) * len(preset.seeds)


def test_epochs_are_a_clock_too(tables: Products, preset: Params) -> None:
    about = Trajectories(name="x", clock="epochs", metrics=("validation_accuracy_on",), models=("nema_lc",))
    figure = drawn(about, tables)
    assert all(len(line.get_xdata()) == fake.EPOCHS for line in figure.axes[0].lines)
    assert figure.axes[0].get_xlabel() == "epoch"


def test_a_metric_that_no_model_of_a_track_has_is_marked_so(tables: Products) -> None:
    steps = tables.steps.assign(age_steps=tables.steps["age_steps"].where(tables.steps["track"] == "repaired"))
    figure = drawn(LC["retention_age"], Products(**{**vars(tables), "steps": steps}))
    assert [text.get_text() for text in figure.axes[0].texts] == ["no model of this track has it"]
    assert figure.axes[1].lines


@pytest.mark.parametrize("name", ["within_sequence", "lifecycle_raster"])
def test_tables_without_a_row_are_one_line(name: str, tables: Products) -> None:
    empty = Products(**{**vars(tables), "within": tables.within[:0], "lifecycle": tables.lifecycle[:0]})
    with pytest.raises(DataError, match=r"^tables: no row with a step; allowed: [^\n]+$"):
        drawn(LC[name], empty)


def test_a_missing_metric_is_one_line(tables: Products) -> None:
    less = Products(**{**vars(tables), "steps": tables.steps.drop(columns="utilisation")})
    with pytest.raises(DataError, match=r"^tables: utilisation: no such column; figure 'utilisation' needs it$"):
        drawn(LC["utilisation"], less)


def test_models_that_have_no_run_are_one_line(tables: Products) -> None:
    with pytest.raises(DataError, match=r"^tables/runs: no run of somebody, elses; allowed: [^\n]+$"):
        series_of(tables.runs, ["somebody", "elses"])


def test_series_are_alike_on_both_tracks_and_known_by_their_rows(tables: Products) -> None:
    found = series_of(tables.runs, ["nema_lc", "fifo"])
    assert len({one.name for one in found}) == len({one.look for one in found}) == 5
    assert sum(len(one.rows_of(tables.runs)) for one in found) == tables.runs["model"].isin(["nema_lc", "fifo"]).sum()


def test_cells_of_one_model_never_look_like_a_baseline_beside_them() -> None:
    table = pd.DataFrame(
        {"model": ["nema_lc"] * 4 + ["fifo", "lru"], "num_slots": [1.0, 2, 3, 4, None, None], "seed": 0}
    )
    looks = [one.look for one in series_of(table, ["nema_lc", "fifo", "lru"])]
    assert len({look.color for look in looks}) == len(looks) == 6


def test_a_condition_asks_models_that_have_the_axis_and_no_others(tables: Products) -> None:
    aside = tables.runs["model"].eq("nema_lc") & tables.runs["ablation"].eq("write")
    runs = tables.runs.assign(memory=tables.runs["model"].where(aside).map({"nema_lc": "episodic"}))
    runs["ablation"] = runs["ablation"].mask(aside)
    names = list(runs.columns)  # axes stand between model and seed
    names.insert(names.index("seed"), names.pop(names.index("memory")))
    runs = runs[names]
    models = ["nema_lc", "fifo"]
    assert [one.cell for one in series_of(runs, models, {"ablation": "none"})] == [{"ablation": "none"}, {}]
    assert {"memory": "episodic"} in [one.cell for one in series_of(runs, models)]
    without = series_of(runs, models, {"memory": None})
    assert all("memory" not in one.cell for one in without)
    assert len(without) == len(series_of(runs, models)) - 1
    both = [one.cell for one in series_of(runs, models, {"memory": ("episodic", None)})]
    assert both == [one.cell for one in series_of(runs, models)]
    one_or_none = [one.cell for one in series_of(runs, models, {"ablation": ("none", None)})]
    assert {"memory": "episodic"} in one_or_none
    assert {"ablation": "read"} not in one_or_none
