"""Figures that put models beside each other: every seed is a point, what a model lacks is a dash."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from palimpsest.rendering import figures, style
from palimpsest.rendering.panels import Products
from palimpsest.sources import experiment_of
from tests.rendering import fake

DRAWINGS = {
    (experiment, drawing.name): drawing
    for experiment, name in (
        ("nema_lc", "ablations"),
        ("nema_lc", "replacement_policies"),
        ("nema_lc_lra", "baseline_vs_memory"),
    )
    for drawing in experiment_of(experiment).figures
    if drawing.name == name
}


def drawn(key: tuple[str, str], products: Path):
    with style.sized_for_print():
        figure = figures.draw_one(DRAWINGS[key], figures.read_products(products, key[0]))
        figure.draw_without_rendering()
    return figure


def points(panel) -> set[float]:
    drawn = [group for group in panel.collections if isinstance(group, PathCollection)]
    return {round(float(x), 9) for group in drawn for x, _ in group.get_offsets()}


@pytest.mark.parametrize("key", DRAWINGS, ids="/".join)
def test_every_seed_is_a_point_and_every_model_has_a_name(key: tuple[str, str], products: Path) -> None:
    figure, tables = drawn(key, products), figures.read_products(products, key[0])
    about = DRAWINGS[key]
    metrics = about.metrics
    assert len(figure.axes) == 2 * len(metrics)
    for row, track in enumerate(("published", "repaired")):
        runs = tables.runs[tables.runs["track"] == track]
        if about.models:
            runs = runs[runs["model"].isin(about.models)]
        if about.where.get("ablation"):
            runs = runs[runs["ablation"].isin(["none"]) | runs["ablation"].isna()]
        for column, metric in enumerate(metrics):
            panel = figure.axes[row * len(metrics) + column]
            assert points(panel) >= {round(value, 9) for value in runs[metric].dropna()}
            low, high = panel.get_xlim()
            assert all(low <= value <= high for value in points(panel))
        first = figure.axes[row * len(metrics)]
        names = [text.get_text() for text in first.get_yticklabels()]
        assert len(names) == len(set(names)) == runs.drop_duplicates(["model", *_axes(tables)]).shape[0]
        assert track in first.get_ylabel()


def _axes(tables: Products) -> list[str]:
    return [axis for axis in ("ablation", "use_memory") if axis in tables.runs]


@pytest.mark.parametrize("key", DRAWINGS, ids="/".join)
def test_chance_and_ceiling_bound_accuracies_alone(key: tuple[str, str], products: Path) -> None:
    figure, about = drawn(key, products), DRAWINGS[key]
    for index, panel in enumerate(figure.axes):
        texts = {text.get_text() for text in panel.texts}
        is_accuracy = about.metrics[index % len(about.metrics)] in about.accuracies
        assert ({"chance", "ceiling"} <= texts) == is_accuracy
        assert is_accuracy or "informed floor" not in texts


@pytest.mark.parametrize("key", DRAWINGS, ids="/".join)
def test_names_and_labels_lie_within_the_figure_and_apart(key: tuple[str, str], products: Path) -> None:
    figure = drawn(key, products)
    boxes = [panel.get_tightbbox() for panel in figure.axes]
    assert all(box.x0 >= -1 and box.x1 <= figure.bbox.width + 1 for box in boxes)
    assert all(box.y0 >= -1 and box.y1 <= figure.bbox.height + 1 for box in boxes)
    for index, one in enumerate(boxes):
        assert not any(one.shrunk(0.98, 0.98).overlaps(other.shrunk(0.98, 0.98)) for other in boxes[:index])


def test_what_a_model_lacks_is_a_dash_and_what_all_lack_is_stated(products: Path) -> None:
    figure = drawn(("nema_lc", "replacement_policies"), products)
    published, repaired = figure.axes[1], figure.axes[3]
    assert [text.get_text() for text in published.texts] == ["no model of\nthis track has it"]
    assert not published.lines
    assert [text.get_text() for text in repaired.texts] == ["–", "–"]


def test_better_stands_right_and_the_learned_model_on_top(products: Path) -> None:
    panel = drawn(("nema_lc", "replacement_policies"), products).axes[2]
    assert panel.get_yticklabels()[0].get_text() == "NeMA-LC"
    low, high = panel.get_ylim()
    assert low > high
    means = {name.get_text(): box for name, box in zip(panel.get_yticklabels(), panel.containers, strict=True)}
    oracle, fifo = (np.asarray(means[name].lines[0].get_xdata())[0] for name in ("oracle replacement", "FIFO"))
    assert oracle > fifo


def test_one_seed_is_drawn_without_an_interval(tmp_path: Path) -> None:
    preset = fake.params(seeds=(3,), experiments=("nema_lc", "nema_lc_lra"))
    fake.write(tmp_path, preset)
    for experiment in preset.experiments:
        assert len(figures.write_figures(preset, tmp_path, experiment)) == 2 * len(experiment_of(experiment).figures)


def test_a_metric_with_the_values_of_another_has_no_column(products: Path) -> None:
    tables, about = figures.read_products(products, "nema_lc_lra"), DRAWINGS["nema_lc_lra", "baseline_vs_memory"]
    runs = tables.runs.assign(test_accuracy_off=tables.runs["test_accuracy_on"])
    with style.sized_for_print():
        figure = figures.draw_one(about, dataclasses.replace(tables, runs=runs))
    assert len(about.metrics) == 2
    assert [panel.get_xlabel() for panel in figure.axes] == ["test accuracy"] * 2
