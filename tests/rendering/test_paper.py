"""The paper: rendered with every number known, typeset with the same bytes, refused in one line when it is wrong."""

import re
import shutil
from pathlib import Path

import pytest

from palimpsest import sources as manifests
from palimpsest import tasks
from palimpsest.analysis.claims import read_verdicts
from palimpsest.analysis.tables import INDEX
from palimpsest.foundation.errors import DataError, ToolError
from palimpsest.foundation.files import read_json, write_json
from palimpsest.planning.parameters import Params
from palimpsest.rendering import bench, checks, figures, numbers, paper, tables
from palimpsest.sources.shared.templates import REQUIRED
from palimpsest.tasks import key_presence
from tests.bench import made_up
from tests.rendering import fake
from tests.rendering.conftest import CLAIMS, PROJECT, PUBLISHED

SOURCE = PROJECT / "paper/source"
TEMPLATES = sorted(SOURCE.rglob("*.tex.j2"))
PROSE = [path for path in TEMPLATES if not paper.may_have_digits(path, SOURCE)]


def write_products(root: Path, preset: Params, diverged: bool = True) -> None:
    """Everything that the paper reads but tables and figures; cards know the task's own parameters, as real ones do."""
    fake.write(root, preset, diverged)
    for name, experiment in preset.experiments.items():
        for track, spec in experiment.tracks.items():
            file = root / f"data/{name}/track={track}/card.json"
            config = tasks.load(spec.task.name).Config(**spec.task.config)
            write_json(file, read_json(file) | {"config": config.model_dump(mode="json")})
    numbers.write_numbers(preset, root, published=PUBLISHED)


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory, preset: Params) -> Path:
    """A product directory from which the paper can be rendered; not to be changed."""
    root = tmp_path_factory.mktemp("paper")
    write_products(root, preset)
    return root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the templates that a test may spoil."""
    return shutil.copytree(SOURCE, tmp_path / "source")


@pytest.mark.parametrize("template", PROSE, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_digit_is_typed_but_into_a_method(template: Path) -> None:
    assert paper.typed_digits(template.read_text(encoding="utf-8")) == []


def test_only_methods_and_the_frame_may_hold_digits() -> None:
    exempt = {path.relative_to(SOURCE).as_posix() for path in TEMPLATES} - {
        path.relative_to(SOURCE).as_posix() for path in PROSE
    }
    roles = {f"{name}/{role}.tex.j2" for name in manifests.names() for role in ("source", "method", "tasks")}
    assert exempt == roles | set(paper.FRAME)


SHARED = [path for path in TEMPLATES if path.parent == SOURCE and path.name != "bench.tex.j2"]
"""What is about all sources; the section on speed names the models that were measured."""


@pytest.mark.parametrize("template", SHARED, ids=lambda path: path.name)
def test_shared_templates_name_no_source_and_no_experiment(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    for name, source in manifests.manifests().items():
        for word in (name, source.phrase, f'"{source.number}', *source.experiment_names):
            assert not re.search(rf"(?<![\w]){re.escape(word)}(?![\w])", text), word


@pytest.mark.parametrize(
    "text",
    [
        "an accuracy of 0.99",
        "ninety-5 points",
        r"$\lambda=1$",
        r"\VAR{0.99}",
        r"\VAR{'0.99'}",
        r"\textbf{12}",
        "x % a comment\n17",
    ],
)
def test_a_typed_digit_is_found(text: str) -> None:
    assert len(paper.typed_digits(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        r"\citep{graves2014}, Table~\ref{tab:1}, \input{../tables/x2}, \includegraphics[width=0.5\linewidth]{a1}",
        r"\pnum{claims/000-a/published/n} and \VAR{pnum('mem_lambda=0.2')} and \VAR{measured(a ~ '/b2')}",
        r"% 17",
        r"\#{ 17 }\BLOCK{ if verdict('000-a', 'repaired') == 'holds' }",
        r"\label{sec:2}\begin{table1}",
    ],
)
def test_names_may_hold_digits(text: str) -> None:
    assert paper.typed_digits(text) == []


def test_every_line_of_the_paper_finds_its_numbers(products: Path) -> None:
    text = paper.render(SOURCE, products)
    known = numbers.read_numbers(products / numbers.NUMBERS)
    used = re.findall(r"\\pnum\{([^}]*)\}", text)
    assert len(used) > 40
    assert set(used) <= set(known)
    assert r"\VAR" not in text
    assert r"\BLOCK" not in text


def test_text_follows_the_verdicts(tmp_path: Path, preset: Params) -> None:
    texts = {}
    for verdict in ("holds", "fails", "undecided"):
        root = tmp_path / verdict
        write_products(root, preset)
        claims = fake.CLAIMS.assign(verdict=verdict)
        (root / "tables/claims.csv").write_text(claims.to_csv(index=False), encoding="utf-8")
        numbers.write_numbers(preset, root, published=PUBLISHED)
        texts[verdict] = paper.render(SOURCE, root)
    assert texts["holds"].count("every claim holds") == 3
    assert texts["fails"].count("no claim is shown to hold") == 3
    assert "does not reach high accuracy" in texts["fails"]
    assert "does not beat every rule" in texts["fails"]
    assert "not all memories of the library copy" in texts["fails"]
    assert texts["undecided"].count("these runs do not decide") == 3
    all_of = re.compile(r"on the published track\s.*?; on the repaired track\s.*?\.", re.DOTALL)
    counted = {verdict: all_of.search(text)[0] for verdict, text in texts.items()}
    assert r"\pnum{claims/repaired/holds} hold and \pnum{claims/repaired/fails} fail." in counted["holds"]
    assert r"and \pnum{claims/published/undecided} are undecided;" in counted["undecided"]


def test_the_first_page_has_all_claims_and_the_appendix_those_of_each_source(products: Path) -> None:
    text = paper.render(SOURCE, products)
    begin, introduction = text.index(r"\begin{document}"), text.index(r"\section{Introduction}")
    assert r"\input{../tables/claims_matrix}" in text[begin:introduction]
    appendix = text[text.index(r"\appendix") :]
    for source in ("000", "001", "004"):
        assert rf"\input{{../tables/claims_{source}}}" in appendix


def test_no_setting_of_a_cell_stands_in_the_text(products: Path) -> None:
    prose = paper.render(SOURCE, products).partition(r"\begin{document}")[2].partition(r"\appendix")[0]
    prose = re.sub(r"\\(pnum|input|includegraphics|label|ref)(\[[^]]*\])?\{[^}]*\}", "", prose)
    assert not re.search(r"mem_lambda|mem\\_lambda|write_threshold|write\\_|softmax_over|ablation=|memory=", prose)


def test_every_figure_stands_in_the_paper_or_in_the_supplement(products: Path) -> None:
    texts = paper.render_all(SOURCE, products)
    shown = [figure for text in texts.values() for figure in re.findall(r"\.\./plots/([^}]+)\.pdf", text)]
    assert len(shown) == len(set(shown))
    present = {path.name for path in (products / "data").iterdir()}
    drawn = {
        f"{experiment.name}/{figure.name}"
        for source in manifests.manifests().values()
        for experiment in source.experiments
        if experiment.name in present
        for figure in experiment.figures
    }
    assert {name for name in shown if not name.startswith("bench/")} == drawn


def test_a_source_without_a_part_of_the_supplement_has_its_figures_there(source: Path, products: Path) -> None:
    (source / "nema_lite/supplement.tex.j2").unlink()
    text = paper.render_all(source, products)["supplement"]
    assert "../plots/nema_lite/where_it_writes.pdf" in text
    assert "nema lite: where it writes." in text
    assert "../plots/nema_lite/acc_vs_write_ratio.pdf" not in text


def entries(root: Path) -> dict:
    """The numbers of ``numbers.json``."""
    return read_json(root / numbers.NUMBERS)["numbers"]


def write_entries(root: Path, content: dict) -> None:
    """Write ``numbers.json`` with other numbers."""
    write_json(root / numbers.NUMBERS, {**read_json(root / numbers.NUMBERS), "numbers": content})


def add_experiments(root: Path, *names: str) -> None:
    """List more experiments in the index of the tables of runs."""
    with (root / INDEX).open("a", encoding="utf-8") as file:
        file.writelines(f"{name},000,1,1,1,tables/runs/{name}.csv\n" for name in names)


def with_numbers(root: Path, target: Path, **changed: float | None) -> Path:
    """Copy of the products in which numbers of the repaired stream have other values; ``None``: there is no such."""
    shutil.copytree(root, target)
    content = entries(target)
    for key, value in changed.items():
        model, statistic = key.rsplit("_", 1)
        cell = "nema_lc/ablation=none" if model == "nema_lc" else f"{model}/best"
        name = f"nema_lc/repaired/{cell}/test_accuracy_on/{statistic}"
        content[name]["value"] = value
        if value is None:
            del content[name]
    write_entries(target, content)
    return target


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({}, "The learned lifecycle lies above the best rule that was run (random replacement), with intervals apart."),
        ({"nema_lc_low": 0.0, "nema_lc_high": 0.1}, "The learned lifecycle lies below the best rule that was run"),
        (
            {"nema_lc_low": 0.1, "nema_lc_high": 0.9},
            "The intervals of the learned lifecycle and of the best rule that was run",
        ),
        ({"fifo_mean": 0.99}, "best rule that was run (first in, first out)"),
        ({}, "The oracle lies above the learned lifecycle, with intervals apart"),
        (
            {"oracle_replacement_high": 0.2, "oracle_replacement_low": 0.1},
            "The oracle lies below the learned lifecycle",
        ),
        ({"nema_lc_high": 0.99}, "The intervals of oracle and learned lifecycle overlap."),
    ],
)
def test_text_states_how_learned_rules_and_oracle_compare(
    changed: dict[str, float], sentence: str, products: Path, tmp_path: Path
) -> None:
    assert sentence in paper.render(SOURCE, with_numbers(products, tmp_path / "products", **changed))


@pytest.mark.parametrize(("slots", "told"), [(1e6, True), (1, False)])
def test_text_tells_which_published_runs_are_the_same_and_where_a_memory_becomes_full(
    slots: float, told: bool, products: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(products, tmp_path / "products")
    here, content = "nema_lc/published", entries(root)
    assert "it is trained once, with all losses" not in paper.render(SOURCE, root)
    content = {name: item for name, item in content.items() if f"{here}/nema_lc/ablation=write/" not in name}
    rule = {name: item for name, item in content.items() if name.startswith("nema_lc/repaired/fifo/")}
    content |= {name.replace("repaired", "published", 1): item for name, item in rule.items()}
    shared = "params/experiments.nema_lc.tracks.published.shared"
    some = content["claims/all"]
    content |= {f"{shared}.num_slots": {**some, "value": slots}, f"{shared}.utilisation_cap": {**some, "value": 0.7}}
    write_entries(root, content)
    text = paper.render(SOURCE, root)
    assert "it is trained once, with all losses" in text
    assert "Of the rules of replacement only first in, first out was run." in text
    assert ("no slot is ever given up, and all rules are the same run" in text) == told
    for name in re.findall(r"test\\_(as[a-z_\\]+)", text):
        test = "def test_" + name.replace("\\", "")
        assert test in (PROJECT / "tests/models/test_nema_lc.py").read_text(encoding="utf-8")


def test_one_seed_has_no_intervals_to_compare(products: Path, tmp_path: Path) -> None:
    text = paper.render(SOURCE, with_numbers(products, tmp_path / "products", nema_lc_low=None))
    assert "The learned lifecycle lies" not in text
    assert "of oracle and learned lifecycle overlap" not in text


def test_runs_that_all_diverged_leave_no_value(tmp_path: Path) -> None:
    preset = fake.params(seeds=(0,))
    write_products(tmp_path, preset)
    paper.render(SOURCE, tmp_path)
    known = numbers.read_numbers(tmp_path / numbers.NUMBERS)
    counts = (name.rpartition("/")[0] for name in known if name.endswith("/n"))
    lost = next(cell for cell in counts if "/best" in cell and not any(key.startswith(f"{cell}/test") for key in known))
    measured = paper._number_functions(known)["measured"]
    assert measured(f"{lost}/test_accuracy_on") == "no value, as no run was completed"


def test_other_experiments_are_told_where_a_preset_has_them(products: Path, tmp_path: Path) -> None:
    root = shutil.copytree(products, tmp_path / "products")
    content = entries(root)
    stream = {name: item for name, item in content.items() if "nema_lc/repaired/" in name}
    sizes = dict.fromkeys(("document_length", "num_topics", "num_sentences"), content["claims/all"])
    assert "proxy of LRA Retrieval," not in paper.render(SOURCE, root)
    add_experiments(root, "nema_lc_documents", "nema_lc_document_qa")
    for experiment in ("nema_lc_documents", "nema_lc_document_qa"):
        content |= {name.replace("nema_lc/", f"{experiment}/", 1): item for name, item in stream.items()}
        content |= {f"data/{experiment}/repaired/config.{name}": item for name, item in sizes.items()}
    write_entries(root, content)
    texts = paper.render_all(SOURCE, root)
    assert "On two documents, a proxy of LRA Retrieval," in texts["paper"]
    assert "On questions about a document" in texts["paper"]
    for experiment in ("nema_lc_documents", "nema_lc_document_qa"):
        figure = rf"\includegraphics[width=\linewidth]{{../plots/{experiment}/baseline_vs_memory.pdf}}"
        assert figure in texts["supplement"]


def test_what_a_preset_omits_leaves_one_sentence_and_no_figure(tmp_path: Path) -> None:
    preset = fake.params(experiments=("nema_lite", "nema_lc", "nema_lc_lra", "copy"))
    left = preset.model_copy(update={"omit": ("nema_lc_lra",)}).without_omitted()
    write_products(tmp_path, left)
    texts = paper.render_all(SOURCE, tmp_path)
    said = "No run of this preset is about key presence in long sequences, two documents and questions about a document"
    assert f"{said}, which are part of the paper preset." in texts["paper"]
    assert "nema_lc_lra" not in "".join(texts.values())
    write_products(tmp_path / "whole", preset)
    text = paper.render(SOURCE, tmp_path / "whole")
    assert "No run of this preset is about two documents" in text
    assert "the model with a memory reaches" in " ".join(text.split())


def test_the_library_is_told_where_a_preset_has_it_and_with_all_its_tasks(products: Path, tmp_path: Path) -> None:
    root = shutil.copytree(products, tmp_path / "products")
    content = entries(root)
    without = {
        name: item for name, item in content.items() if "copy/" not in name and "associative_recall/" not in name
    }
    write_entries(root, without)
    index = (root / INDEX).read_text(encoding="utf-8")
    lines = [line for line in index.splitlines(keepends=True) if not line.startswith(("copy", "associative_recall"))]
    (root / INDEX).write_text("".join(lines), encoding="utf-8")
    text = paper.render(SOURCE, root)
    assert "NeMA-Lite and NeMA-LC, replicated on two tracks" in text
    for words in (r"\label{sec:memory_library}", "claims_004", "library of memories"):
        assert words not in text
    (root / INDEX).write_text(index, encoding="utf-8")
    add_experiments(root, "repeat_copy", "mqar", "priority_sort")
    more = dict(content)
    parts = ("runs/", "data/", "sizes/", "")
    for experiment in ("repeat_copy", "mqar", "priority_sort"):
        for part in parts:
            start = f"{part}associative_recall/repaired/"
            more |= {
                name.replace("associative_recall", experiment, 1): item
                for name, item in content.items()
                if name.startswith(start)
            }
        for name in ("config.max_repeats", "config.num_sorted", "interface.num_outputs"):
            more[f"data/{experiment}/repaired/{name}"] = content["claims/all"]
    for memory in ("sparse", "gated"):
        start = "sizes/copy/repaired/ntm/largest_trained/"
        more |= {
            name.replace(start, f"sizes/mqar/repaired/memory_rnn/memory={memory}/largest_trained/"): item
            for name, item in content.items()
            if name.startswith(start)
        }
    write_entries(root, more)
    texts = paper.render_all(SOURCE, root)
    for experiment in ("repeat_copy", "associative_recall", "mqar", "priority_sort"):
        figure = rf"\includegraphics[width=\linewidth]{{../plots/{experiment}/length_generalisation.pdf}}"
        assert figure in texts["supplement"]
    assert "seeds of the sparse memory" in texts["paper"]
    assert "seeds of the gated memory;" in texts["paper"]
    assert "seeds of the attention memory" not in texts["paper"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({}, "the NTM copies better than an LSTM of as many parameters, with intervals apart"),
        ({"ntm/high": 0.1}, "the NTM copies worse than an LSTM of as many parameters, with intervals apart"),
        ({"lstm/high": 1.0}, "the intervals of the NTM and of an LSTM of as many parameters overlap"),
        ({"ntm/low": None}, ""),
    ],
)
def test_text_states_how_memory_and_lstm_compare(
    changed: dict[str, float | None], sentence: str, products: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(products, tmp_path / "products")
    content = entries(root)
    for name, value in changed.items():
        model, end = name.split("/")
        key = f"sizes/copy/repaired/{model}/largest_trained/accuracy/{end}"
        content[key]["value"] = value
        if end == "high" and model == "ntm":
            content[key.replace("high", "low")]["value"] = 0.0
        if value is None:
            del content[key]
    write_entries(root, content)
    text = paper.render(SOURCE, root)
    assert sentence in text
    assert ("of an LSTM of as many parameters" in text or "than an LSTM" in text) == bool(sentence)


def _library(products: Path, root: Path, changed: dict[str, float]) -> str:
    """The paper's text, in one line, where some numbers are others or there are more of them."""
    shutil.copytree(products, root)
    content = entries(root)
    for name, value in changed.items():
        content[name] = {**content.get(name, content["claims/all"]), "value": value}
    write_entries(root, content)
    return " ".join(paper.render(SOURCE, root).split())


@pytest.mark.parametrize("succeeded", [0, 1])
def test_text_states_that_no_memory_has_learnt_a_task(succeeded: int, products: Path, tmp_path: Path) -> None:
    changed = {"sizes/associative_recall/repaired/ntm/largest_trained/succeeded": succeeded}
    text = _library(products, tmp_path / "products", changed)
    recalled = text.partition("Associative recall, repaired.")[2].partition(r"\paragraph")[0]
    assert ("No seed of a model with a memory has learnt this task" in recalled) == (not succeeded)


SLOTS = "params/experiments.copy.tracks.repaired.grids.dnc.config.num_slots"


@pytest.mark.parametrize(("slots", "expected"), [(24, True), (128, False)])
def test_text_states_where_the_dnc_has_fewer_slots_than_vectors(
    slots: int, expected: bool, products: Path, tmp_path: Path
) -> None:
    tested = {f"sizes/copy/repaired/ntm/at_100/{end}": 1 for end in ("succeeded", "runs", "accuracy/mean")}
    text = _library(products, tmp_path / "products", {SLOTS: slots, **tested})
    assert ("The DNC fails by the size that we gave it" in text) == expected
    assert "Of the NTM's seeds" in text


@pytest.mark.parametrize(("off", "expected"), [(0.0, True), (0.01, False)])
def test_text_states_where_the_use_of_the_memory_follows_from_sizes(
    off: float, expected: bool, products: Path, tmp_path: Path
) -> None:
    claimed = next(
        row.estimate for row in read_verdicts(products / "tables/claims.csv").itertuples() if row.claim == "004-f"
    )
    slots, start = 32, "data/copy/repaired/config.test_lengths."
    known = [name for name in entries(products) if name.startswith(start)]
    each = (claimed + off) * slots - 1  # as many vectors, and the end mark, in every sequence
    text = _library(products, tmp_path / "products", {SLOTS: slots, **dict.fromkeys(known, each)})
    assert known
    assert ("This is what follows from sizes alone" in text) == expected


def test_the_text_on_the_sources_long_task_is_computed() -> None:
    config = key_presence.Config.model_validate({"sequence_length": 1024, "vocabulary": 512})
    text = (SOURCE / "nema_lc/tasks.tex.j2").read_text(encoding="utf-8")
    assert key_presence.threshold(config) == 2
    assert f"is right in ${key_presence.ceiling(config):.3f}$ of the sequences" in text
    assert f"is right in ${key_presence.accuracy_of_presence(config):.3f}$" in text


@pytest.mark.parametrize(
    ("template", "text", "message"),
    [
        (
            "nema_lite/method",
            r"\pnum{claims/al}",
            r"nema_lite/method.tex.j2: line 3: \\pnum\{claims/al\}: no such number; allowed: claims/all, ",
        ),
        (
            "nema_lite/method",
            r"\VAR{pnum('claims/' ~ 'al')}",
            r"nema_lite/method.tex.j2: line 3: \\pnum\{claims/al\}: no such number",
        ),
        (
            "nema_lite/method",
            r"\VAR{measured('nema_lite/x')}",
            r"nema_lite/method.tex.j2: line 3: \\pnum\{nema_lite/x/mean\}: no such number",
        ),
        ("nema_lite/method", r"\VAR{nothing}", r"nema_lite/method.tex.j2: line 3: 'nothing' is undefined"),
        (
            "nema_lite/method",
            r"\VAR{verdict('000-z', 'repaired')}",
            r"nema_lite/method.tex.j2: line 3: verdict\('000-z', 'repaired'\): no such",
        ),
        ("nema_lite/method", r"\BLOCK{ if }", r"nema_lite/method.tex.j2: line 3: Expected an expression"),
        ("nema_lite/results", "an accuracy of 0.99", r"nema_lite/results.tex.j2: line 3: '0.99': a number is typed"),
        (
            "memory_library/appendix",
            "an accuracy of 0.99",
            r"memory_library/appendix.tex.j2: line 3: '0.99': a number is typed",
        ),
        ("limitations", "only 5 seeds", r"source/limitations.tex.j2: line 3: '5': a number is typed"),
    ],
)
def test_a_mistake_in_a_template_names_file_line_and_name(
    template: str, text: str, message: str, source: Path, products: Path
) -> None:
    file = source / f"{template}.tex.j2"
    file.write_text(f"First.\n\n{text}\n", encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        paper.render(source, products)
    assert "\n" not in str(caught.value)


def test_a_missing_template_is_one_line(source: Path, products: Path) -> None:
    (source / "nema_lite/method.tex.j2").unlink()
    with pytest.raises(DataError, match=r"nema_lite/method.tex.j2: no such template$"):
        paper.render(source, products)


def test_missing_latex_names_what_to_install(products: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ToolError) as caught:
        paper.typeset("", "", SOURCE, products)
    assert str(caught.value) == (
        "paper: latexmk: no such program; to install it, as root: "
        "apt-get install texlive-latex-recommended texlive-fonts-recommended latexmk"
    )


needs_latex = pytest.mark.usefixtures("latex")


@pytest.fixture(scope="session")
def latex() -> None:
    """LaTeX is a requirement of the tests: without it they fail, and name what to install."""
    assert shutil.which("latexmk"), f"latexmk is missing; to install it, as root: {paper.TEX}"


@needs_latex
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (r"\nosuchcommand", r"paper.tex: LaTeX: paper.tex: line 4: Undefined control sequence\.$"),
        (r"Table~\ref{tab:none}", r"paper.tex: LaTeX: reference 'tab:none' leads nowhere$"),
        (r"\input{numbers}\pnum{no/such}", r"paper.tex: LaTeX: paper.tex: line 4: .*no number is called no/such"),
    ],
)
def test_an_error_of_latex_is_one_line(body: str, message: str, products: Path) -> None:
    text = "\\documentclass{article}\n\\begin{document}\nx\n" + body + "\n\\end{document}\n"
    with pytest.raises(ToolError, match=message) as caught:
        paper.typeset(text, numbers.macros([], {}), SOURCE, products)
    assert "\n" not in str(caught.value)


def test_the_bibliographies_are_those_of_the_sources_that_are_shown(source: Path, products: Path) -> None:
    (source / "nema_lc/references.bib").unlink()
    names = "source/references,source/nema_lite/references,source/memory_library/references"
    assert rf"\bibliography{{{names}}}" in paper.render(source, products)


@needs_latex
def test_two_bibliographies_may_have_the_same_entry(source: Path, products: Path) -> None:
    own = source / "nema_lite/references.bib"
    own.write_text((source / "references.bib").read_text(encoding="utf-8") + own.read_text(encoding="utf-8"))
    text = (
        "\\documentclass{article}\n\\begin{document}\\cite{graves2014,kingma2015}\n\\bibliographystyle{plain}\n"
        "\\bibliography{source/references,source/nema_lite/references}\n\\end{document}\n"
    )
    assert paper.typeset(text, numbers.macros([], {}), source, products).startswith(b"%PDF")
    with pytest.raises(DataError, match=r"toy/references.bib: no such file; paper/paper.tex uses it$"):
        paper.typeset(text.replace("nema_lite", "toy"), numbers.macros([], {}), source, products)


def test_shared_templates_include_every_role_that_a_source_must_have() -> None:
    text = "".join(template.read_text(encoding="utf-8") for template in SHARED)
    included = re.findall(r'include source\.templates ~ "/(\w+)\.tex\.j2" \}', text)
    assert sorted(included) == sorted(REQUIRED)


@needs_latex
def test_a_missing_table_is_named(products: Path) -> None:
    with pytest.raises(DataError, match=r"tables/none.tex: no such file; paper/paper.tex uses it$"):
        paper.typeset(r"\input{../tables/none}", "", SOURCE, products)


@needs_latex
def test_two_builds_in_two_places_give_the_same_bytes(tmp_path: Path, preset: Params) -> None:
    built = []
    for name in ("first", "second/deeper"):
        root = tmp_path / name
        write_products(root, preset)
        tables.write_tables(preset, root, claims=CLAIMS, published=PUBLISHED)
        for experiment in preset.experiments:
            figures.write_figures(preset, root, experiment)
        bench.write_bench(made_up.write(tmp_path / "measured"), root)
        checks.write_checks(tmp_path / "not run", root)
        pdf = paper.build(SOURCE, root)
        built.append([(root / f"paper/{file}").read_bytes() for file in ("paper.pdf", "paper.tex", "supplement.pdf")])
        assert sorted(path.name for path in pdf.parent.iterdir()) == [
            "numbers.json",
            "numbers.tex",
            "paper.pdf",
            "paper.tex",
            "supplement.pdf",
            "supplement.tex",
        ]
    assert built[0] == built[1]
    content, text, supplement = built[0]
    for document in (content, supplement):
        assert document.startswith(b"%PDF")
        assert b"/Type3" not in document
    assert str(tmp_path).encode() not in content + text + supplement
