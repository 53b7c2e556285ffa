"""What a step of a memory costs: ratios, goals and growth are those of the files, and a goal missed is named."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.ticker import NullFormatter

from palimpsest.foundation.errors import DataError
from palimpsest.rendering import bench_memories, bench_parts, style
from palimpsest.rendering.bench_columns import COLUMNS
from palimpsest.rendering.bench_parts import Measured
from tests.bench import made_up


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Measurements of two devices; not to be changed."""
    return made_up.write(tmp_path_factory.mktemp("results"), ("cpu", "cuda"))


@pytest.fixture
def measured(results: Path) -> Measured:
    """The same as tables, which a test may change."""
    return bench_parts.read(results)


def lines(table: str) -> list[str]:
    """What stands between the header and the end of a table, rules included."""
    body = table.split("\\midrule\n", 1)[1].split("\\bottomrule")[0]
    return [re.sub(r" +", " ", line.removesuffix(r" \\").replace("$", "")).strip() for line in body.splitlines()]


def of_cells(measured: Measured, **changes: object) -> None:
    """Change a column of all rows of cells."""
    measured.tables["cells"] = measured.tables["cells"].assign(**changes)


def test_cells_stand_by_device_cell_batch_and_pack_with_goals(measured: Measured) -> None:
    """Ours, each reference and its ratio: of public code 3 for a run and 15 for a pack, and twice that compiled."""
    shown = lines(bench_memories.cells_table(measured))
    assert shown[:10] == [
        "cpu & NTM & 1 & 1 & eager & 50 & 100 & 2.00 & 150 & 3.00 & 6 & no",
        "& & & 1 & compiled & 25 & 100 & 4.00 & 150 & 6.00 & 6 & yes",
        "& & & 5 & eager & 10 & 100 & 10.00 & 150 & 15.00 & 19 & no",
        "& & & 5 & compiled & 5 & 100 & 20.00 & 150 & 30.00 & 19 & yes",
        r"\midrule",
        "cpu & NTM & 16 & 1 & eager & 800 & 1\\,600 & 2.00 & 2\\,400 & 3.00 & 9 & no",
        "& & & 1 & compiled & 400 & 1\\,600 & 4.00 & 2\\,400 & 6.00 & 9 & no",
        "& & & 5 & eager & 160 & 1\\,600 & 10.00 & 2\\,400 & 15.00 & 14 & yes",
        "& & & 5 & compiled & 80 & 1\\,600 & 20.00 & 2\\,400 & 30.00 & 14 & yes",
        r"\midrule",
    ]
    assert [line for line in shown if line.startswith("c")] == [
        line for line in shown if re.match(r"(cpu|cuda) & (NTM|DNC) & (1|16) & 1 & eager", line)
    ]


def test_without_public_code_its_columns_and_the_goal_are_dashes(measured: Measured) -> None:
    shown = lines(bench_memories.cells_table(measured))
    assert "cuda & DNC & 16 & 1 & eager & 800 & 1\\,600 & 2.00 & -- & -- & -- & --" in shown


def test_columns_of_references_are_named_above_and_in_full_in_the_caption(measured: Measured) -> None:
    table = bench_memories.cells_table(measured)
    names = re.findall(r"\\multicolumn\{2\}\{c\}\{([^}]*)\}", table)
    assert names == ["naive", "pytorch", "goal"]
    assert "(naive: naive-ntm, naive-dnc; pytorch: pytorch-ntm, pytorch-dnc)" in table
    assert "sequences of $41$ steps" in table
    columns = re.findall(r"\\begin{tabular}{@{}(\w+)@{}}", table)[0]
    assert len(columns) == 1 + lines(table)[0].count("&") == 12


def test_without_compiled_rows_only_eager_ones_are_shown_and_counted(measured: Measured) -> None:
    table = measured.tables["cells"]
    measured.tables["cells"] = table.loc[~table["compiled"]]
    assert not any("& compiled &" in line for line in lines(bench_memories.cells_table(measured)))
    assert bench_memories.goals_macro(measured) == "\\newcommand{\\benchgoals}{$2$ of $8$ as PyTorch runs our models}\n"


def test_reached_goals_are_counted_eager_and_compiled(measured: Measured) -> None:
    """At 3 and 15 only the packs of batch 16 reach theirs; at 6 and 30 one run of the NTM at batch 16 does not."""
    text = r"$2$ of $8$ as PyTorch runs our models and $7$ of $8$ after \texttt{torch.compile}"
    assert bench_memories.goals_macro(measured) == rf"\newcommand{{\benchgoals}}{{{text}}}" + "\n"


def test_the_table_has_yes_as_often_as_goals_are_counted(measured: Measured) -> None:
    counts = re.findall(r"\$(\d)\$ of", bench_memories.goals_macro(measured))
    verdicts = [line.rsplit(" & ", 1)[1] for line in lines(bench_memories.cells_table(measured)) if " & " in line]
    assert verdicts.count("yes") == sum(map(int, counts))
    assert verdicts.count("no") == 2 * len(bench_memories.GOALS) - sum(map(int, counts))


@pytest.mark.parametrize(("shift", "reached"), [(0.0, 8), (-0.001, 0)])
def test_a_goal_is_reached_from_its_value_on(shift: float, reached: int, measured: Measured) -> None:
    table = measured.tables["cells"]
    keys = zip(table["reference"], table["runs"], table["batch"], strict=True)
    of_cells(measured, ratio=[bench_memories.GOALS.get(key, 1.0) + shift for key in keys])
    assert bench_memories.goals_macro(measured).count(f"${reached}$ of $8$") == 2


@pytest.mark.parametrize("changes", [{"device": "cuda"}, {"runs": 3}, {"reference": "mine"}])
def test_goals_hold_for_what_they_were_set_for_only(changes: dict[str, object], measured: Measured) -> None:
    of_cells(measured, **changes)
    assert "{none was measured}" in bench_memories.goals_macro(measured)


def test_growth_and_its_goal_are_given_for_every_device(measured: Measured) -> None:
    assert bench_memories.growth_macro(measured) == (
        "\\newcommand{\\benchgrowth}{"
        "cpu: $N^{0.1}$ forward and backward, $N^{0.05}$ forward alone; goal: less than $N^{0.3}$, reached. "
        "cuda: $N^{0.4}$ forward and backward, $N^{0.05}$ forward alone; goal: less than $N^{0.3}$, missed}\n"
    )


def test_growth_as_fast_as_the_goal_misses_it(measured: Measured) -> None:
    table = measured.tables["sparse_memory"]
    measured.tables["sparse_memory"] = table.assign(exponent_step=bench_memories.GROWTH_GOAL)
    assert bench_memories.growth_macro(measured).count("missed") == 2


def test_times_are_lines_over_slots_with_their_powers_beside_the_goal(measured: Measured) -> None:
    with style.sized_for_print():
        figure = bench_memories.sparse_memory_figure(measured)
        figure.canvas.draw()
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["cpu", "cuda"]
    for panel, power in zip(figure.axes, (0.1, 0.4), strict=True):
        step, forward, goal = panel.lines
        for line, first, exponent in ((step, 3.0, power), (forward, 2.0, 0.05)):
            assert np.asarray(line.get_xdata()).tolist() == [1000, 10_000, 100_000]
            assert np.allclose(line.get_ydata(), first * np.array([1e3, 1e4, 1e5]) ** exponent, rtol=1e-3)
        heights = np.asarray(goal.get_ydata(), dtype=float)
        assert heights[0] == np.asarray(step.get_ydata())[0]
        assert np.allclose(np.diff(np.log10(heights)), bench_memories.GROWTH_GOAL)
        assert [line.get_label() for line in panel.lines] == [
            f"forward and backward, $N^{{{power}}}$",
            "forward alone, $N^{0.05}$",
            "goal: below $N^{0.3}$",
        ]
        assert panel.get_xscale() == panel.get_yscale() == "log"
        assert not isinstance(panel.yaxis.get_minor_formatter(), NullFormatter)


def broken(results: Path, name: str, **changes: object) -> Path:
    """Results of which columns of one table are replaced; ``None`` takes a column away."""
    path = made_up.write(results) / f"{name}.csv"
    table = pd.read_csv(path).assign(**{key: value for key, value in changes.items() if value is not None})
    table.drop(columns=[key for key, value in changes.items() if value is None]).to_csv(path, index=False)
    return results


@pytest.mark.parametrize("name", ["cells", "sparse_memory"])
def test_every_column_is_needed(name: str, tmp_path: Path) -> None:
    for column in COLUMNS[name]:
        (tmp_path / f"{name}.csv").unlink(missing_ok=True)
        broken(tmp_path, name, **{column: None})
        expected = rf"{name}\.csv: no column '{column}'; `python -m bench {name}` makes it anew$"
        with pytest.raises(DataError, match=expected):
            bench_parts.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "changes", "wrong"),
    [
        ("cells", {"compiled": 1}, "compiled: not all are True or False"),
        ("cells", {"compiled": "yes"}, "compiled: not all are True or False"),
        ("cells", {"compiled": [True, *[""] * 31]}, "compiled: not all are True or False"),
        ("cells", {"ratio": "fast"}, "ratio: not all are numbers"),
        ("cells", {"ours_ms": True}, "ours_ms: not all are numbers"),
        ("cells", {"ratio": [1.0, *[float("nan")] * 31]}, "ratio: a value is missing"),
        ("cells", {"reference": ["naive-ntm", *[""] * 31]}, "reference: a value is missing"),
        ("sparse_memory", {"step_ms": "slow"}, "step_ms: not all are numbers"),
        ("sparse_memory", {"exponent_step": float("nan")}, "exponent_step: a value is missing"),
    ],
)
def test_a_column_of_something_else_is_refused(
    name: str, changes: dict[str, object], wrong: str, tmp_path: Path
) -> None:
    broken(tmp_path, name, **changes)
    with pytest.raises(DataError, match=rf"{name}\.csv: {wrong}; `python -m bench {name}` makes it anew$"):
        bench_parts.read(tmp_path)
