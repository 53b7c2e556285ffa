"""Metrics of trained runs on a split: the scores of training, scores by difficulty, and measures of the trace."""

from __future__ import annotations

from collections.abc import Sequence

from palimpsest.memory.stepwise_trace import look
from palimpsest.memory.trace import measures_of
from palimpsest.models import Control, ModelOutput
from palimpsest.tasks import Examples, Scores
from palimpsest.training import loop
from palimpsest.training.evaluation import Metrics, add_sums
from palimpsest.training.pack import Pack


def measure(pack: Pack, examples: Examples, controls: Sequence[Control]) -> tuple[dict[Control, Metrics], Metrics]:
    """Measure every run on a split.

    Args:
        pack: trained runs.
        examples: the split, on the pack's device.
        controls: what is done to the memory.

    Returns:
        Scores and logs under each control, each (R,), float64. Where the examples differ in difficulty, every score
        of every difficulty stands beside them: ``accuracy_at_20`` is the accuracy on examples whose ``slice`` is 20.
        And what is measured of the trace under ``on``, each (R,), float64.
    """
    seen = _Seen(controls)
    metrics = loop.evaluate_pack(pack, examples, controls, watch=look, visit=seen.visit)
    count = len(examples.targets)
    return (
        {control: metrics[control] | seen.by_difficulty(control) for control in controls},
        {name: value / count for name, value in seen.of_trace.items()},
    )


class _Seen:
    """Sums over the batches of a split."""

    def __init__(self, controls: Sequence[Control]) -> None:
        self.of_trace: Metrics = {}
        self.scores: dict[Control, dict[int, Metrics]] = {control: {} for control in controls}
        self.count: dict[int, int] = {}
        self.first = controls[0]

    def visit(self, control: Control, examples: Examples, scores: Scores, output: ModelOutput) -> None:
        """Add a batch."""
        if control == "on":
            measures = measures_of(output.record)
            add_sums(self.of_trace, {name: value * examples.targets.shape[1] for name, value in measures.items()})
        if "slice" not in examples.extras:
            return
        slices = examples.extras["slice"]
        for kind in slices[0].unique().tolist():
            of_kind = slices == kind
            sums = {name: (value * of_kind).double().sum(1) for name, value in scores.items()}
            add_sums(self.scores[control].setdefault(kind, {}), sums)
            if control == self.first:
                self.count[kind] = self.count.get(kind, 0) + int(of_kind[0].sum())

    def by_difficulty(self, control: Control) -> Metrics:
        """Means of the scores of each difficulty."""
        of_kinds = self.scores[control].items()
        return {f"{name}_at_{k}": value / self.count[k] for k, sums in of_kinds for name, value in sums.items()}
