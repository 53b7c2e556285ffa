"""Every model on every task, and every memory on every recall task: it runs, or is refused in one line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from palimpsest import models, tasks
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.memory import named
from palimpsest.models import Batch
from palimpsest.planning.parameters import Params
from palimpsest.planning.specs import RunSpec, check
from palimpsest.tasks import Splits
from palimpsest.training import loop
from palimpsest.training.pack import build_pack

SPLITS = {"num_train": 4, "num_validation": 2, "num_test": 4}
TASKS: dict[str, dict[str, object]] = {
    "associative_recall": {"bits": 2, "item_length": 1, "max_items": 3, "test_items": [2, 3]},
    "copy": {"bits": 2, "max_length": 3, "test_lengths": [2, 3]},
    "delayed_qa": {"sequence_length": 8, "num_digits": 3, "question": "flag"},
    "document_matching": {"document_length": 4, "question_length": 2, "num_topics": 2, "words_per_topic": 2},
    "document_qa": {"num_sentences": 2, "num_subjects": 2, "num_relations": 2, "num_objects": 2},
    "fact_recall": {
        "num_keys": 3, "num_values": 3, "window": 8, "num_facts": 1, "max_segments": 2, "test_segments": [2],
    },
    "idx_images": {"rows": 2, "columns": 3, "num_train": 4, "num_validation": 2, "num_test": 2},
    "key_presence": {"sequence_length": 8, "vocabulary": 6, "key": 3, "cls": "last"},
    "key_value_stream": {"num_pairs": 4, "num_keys": 2, "num_tagged": 1, "num_values": 2},
    "link_prediction": {"branching": 2, "generations": 3},
    "lra_retrieval": {"max_bytes": 4, "question_length": 2},
    "mqar": {"vocabulary": 12, "train_settings": [[8, 2]], "test_settings": [[8, 1], [12, 3]]},
    "priority_sort": {
        "bits": 2, "num_levels": 4, "num_sorted": 2, "min_vectors": 2, "max_vectors": 3, "test_vectors": [3],
    },
    "repeat_copy": {"bits": 2, "max_length": 2, "max_repeats": 2, "test_sizes": [[1, 2], [2, 1]]},
    "shifting_map": {"key_bits": 3, "keys_per_map": 4, "num_values": 2, "num_pairs": 3},
}  # fmt: skip
"""Sizes of a few short examples of each task; a task that is not listed is walked with its defaults."""
SIZES: dict[str, object] = {
    "width": 8, "num_heads": 2, "num_layers": 1, "feedforward": 8, "hidden": 6, "num_slots": 4, "slot_dim": 4,
    "gate_hidden": 4, "capacity": 4, "controller_hidden": 8, "budget": 2, "segment": None, "window": None, "top_k": 2,
    "use_memory": True, "num_read_heads": 1,
}  # fmt: skip
"""Sizes of every model that has them."""
OF_EMT = {"window": 4, "layer": 0, "num_memory_heads": 2}
SEGMENTS = {
    "memory_transformer": {"segment": 4},
    "window_only": {"window": 2},
    "decoder": OF_EMT,
    "emt": OF_EMT,
    "rmt": OF_EMT,
}
RECALL = ("associative_recall", "copy", "delayed_qa", "document_qa", "key_value_stream", "mqar", "repeat_copy")
"""Tasks whose answers stood in the input before they are asked."""
OF_NEMA_LC = {"chunk": 2, "order": "write_read", "memory": "episodic", "allocator": "requested", "read": "attention"}


def run_spec(model: str, task: str, **changes: object) -> RunSpec:
    """The specification of one run, by the same checks as those of a preset.

    Raises:
        ParameterError: the model is refused.
    """
    known = models.load(model).Config.model_fields
    config = {**SIZES, **SEGMENTS.get(model, {})}
    config = {key: value for key, value in {**config, **changes}.items() if key in known}
    track = {
        "task": {"name": task, "config": {**SPLITS, **TASKS.get(task, {})}},
        "training": {"batch_size": 4, "num_epochs": 1},
        "grids": {"all": {"model": model, "config": config}},
    }
    experiment = {"title": "Matrix", "source": "000", "tracks": {"repaired": track}}
    content = {"preset": "smoke", "seeds": [0], "experiments": {"matrix": experiment}}
    ((spec,),) = check(Params.model_validate(content)).values()
    return spec


def run(spec: RunSpec) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Metrics of one training step, and of an evaluation."""
    task = tasks.load(spec.task["name"])
    config = checked(task.Config, {k: v for k, v in spec.task.items() if k not in ("name", "seed")}, "file")
    splits = config.build(0) if config.generated else Splits(*(config.sample(size) for size in SPLITS.values()))
    pack = build_pack([spec])
    means, _ = loop.train_epoch(pack, splits.train, 0)
    return means, loop.evaluate_pack(pack, splits.test, ["on"])["on"]


def pairs() -> Iterator[tuple[str, str]]:
    yield from ((model, task) for model in models.names() for task in tasks.names())


def outcome(model: str, task: str, **changes: Any) -> str:
    """Empty where a pair runs, else the line that refuses it."""
    try:
        spec = run_spec(model, task, **changes)
    except ParameterError as error:
        return str(error)
    metric = tasks.load(task).METRIC.name
    for found in run(spec):
        assert torch.isfinite(found["loss"]).all()
        assert ((found[metric] >= 0) & (found[metric] <= 1)).all()
    return ""


@pytest.mark.parametrize("name", ["nema_lite", "nema_lc", "no_memory", "lstm"])
def test_a_model_answers_at_any_number_of_asked_steps(name: str) -> None:
    """What is asked later changes no answer before it, and every step asked gives what it gives among all."""
    model_class, config_class = models.load(name).Model, models.load(name).Config
    known = {**SIZES, **OF_NEMA_LC, "memory": "episodic" if name == "nema_lc" else "per_example"}
    known |= {"segment": 2, "num_tokens": 6, "num_outputs": 3, "sequence_length": 8, "dropout": 0.0}
    content = {key: value for key, value in known.items() if key in config_class.model_fields}
    if name == "nema_lite":
        content["read"] = "sigmoid"
    inputs = torch.randint(6, (1, 3, 8), generator=torch.Generator().manual_seed(0))
    logits = {}
    for asked in (None, (7,), (1, 4), (1, 4, 7)):
        model = model_class(config_class(asked=asked, **content), 1)
        reset_parameters(model, [torch.Generator().manual_seed(1)])
        hyper = {"write_threshold": torch.tensor([0.3]), "ablation": torch.zeros(1)}
        output = model.eval()(Batch(inputs, torch.zeros(1, dtype=torch.int64), {}), hyper)
        logits[asked] = output.logits
    assert logits[None].shape == (1, 3, 8, 3)
    for asked, found in logits.items():
        if asked is not None:
            torch.testing.assert_close(found, logits[None][:, :, list(asked)])


@pytest.mark.parametrize("name", ["nema_lite", "nema_lc"])
def test_a_question_reads_the_memory_as_it_is_then(name: str) -> None:
    """Tokens behind the segment or chunk of a question change no answer; tokens before it change some."""
    config_class = models.load(name).Config
    known = {**SIZES, **OF_NEMA_LC, "memory": "episodic" if name == "nema_lc" else "per_example"}
    known |= {"segment": 2, "num_tokens": 6, "num_outputs": 3, "sequence_length": 8, "dropout": 0.0, "capacity": 8}
    known |= {"gate_bias": 3.0, "write_bias": 3.0}
    content = {key: value for key, value in known.items() if key in config_class.model_fields}
    if name == "nema_lite":
        content["read"] = "sigmoid"
    model = models.load(name).Model(config_class(**content), 1).eval()
    reset_parameters(model, [torch.Generator().manual_seed(1)])
    hyper = {"write_threshold": torch.tensor([0.3]), "ablation": torch.zeros(1)}
    inputs = torch.randint(5, (1, 3, 8), generator=torch.Generator().manual_seed(0))
    key = torch.zeros(1, dtype=torch.int64)
    whole = model(Batch(inputs, key, {}), hyper).logits
    later, earlier = inputs.clone(), inputs.clone()
    later[..., 4:] = 5
    earlier[..., :2] = 5
    assert torch.equal(model(Batch(later, key, {}), hyper).logits[:, :, :4], whole[:, :, :4])
    assert not torch.equal(model(Batch(earlier, key, {}), hyper).logits[:, :, 2:], whole[:, :, 2:])


def test_every_model_runs_on_every_task_or_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(TASKS) <= set(tasks.names())
    refused = {pair: line for pair in pairs() if (line := outcome(*pair))}
    total = len(models.names()) * len(tasks.names())
    with capsys.disabled():
        print(f"\nmodels × tasks: {total - len(refused)} of {total} run ({1 - len(refused) / total:.0%})")
        for (model, task), line in refused.items():
            print(f"  {model} × {task}: {line}")
    needs = {"oracle_writer": "answer_position", "oracle_replacement": "answer_position", "tagged_queue": "tagged"}
    of_windows = refused.pop(("window_only", "link_prediction"))  # of three tokens, none is beyond a window
    assert "window 2 over 1 layers reaches the answer" in of_windows
    for (model, _), line in refused.items():
        assert f"needs '{needs[model]}'" in line
        assert "\n" not in line
    assert outcome("tagged_queue", "key_value_stream") == ""


@pytest.mark.parametrize("memory", named.names())
def test_every_memory_runs_on_every_recall_task(memory: str) -> None:
    assert {task: line for task in RECALL if (line := outcome("memory_rnn", task, memory=memory))} == {}


@pytest.mark.parametrize("task", RECALL)
@pytest.mark.parametrize("memory", ["shared", "per_example"])
def test_nema_lite_runs_on_every_recall_task_in_both_readings(memory: str, task: str) -> None:
    read = "sigmoid" if memory == "per_example" else "topk_cosine"
    assert outcome("nema_lite", task, memory=memory, read=read, straight_through=memory == "per_example") == ""


@pytest.mark.parametrize("task", ["delayed_qa", "key_value_stream", "document_qa", "mqar"])
def test_nema_lc_runs_in_chunks(task: str) -> None:
    assert outcome("nema_lc", task, losses="probabilities", straight_through=True, **OF_NEMA_LC) == ""
