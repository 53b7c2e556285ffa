"""What is trained in a measurement is the presets' own grid."""

import pytest

from bench import workload
from palimpsest.foundation.errors import ParameterError
from palimpsest.training.pack import build_pack

PUBLISHED = workload.specs_of("default", "published")


def test_the_grid_takes_every_cell_before_the_next_seed() -> None:
    cells = {repr(sorted(spec.cell.items())) for spec in PUBLISHED}
    runs = workload.grid(PUBLISHED, len(cells) + 3)
    assert [spec.seed for spec in runs] == [0] * len(cells) + [1] * 3
    assert {repr(sorted(spec.cell.items())) for spec in runs[: len(cells)]} == cells
    assert len({(repr(spec.cell), spec.seed) for spec in runs}) == len(runs)
    assert all(spec.config[axis] == value for spec in runs for axis, value in spec.cell.items())


def test_a_grid_of_more_runs_than_the_preset_has_goes_on_with_further_seeds() -> None:
    assert workload.grid(PUBLISHED, 2 * len(PUBLISHED))[-1].seed > max(spec.seed for spec in PUBLISHED)


def test_a_pack_may_span_cells() -> None:
    specs = [workload.sized(spec, device="cpu", steps=1) for spec in workload.grid(PUBLISHED, 14)]
    assert build_pack(specs).runs == 14


def test_sizes_give_the_steps_that_are_asked_for() -> None:
    spec = workload.sized(PUBLISHED[0], device="cpu", batch=8, steps=30, epochs=3)
    assert spec.task["num_train"] == 80
    assert spec.task["num_validation"] == spec.task["num_test"] == 16
    assert spec.training.num_epochs * spec.task["num_train"] // spec.training.batch_size == 30
    assert len(workload.build(spec).train.targets) == 80


@pytest.mark.parametrize(("batch", "steps", "epochs"), [(0, 4, 2), (8, 5, 2), (8, 0, 1), (8, 4, 0)])
def test_sizes_that_do_not_fit_are_refused_in_one_line(batch: int, steps: int, epochs: int) -> None:
    with pytest.raises(ParameterError, match=r"^--batch .*; allowed: [^\n]+$"):
        workload.sized(PUBLISHED[0], device="cpu", batch=batch, steps=steps, epochs=epochs)


def test_no_run_and_no_track_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"^--runs: 0; allowed: at least 1$"):
        workload.grid(PUBLISHED, 0)
    with pytest.raises(ParameterError, match=r"^params/default.yaml: track 'none' has no grid"):
        workload.specs_of("default", "none")
