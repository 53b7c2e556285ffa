"""Figures of sequences: every seed is a point, bits and weights are painted as in the tables, gaps are marked."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle, StepPatch

from palimpsest.foundation.errors import DataError
from palimpsest.planning.parameters import Params
from palimpsest.rendering import figures, style
from palimpsest.rendering.kinds import sequences
from palimpsest.rendering.panels import Products, series_of
from palimpsest.sources import experiment_of, looks, words
from palimpsest.sources.shared.figures import Figure
from tests.rendering import fake

COPY = {drawing.name: drawing for drawing in experiment_of("copy").figures}


@pytest.fixture(scope="module")
def tables(products: Path) -> Products:
    return figures.read_products(products, "copy")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Products]:
    """The remaining experiments of source 004."""
    root, names = tmp_path_factory.mktemp("others"), ("repeat_copy", "priority_sort", "mqar")
    fake.write(root, fake.params(seeds=(0, 1), experiments=names))
    return {name: figures.read_products(root, name) for name in names}


def drawn(drawing: Figure, tables: Products):
    with style.sized_for_print():
        figure = figures.draw_one(drawing, tables)
        figure.draw_without_rendering()
    return figure


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def part(tables: Products, **changed: pd.DataFrame) -> Products:
    return Products(**{**vars(tables), **changed})


class TestBySize:
    def test_every_seed_is_a_point_and_every_median_a_sign(self, tables: Products) -> None:
        figure = drawn(COPY["length_generalisation"], tables)
        assert len(figure.axes) == 2 * 2
        for index, panel in enumerate(figure.axes):
            track, metric = ("published", "repaired")[index % 2], ("accuracy", "sequence_accuracy")[index // 2]
            drawn_points = [group for group in panel.collections if isinstance(group, PathCollection)]
            points = {round(float(y), 9) for group in drawn_points for _, y in np.asarray(group.get_offsets())}
            runs = tables.generalisation.query(f"track == '{track}'")
            assert points >= {round(value, 9) for value in runs[metric].dropna()}
            low, high = panel.get_ylim()
            assert all(low <= value <= high for value in points)
            signs = {round(float(y), 9) for line in panel.lines for y in np.asarray(line.get_ydata(), dtype=float)}
            axes = ["model", "softmax_over", "slice"]
            assert signs >= {round(value, 9) for value in runs.groupby(axes, dropna=False)[metric].median().dropna()}

    def test_sizes_stand_side_by_side_and_trained_ones_are_shaded(self, tables: Products) -> None:
        figure = drawn(COPY["length_generalisation"], tables)
        panel = figure.axes[2]
        assert [text.get_text() for text in panel.get_xticklabels()] == ["4", "8", "16", "32"]
        assert panel.get_xlabel() == "vectors of a sequence"
        shades = [patch for patch in panel.patches if isinstance(patch, Rectangle)]
        shaded = {tuple(np.round(patch.get_bbox().intervalx, 6)) for patch in shades}
        assert shaded == {(-0.5, 0.5), (0.5, 1.5), (1.5, 2.5)}
        assert "trained sizes" in legend(figure)

    def test_points_of_a_size_lie_in_its_column(self, tables: Products) -> None:
        for panel in drawn(COPY["length_generalisation"], tables).axes:
            for group in panel.collections:
                for x, _ in np.asarray(group.get_offsets()):
                    assert abs(x - round(x)) < 0.5

    def test_chance_and_ceiling_belong_to_accuracy_alone(self, tables: Products) -> None:
        figure = drawn(COPY["length_generalisation"], tables)
        for index, panel in enumerate(figure.axes):
            assert ({"chance", "ceiling"} <= {text.get_text() for text in panel.texts}) == (index < 2)

    def test_the_informed_floor_is_a_step_for_each_size(self, tables: Products) -> None:
        for index, panel in enumerate(drawn(COPY["length_generalisation"], tables).axes):
            steps = [patch for patch in panel.patches if isinstance(patch, StepPatch)]
            assert len(steps) == (index < 2)
            assert ("informed floor" in {text.get_text() for text in panel.texts}) == (index < 2)
            for step in steps:
                floors = [*fake.floors_by_slice("copy", "repaired").values()]
                assert step.get_data().values.tolist() == pytest.approx(floors)
                assert step.get_data().edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]

    def test_repeats_are_spelt(self, others: dict[str, Products]) -> None:
        (drawing,) = (one for one in experiment_of("repeat_copy").figures if one.name == "length_generalisation")
        panel = drawn(drawing, others["repeat_copy"]).axes[-1]
        assert [text.get_text() for text in panel.get_xticklabels()] == ["2 × 2", "4 × 4", "8 × 4"]

    def test_without_sizes_there_is_nothing_to_draw(self, tables: Products) -> None:
        with pytest.raises(DataError, match=r"^generalisation.csv: no row; allowed: "):
            drawn(COPY["length_generalisation"], part(tables, generalisation=tables.generalisation[:0]))


class TestPictures:
    def test_are_inputs_targets_and_outputs(self, tables: Products) -> None:
        figure = drawn(COPY["pictures"], tables)
        names = [panel.get_ylabel().replace("\n", " ") for panel in figure.axes if panel.axison]
        assert [name for name in names[::2] if name][:4] == ["input", "target", "NTM", "NTM, without the defect"]
        assert set(names[1::2]) | set(names[-1:]) >= {"input", "target", "NTM", "DNC"}
        assert "causal Transformer" in names
        published, repaired = figure.axes[::2], figure.axes[1::2]
        inputs = np.asarray(repaired[0].images[0].get_array())
        assert inputs.shape == (2, fake.STEPS)
        assert inputs[:, : fake.ASKED_FROM].tolist() == [[0, 1, 0, 1], [1, 0, 1, 0]]
        wanted = np.asarray(repaired[1].images[0].get_array().filled(np.nan))
        assert np.isnan(wanted[:, : fake.ASKED_FROM]).all()
        assert wanted[:, fake.ASKED_FROM :].tolist() == [[0, 1, 0], [1, 0, 1]]
        for panel in (repaired[2], repaired[4], published[2], published[3]):
            outputs = np.asarray(panel.images[0].get_array().filled(np.nan))
            assert np.allclose(outputs[:, fake.ASKED_FROM :], 0.1 + 0.8 * wanted[:, fake.ASKED_FROM :])

    def test_have_the_models_of_their_track_and_no_empty_panel(self, tables: Products) -> None:
        figure = drawn(COPY["pictures"], tables)
        for column, track in ((figure.axes[::2], "published"), (figure.axes[1::2], "repaired")):
            models = tables.runs.query(f"track == '{track}'").drop_duplicates(["model", "softmax_over"])
            assert len([panel for panel in column if panel.axison]) == 2 + len(models)
            assert all(panel.images and panel.get_ylabel() for panel in column if panel.axison)
        lost = (tables.outputs["track"] == "published") & tables.outputs["softmax_over"].isna()
        figure = drawn(COPY["pictures"], part(tables, outputs=tables.outputs[~lost]))
        assert [text.get_text() for text in figure.axes[4].texts] == ["no run was completed"]

    def test_count_steps_below_the_last_picture_of_each_track(self, tables: Products) -> None:
        figure = drawn(COPY["pictures"], tables)
        for column in (figure.axes[::2], figure.axes[1::2]):
            painted = [panel for panel in column if panel.images]
            shown = [[text.get_text() for text in panel.get_xticklabels() if text.get_text()] for panel in painted]
            labels = [
                words if panel.xaxis.get_tick_params()["labelbottom"] else []
                for panel, words in zip(painted, shown, strict=True)
            ]
            assert len(labels[-1]) > 1
            assert not any(labels[:-1])
            assert [panel.get_xlabel() for panel in column if panel.get_xlabel()] == ["step"]
            assert painted[-1].get_xlabel() == "step"

    def test_have_the_level_above_the_bits(self, others: dict[str, Products]) -> None:
        (drawing,) = (one for one in experiment_of("priority_sort").figures if one.name == "pictures")
        inputs = np.asarray(drawn(drawing, others["priority_sort"]).axes[0].images[0].get_array())
        assert inputs.shape == (3, fake.STEPS)
        assert np.allclose(inputs[2], np.linspace(0, 1, fake.STEPS))  # levels from −1 to 1, as shades from 0 to 1

    def test_without_a_sequence_there_is_nothing_to_draw(self, tables: Products) -> None:
        with pytest.raises(DataError, match=r"^outputs.csv: no row; allowed: "):
            drawn(COPY["pictures"], part(tables, outputs=tables.outputs[:0]))


class TestWeightings:
    def images(self, figure) -> list[np.ndarray]:
        return [np.asarray(panel.images[0].get_array()) for panel in figure.axes if panel.images]

    def test_paint_every_head_of_every_memory(self, tables: Products) -> None:
        figure = drawn(COPY["weightings"], tables)
        labels = [panel.get_ylabel().split("\n") for panel in figure.axes[:8:2]]
        assert labels == [
            ["NTM", "published", "slot"],
            ["NTM,", "without the defect", "published", "slot"],
            ["NTM", "repaired", "slot"],
            ["DNC", "repaired", "slot"],
        ]
        assert [panel.get_title() for panel in figure.axes[:2]] == ["written", "read"]
        shapes = [image.shape for image in self.images(figure)]
        assert shapes == [(8, fake.STEPS)] * 6 + [(4, fake.STEPS), (8, fake.STEPS)]
        read = self.images(figure)[7]
        rows = tables.weightings.query("model == 'dnc' and kind == 'read'")
        for head in (0, 1):
            own = rows[rows["head"] == head].sort_values("step")[[f"slot_{slot:03d}" for slot in range(4)]]
            assert np.array_equal(read[4 * head : 4 * head + 4], own.to_numpy(float).T)
        assert [text.get_text() for text in figure.axes[7].get_yticklabels()] == ["head 1", "head 2"]

    def test_mark_where_the_question_begins(self, tables: Products) -> None:
        panel = drawn(COPY["weightings"], tables).axes[0]
        assert any(list(line.get_xdata()) == [fake.ASKED_FROM - 0.5] * 2 for line in panel.lines)

    def test_of_one_track_do_not_name_it(self, others: dict[str, Products]) -> None:
        (drawing,) = (one for one in experiment_of("mqar").figures if one.name == "weightings")
        figure = drawn(drawing, others["mqar"])
        labels = [panel.get_ylabel().split("\n") for panel in figure.axes[:-1:2]]
        assert labels[:2] == [["memory", "cell", "slot"], ["dynamic", "memory", "slot"]]
        assert len(labels) == len(fake.MEMORIES)

    def test_of_many_memories_fit_on_a_page(self, others: dict[str, Products]) -> None:
        (drawing,) = (one for one in experiment_of("mqar").figures if one.name == "weightings")
        figure = drawn(drawing, others["mqar"])
        assert len(figure.axes) == 2 * 9 + 1
        assert 7 < figure.get_figheight() < 8.3  # of nine inches, with a caption

    def test_usage_and_links_are_of_memories_that_have_them(self, tables: Products) -> None:
        figure = drawn(COPY["usage_and_links"], tables)
        usage, link = self.images(figure)[:2]
        assert (usage.shape, link.shape) == ((4, fake.STEPS), (4, 4))
        assert np.array_equal(link, np.where(np.eye(4), 0.9, 0.02))
        assert figure.axes[0].get_ylabel() == "DNC\nslot"

    def test_a_memory_with_a_usage_and_no_links_is_marked_so(self, tables: Products) -> None:
        figure = drawn(COPY["usage_and_links"], part(tables, weightings=tables.weightings.query("kind != 'link'")))
        assert [text.get_text() for text in figure.axes[1].texts] == ["no links"]

    def test_a_memory_that_is_only_read_is_marked_so(self, tables: Products) -> None:
        figure = drawn(COPY["weightings"], part(tables, weightings=tables.weightings.query("kind == 'read'")))
        assert [text.get_text() for text in figure.axes[0].texts] == ["no write weights"]

    @pytest.mark.parametrize(("name", "kinds"), [("weightings", "write, read"), ("usage_and_links", "usage")])
    def test_without_any_there_is_nothing_to_draw(self, name: str, kinds: str, tables: Products) -> None:
        with pytest.raises(DataError, match=rf"^weightings.csv: no row of {kinds}; allowed: "):
            drawn(COPY[name], part(tables, weightings=tables.weightings[:0]))


def test_learning_curves_are_a_line_a_seed_against_sequences_seen(tables: Products, preset: Params) -> None:
    figure = drawn(COPY["learning_curves_by_seed"], tables)
    assert len(figure.axes) == 3 * 2
    for index, panel in enumerate(figure.axes):
        lines = [line for line in panel.lines if len(line.get_xdata()) == fake.EPOCHS]
        assert len(lines) == (2, 4)[index % 2] * len(preset.seeds)
        assert list(lines[0].get_xdata()) == [
            fake.EXAMPLES * epoch // fake.EPOCHS for epoch in range(1, fake.EPOCHS + 1)
        ]
    assert figure.axes[-1].get_xlabel() == "training sequences seen"
    assert {"chance", "ceiling"} <= {text.get_text() for text in figure.axes[0].texts}


@pytest.mark.parametrize("experiment", ["copy", "repeat_copy", "priority_sort", "mqar"])
def test_nothing_is_cut_off_or_lies_on_the_legend(
    experiment: str, tables: Products, others: dict[str, Products]
) -> None:
    for drawing in experiment_of(experiment).figures:
        figure = drawn(drawing, {"copy": tables, **others}[experiment])
        below = figure.legends[0].get_window_extent().y1 if figure.legends else 0
        for panel in figure.axes:
            box = panel.get_tightbbox()
            assert box.y0 >= below - 1, drawing.name
            assert box.x0 >= -1.5, drawing.name
            assert box.x1 <= figure.bbox.width + 1.5, drawing.name
            assert box.y1 <= figure.bbox.height + 1, drawing.name
        if figure.legends:
            assert figure.legends[0].get_window_extent().width <= figure.bbox.width


def test_cells_without_an_axis_do_not_take_the_rows_of_those_with_it(tables: Products) -> None:
    found = {one.name: one for one in series_of(tables.runs)}
    assert list(found)[:3] == ["NTM", "NTM, without the defect", "DNC"]
    plain, without = (found[name].rows_of(tables.runs) for name in ("NTM", "NTM, without the defect"))
    assert plain["softmax_over"].isna().all()
    assert set(without["softmax_over"]) == {"slots"}
    assert len(plain) + len(without) == len(tables.runs.query("model == 'ntm'"))


def test_every_memory_has_a_name_and_a_look_of_its_own(others: dict[str, Products]) -> None:
    found = series_of(others["mqar"].runs)
    assert [one.name for one in found][:2] == ["memory cell", "dynamic memory"]
    assert [one.name for one in found][-3:] == ["memory Transformer", "LSTM", "causal Transformer"]
    looks = [one.look for one in found]
    assert len({to_rgb(look.color) for look in looks}) == len({look.marker for look in looks}) == len(looks)


def test_all_memories_that_a_network_can_hold_are_told_apart() -> None:
    found = [look for (axis, _), look in looks().cells.items() if axis == "memory"]
    found += [looks().models[model] for model in ("memory_transformer", "lstm", "causal_transformer")]
    assert len({look.color for look in found}) == len({look.marker for look in found}) == len(found) == 14
    assert {value for axis, value in looks().cells if axis == "memory"} <= set(words().values["memory"])


def test_asked_is_where_the_first_target_stands() -> None:
    table = pd.DataFrame({"line": ["input", "target", "target"], "step": [0, 5, 3]})
    assert sequences._first_asked(table) == 3
    assert sequences._first_asked(table[:1]) == 0
