"""Every task keeps the contract: sizes, tokens, targets, extras, generators, ceiling, no unknown key."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from palimpsest import tasks
from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import Examples, Task, TaskConfig
from palimpsest.tasks.shared import floors

SIZES = {"num_train": 12, "num_validation": 8, "num_test": 6}
"""No fewer tests than a task of sequences has tested sizes by default."""
GENERATED = [name for name in tasks.names() if tasks.load(name).Config.generated]
OF_ONE_CLASS = [name for name in tasks.names() if tasks.load(name).Config().asked() is not None]
OF_SEQUENCES = [name for name in tasks.names() if name not in OF_ONE_CLASS]
KEYS = {
    "class": {"num_tokens", "num_outputs", "sequence_length", "asked", "cls_position"},
    "sequence": {"num_tokens", "num_outputs", "sequence_length", "code", "code_bits", "code_levels"},
}
"""What a model gets of a task, by what is asked: one class an example, or something at every step."""
Small = Callable[..., Any]


def release(folder: Path) -> dict[str, str]:
    """Files as the release of LRA Retrieval has them, every pair another; the parameters that lead there."""
    for offset, name in enumerate(tasks.load("lra_retrieval").FILES.values()):
        lines = [f"{row % 2}.0\tP{row}\tW{row}\tb'one {offset} {row}'\tb'two {row}'\n" for row in range(50)]
        (folder / name).write_text("".join(lines), encoding="ascii")
    return {"folder": str(folder)}


def digits(folder: Path) -> dict[str, object]:
    """Files as MNIST has them, with images of 2 × 2 pixels, every one another; the parameters that lead there."""
    for name, file in tasks.load("idx_images").FILES.items():
        shape = (60, 2, 2) if name.endswith("images") else (60,)
        head = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
        each = [[row % 10] if len(shape) == 1 else [row, 2 * row, 255 - row, row] for row in range(60)]
        (folder / file).write_bytes(head + bytes(value for values in each for value in values))
    return {"folder": str(folder), "rows": 2, "columns": 2}


FILES = {"lra_retrieval": release, "idx_images": digits}
"""What a task that reads needs to be there."""


@pytest.fixture(params=tasks.names())
def name(request: pytest.FixtureRequest) -> str:
    """Each task in turn; a test of the drawing itself asks for those of ``GENERATED`` instead."""
    return request.param


@pytest.fixture
def module(name: str) -> Task:
    """The module of the task."""
    return tasks.load(name)


@pytest.fixture
def small(name: str, module: Task, tmp_path: Path) -> Small:
    """The task's configuration with its defaults and a few examples."""
    files = FILES[name](tmp_path) if name in FILES else {}
    return lambda **sizes: module.Config(**{**files, **SIZES, **sizes})


def differ(one: Examples, other: Examples) -> bool:
    """Whether two splits hold other tokens, as far as both are long."""
    time = min(one.inputs.shape[1], other.inputs.shape[1])
    return not torch.equal(one.inputs[:, :time], other.inputs[:, :time])


def same(one: Examples, other: Examples) -> bool:
    """Whether two splits hold the same examples."""
    return (
        torch.equal(one.inputs, other.inputs)
        and torch.equal(one.targets, other.targets)
        and one.extras.keys() == other.extras.keys()
        and all(torch.equal(value, other.extras[name]) for name, value in one.extras.items())
    )


def sure(config: TaskConfig, answers: torch.Tensor, outputs: int) -> torch.Tensor:
    """Outputs of a model that is sure of these answers."""
    if config.num_answers() == outputs:
        return 20 * torch.nn.functional.one_hot(answers, outputs).float()
    return 20 * (2 * ((answers[..., None] >> torch.arange(outputs)) & 1) - 1).float()


def test_chance_is_what_a_task_promises_at_least_and_the_ceiling_at_most(module: Task) -> None:
    config = module.Config()
    assert 0 < module.chance(config) < module.ceiling(config) <= 1


def test_an_informed_guess_has_the_shape_of_the_targets_and_is_always_the_same(small: Small, module: Task) -> None:
    config = small()
    for inputs, targets, _ in config.build(1):
        guess, again = (module.informed_guess(config, inputs.clone()) for _ in range(2))
        if guess is None or again is None:
            assert guess is again
            continue
        assert guess.shape == targets.shape
        assert guess.dtype == torch.int64
        assert torch.equal(guess, again)
        answers = guess[targets >= 0]
        assert answers.min() >= 0
        assert answers.max() < config.num_answers()


@pytest.mark.parametrize("name", GENERATED)
def test_the_informed_floor_lies_between_chance_and_ceiling(
    module: Task, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floors, "MOST_EXAMPLES", 2000)
    config = small()
    found = floors.informed_floor(module, config, config.build(1).test, 1)
    margin = 4 * (found["floor_simulated"] or {"standard_error": 0})["standard_error"]
    assert module.chance(config) - margin <= found["floor"] <= module.ceiling(config)


def test_the_share_that_is_right_is_the_score_of_a_model_that_is_sure_of_its_guess(small: Small, module: Task) -> None:
    config = small()
    targets, outputs = config.build(1).test.targets, config.interface()["num_outputs"]
    guess = torch.randint(config.num_answers(), targets.shape, generator=torch.Generator().manual_seed(0))
    guess = guess.where(torch.rand(guess.shape, generator=torch.Generator().manual_seed(1)) < 0.5, targets.clamp_min(0))
    found = module.score(sure(config, guess[None], outputs), Examples(targets[None], targets[None], {}))
    torch.testing.assert_close(floors.scores_of(config, guess, targets), found[module.METRIC.name][0])


def test_a_task_exports_what_the_contract_asks_for(module: Task) -> None:
    wanted = [*Task.__annotations__, *(name for name, value in vars(Task).items() if inspect.isfunction(value))]
    assert {"score", "METRIC"} < set(wanted)
    assert not [name for name in wanted if not hasattr(module, name)]
    assert issubclass(module.Config, TaskConfig)


def test_a_task_scores_every_example_of_every_run_and_its_loss_has_the_gradient(small: Small, module: Task) -> None:
    config = small()
    test, outputs = config.build(1).test, config.interface()["num_outputs"]
    examples = Examples(*(part.expand(2, *part.shape) for part in test[:2]), {})
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(*examples.targets.shape, outputs, generator=generator).requires_grad_()
    found = module.score(logits, examples)
    assert {"loss", module.METRIC.name} <= found.keys()
    assert all(value.shape == (2, len(test.targets)) for value in found.values())
    assert [name for name, value in found.items() if value.requires_grad] == ["loss"]
    (grad,) = torch.autograd.grad(found["loss"].sum(), logits)
    assert torch.isfinite(grad).all()
    assert module.record(logits.detach()).keys() == {module.RECORD}


def test_sure_of_the_right_answers_a_model_reaches_the_best_score(small: Small, module: Task) -> None:
    config = small()
    targets, outputs = config.build(1).test.targets[None], config.interface()["num_outputs"]
    found = module.score(sure(config, targets.clamp_min(0), outputs), Examples(targets, targets, {}))
    assert (found[module.METRIC.name] == 1).all()
    assert found["loss"].max() < 1e-4


def test_an_unknown_key_is_refused_in_one_line(module: Task) -> None:
    with pytest.raises(ParameterError, match="unknown key") as caught:
        checked(module.Config, {"lenght": 3}, "file")
    assert "\n" not in str(caught.value)


def test_the_docstring_shows_an_example(module: Task) -> None:
    assert module.__doc__ is not None
    assert "::\n\n    " in module.__doc__


def test_a_task_gives_a_model_what_all_tasks_of_its_kind_give(small: Small, name: str) -> None:
    keys = set(small().interface())
    if name in OF_SEQUENCES:
        assert keys == KEYS["sequence"]
    else:
        assert keys <= KEYS["class"]
        assert keys >= {"num_tokens", "num_outputs", "sequence_length"}


def test_examples_have_the_sizes_that_the_interface_promises(small: Small, module: Task) -> None:
    config = small()
    interface, once = config.interface(), config.asked() is not None
    lowest, kinds = (0 if once else -1), config.num_answers()
    longest = 0
    for split, size in zip(config.build(1), SIZES.values(), strict=True):
        assert split.inputs.shape == (size, split.inputs.shape[1])
        assert split.targets.shape == ((size, 1) if once else split.inputs.shape)
        assert all(value.shape[0] == size and value.dtype == torch.int64 for value in split.extras.values())
        bounds = ((split.inputs, 0, interface["num_tokens"]), (split.targets, lowest, kinds))
        for tensor, least, bound in bounds:
            assert tensor.dtype == torch.int64
            assert tensor.min() >= least
            assert tensor.max() < bound
        longest = max(longest, split.inputs.shape[1])
        if once:
            assert split.inputs.shape[1] == interface["sequence_length"]
    assert longest == interface["sequence_length"]


@pytest.mark.parametrize("name", OF_SEQUENCES)
def test_sequences_hold_how_long_and_how_hard_they_are_and_ask_for_something_before_they_end(small: Small) -> None:
    config = small()
    for inputs, targets, extras in config.build(1):
        assert extras.keys() == {"length", "group", "slice"}
        assert 1 <= extras["length"].min() <= extras["length"].max() <= inputs.shape[1]
        step = torch.arange(inputs.shape[1])
        asked = targets >= 0
        assert asked.any(1).all()
        assert not (asked & (step >= extras["length"][:, None])).any()
        both = torch.stack([extras["group"], extras["length"]], 1).unique(dim=0)
        assert len(both) == len(extras["group"].unique())  # who changes places is as long as the other


@pytest.mark.parametrize("name", OF_ONE_CLASS)
def test_the_answer_stands_in_the_sequence_or_nowhere_and_never_on_cls(small: Small) -> None:
    config = small()
    for split in config.build(1):
        answer = split.extras["answer_position"]
        assert answer.dtype == torch.int64
        assert answer.shape == split.targets.shape[:1]
        assert answer.min() >= -1
        assert answer.max() < config.interface()["sequence_length"]
        assert (answer != config.interface()["cls_position"]).all()


@pytest.mark.parametrize("name", OF_ONE_CLASS)
def test_cls_is_one_token_at_one_place(small: Small) -> None:
    config = small(num_train=50)
    column = config.build(2).train.inputs[:, config.interface()["cls_position"]]
    assert len(column.unique()) == 1


def test_same_seed_same_data(small: Small) -> None:
    assert all(same(a, b) for a, b in zip(small().build(3), small().build(3), strict=True))


@pytest.mark.parametrize("name", GENERATED)
def test_another_seed_draws_other_data(small: Small) -> None:
    splits = [split for seed in (3, 4) for split in small(**dict.fromkeys(SIZES, 8)).build(seed)]
    assert all(differ(one, other) for one, other in itertools.combinations(splits, 2))


def test_no_split_is_another(small: Small) -> None:
    splits = small(**dict.fromkeys(SIZES, 8)).build(0)
    assert all(differ(one, other) for one, other in itertools.combinations(splits, 2))


def test_a_longer_training_split_leaves_the_others_as_they_are(small: Small) -> None:
    short, long = (small(num_train=size).build(1) for size in (12, 20))
    assert same(short.validation, long.validation)
    assert same(short.test, long.test)


def test_no_draw_touches_the_global_generator(small: Small) -> None:
    before = torch.get_rng_state()
    small().build(0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", GENERATED)
def test_the_best_guess_reaches_the_ceiling(module: Task, small: Small) -> None:
    config = small(num_train=1000)
    inputs, targets, _ = config.build(6).train
    simulated = (module.best_guess(config, inputs) == targets)[targets >= 0].double().mean().item()
    ceiling = module.ceiling(config)
    assert simulated == pytest.approx(ceiling, abs=4 * (ceiling * (1 - ceiling) / 1000) ** 0.5)


def test_an_unknown_task_is_refused_with_the_names_of_the_others() -> None:
    with pytest.raises(
        ParameterError, match="here: 'key_absence' is no task; allowed: .*key_presence, key_value_stream"
    ):
        tasks.load("key_absence", "here")
