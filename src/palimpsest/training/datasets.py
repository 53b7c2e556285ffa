"""Data sets on disk: one safetensors file with all splits, and a card that describes its content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from palimpsest import tasks
from palimpsest.foundation.errors import DataError, ParameterError
from palimpsest.foundation.files import sha256, write_json
from palimpsest.foundation.tensors import narrowed, read_tensors, write_tensors
from palimpsest.planning.parameters import Params
from palimpsest.planning.phases import checked_task, task_of
from palimpsest.planning.plan import data_directory
from palimpsest.planning.specs import RunSpec
from palimpsest.tasks import Examples, Splits, Task, TaskConfig
from palimpsest.tasks.shared.floors import informed_floor, scored_answers

SIMULATED_EXAMPLES = 50_000


def generate(
    params: Params,
    experiment: str,
    track: str,
    root: Path,
    file: Path | str = "params",
    name: str | None = None,
) -> dict[str, Any]:
    """Generate one data set of a track, and its card.

    Args:
        params: the preset.
        experiment: of the preset.
        track: name of the track.
        root: product directory.
        file: where the parameters came from, for messages.
        name: of one of the track's further data sets; ``None``: the data set of its task.

    Returns:
        The card: task and its parameters, seed, sizes, scored answers of the test split, chance, informed floor (of the
        test split and by slice), ceiling (exact, and simulated with its standard error where examples can be
        generated), and the hash of the data.

    Raises:
        ParameterError: the task's parameters are wrong.
        DataError: the files cannot be written.
    """
    spec = params.experiments[experiment].tracks[track]  # type: ignore[index]
    where = f"experiments.{experiment}.tracks.{track}"
    if name is not None and name not in spec.data:
        raise ParameterError(f"{file}: {where}.data: no {name!r}; allowed: {', '.join(spec.data) or 'none'}")
    task, config = task_of(spec, name), checked_task(spec, name, file, where)
    module = tasks.load(task.name)
    splits: Splits = config.build(task.seed)
    directory = root / data_directory(experiment, track, name)
    write_tensors(directory / "examples.safetensors", _tensors(splits, config))
    card = {
        "task": task.name,
        "seed": task.seed,
        "config": config.model_dump(mode="json"),
        "interface": config.interface(),
        "examples": {name: len(split.targets) for name, split in splits._asdict().items()},
        "answers": scored_answers(config, splits.test),
        "chance": module.chance(config),
        **informed_floor(module, config, splits.test, task.seed),
        "ceiling": module.ceiling(config),
        "ceiling_simulated": _simulated_ceiling(module, config, task.seed),
        "metric": module.METRIC._asdict(),
        "sha256": sha256(directory / "examples.safetensors"),
    }
    write_json(directory / "card.json", card)
    return card


def _tensors(splits: Splits, config: TaskConfig) -> dict[str, torch.Tensor]:
    """Tensors of a data set by name, tokens and targets in the smallest type that holds their alphabet."""
    tensors = {}
    tokens, answers = config.interface()["num_tokens"], config.num_answers()
    for name, split in splits._asdict().items():
        tensors[f"{name}.inputs"] = narrowed(split.inputs, 0, tokens - 1)
        tensors[f"{name}.targets"] = narrowed(split.targets, -1, answers - 1)
        tensors |= {f"{name}.extras.{key}": value.to(torch.int32) for key, value in split.extras.items()}
    return tensors


def _simulated_ceiling(module: Task, config: TaskConfig, seed: int) -> dict[str, float] | None:
    """Accuracy of the task's best predictor on fresh examples: a check on the exact ceiling."""
    if not config.generated:
        return None
    fresh = config.model_copy(update={"num_train": SIMULATED_EXAMPLES}).build(seed + 1)
    guess, targets = module.best_guess(config, fresh.train.inputs), fresh.train.targets
    if guess is None:
        return None
    right = (guess == targets)[targets >= 0].double()  # where something is asked
    return {
        "accuracy": right.mean().item(),
        "standard_error": (right.var() / len(right)).sqrt().item(),
        "examples": len(right),
    }


def load(directory: Path, config: TaskConfig, device: str = "cpu") -> Splits:
    """Read a data set and make sure that it is what the parameters ask for.

    Args:
        directory: of the data set.
        config: the task's parameters.
        device: where the tensors shall lie.

    Raises:
        DataError: a file is missing, corrupt, or of a shape or alphabet other than that of the task's parameters.
    """
    file = directory / "examples.safetensors"
    tensors = read_tensors(file)
    interface = config.interface()
    splits = []
    asked = config.asked()
    lowest = -1 if asked is None else 0
    for name in Splits._fields:
        size, length = getattr(config, f"num_{name}"), interface["sequence_length"]
        missing = [key for key in (f"{name}.inputs", f"{name}.targets") if key not in tensors]
        if missing:
            raise DataError(f"{file}: {missing[0]}: missing; allowed: what `palimpsest data` writes")
        inputs, targets = tensors[f"{name}.inputs"].long(), tensors[f"{name}.targets"].long()
        if asked is None and inputs.dim() == 2:  # a split is as long as its own longest sequence
            length = min(length, inputs.shape[1])
        for key, value, shape, least, limit in (
            ("inputs", inputs, (size, length), 0, interface["num_tokens"]),
            ("targets", targets, (size, length if asked is None else len(asked)), lowest, config.num_answers()),
        ):
            if tuple(value.shape) != shape:
                raise DataError(f"{file}: {name}.{key}: shape {tuple(value.shape)}; allowed: {shape}")
            if value.min() < least or value.max() >= limit:
                worst = int(value.max()) if value.max() >= limit else int(value.min())
                raise DataError(f"{file}: {name}.{key}: value {worst}; allowed: {least} to {limit - 1}")
        prefix = f"{name}.extras."
        extras = {key.removeprefix(prefix): value.long() for key, value in tensors.items() if key.startswith(prefix)}
        _check_extras(extras, config, size, length, f"{file}: {name}.extras")
        splits.append(Examples(inputs, targets, extras))
    return tasks.on_device(Splits(*splits), device)


def load_for(spec: RunSpec, directory: Path) -> Splits:
    """Read the data set of a run's task onto its device; see :func:`load`."""
    return _load_task(spec.task, directory, spec.device)


def load_phases(spec: RunSpec, root: Path) -> list[Splits]:
    """Read the data set of each phase of a run onto its device; phases of one data set have the same object.

    Args:
        spec: of the run.
        root: product directory.

    Raises:
        DataError: see :func:`load`.
    """
    known: dict[str | None, Splits] = {}
    for phase in spec.stages:
        if phase.data not in known:
            directory = root / data_directory(spec.experiment, spec.track, phase.data)
            known[phase.data] = _load_task(phase.task, directory, spec.device)
    return [known[phase.data] for phase in spec.stages]


def _load_task(task: dict[str, Any], directory: Path, device: str) -> Splits:
    module = tasks.load(task["name"])
    config = module.Config.model_validate({key: task[key] for key in task if key not in ("name", "seed")})
    return load(directory, config, device)


def _check_extras(extras: dict[str, torch.Tensor], config: TaskConfig, size: int, time: int, where: str) -> None:
    """Check that every example has its extras, and that a length is one."""
    for key, value in extras.items():
        if value.shape[:1] != (size,):
            raise DataError(f"{where}.{key}: shape {tuple(value.shape)}; allowed: an entry for each of {size} examples")
    for key in config.extras:
        if key not in extras:
            raise DataError(f"{where}.{key}: missing; allowed: what `palimpsest data` writes")
    if "length" not in extras:
        return
    shortest, longest = int(extras["length"].min()), int(extras["length"].max())
    if shortest < 1 or longest > time:
        worst = longest if longest > time else shortest
        raise DataError(f"{where}.length: value {worst}; allowed: 1 to {time}")
