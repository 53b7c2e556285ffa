"""Source 999, a toy: one memory, one task, one figure, one table, one notebook."""

from __future__ import annotations

from palimpsest.sources.shared.figures import SideBySide
from palimpsest.sources.shared.looks import Look
from palimpsest.sources.shared.manifest import Experiment, Looks, Notebook, Source, Words
from palimpsest.sources.shared.tables import Scores

SOURCE = Source(
    number="999",
    title="Toy",
    phrase="a toy",
    citations=("toy2026",),
    description="A shift register echoes a token.",
    experiments=(
        Experiment(
            name="toy_echo",
            figures=(
                SideBySide(name="register_vs_lstm", metrics=("test_accuracy_on",), accuracies=("test_accuracy_on",)),
            ),
            size="tokens of a sequence",
        ),
    ),
    section_needs=("toy_echo",),
    templates="toy",
    tables=(Scores(name="toy_scores", metrics=("test_accuracy_on", "test_accuracy_off")),),
    notebooks=(Notebook(name="09_Toy", experiments=("toy_echo",)),),
    words=Words(values={"memory": {"toy_register": "shift register"}}),
    looks=Looks(cells={("memory", "toy_register"): Look("#AA3377", "*")}),
)
