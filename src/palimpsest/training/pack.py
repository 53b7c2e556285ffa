"""A pack: R runs of one architecture in training, with all that a checkpoint has to hold.

Runs that end a phase earlier than others leave their pack, and go on as a pack of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from palimpsest import models, tasks
from palimpsest.foundation import tree
from palimpsest.foundation.numbers import as_number
from palimpsest.foundation.patterns import matches
from palimpsest.layers.initialisation import reset_parameters
from palimpsest.layers.product import rounding
from palimpsest.models import Batch
from palimpsest.planning.parameters import Training
from palimpsest.planning.phases import PhaseSpec
from palimpsest.planning.specs import RunSpec, per_run_names, structure
from palimpsest.runtime import machine
from palimpsest.tasks import Examples, Task
from palimpsest.training import seeding
from palimpsest.training.evaluation import Metrics, narrowed
from palimpsest.training.methods import Method
from palimpsest.training.optimiser import Optimiser, build_optimiser

EVALUATION_STEP = 1 << 31
"""Steps of training stay below it, so that evaluation never reuses a noise key of training."""

Log = dict[str, Float[Tensor, "_steps runs"]]
"""What was measured in each training step of an epoch; epochs may differ in their number of steps."""


@dataclass
class Pack:
    """R runs in training: parameters, optimiser, hyper-parameters and what has been measured so far."""

    specs: list[RunSpec]
    model: nn.Module
    hyper: dict[str, Tensor]
    """Per-run parameters, each (R,)."""
    method: Method
    seeds: Tensor
    optimiser: Optimiser = field(init=False)
    """Of the current phase."""
    places: list[int] = field(default_factory=list)
    """Place of each run among those that were built together."""
    phase: int = 0
    """Number of the current phase, from 0."""
    ended: list[int] = field(default_factory=list)
    """Epochs of each phase that has ended; a phase may have fewer than planned."""
    steps: int = 0
    """Steps taken, in all phases."""
    state: Any = None
    """State that the last epoch left in the memory, where a phase carries it in."""
    method_state: Any = None
    """State of the method, a tree of tensors (R, …)."""
    history: list[Metrics] = field(default_factory=list)
    """What was measured in each epoch, each (R,)."""
    log: list[Log] = field(default_factory=list)
    """What was measured in each training step, epoch by epoch, each (steps, R)."""
    matrix: list[Metrics] = field(default_factory=list)
    """What was measured after each phase, each (R,), by ``phase.split.metric``; nothing of runs of one phase."""

    def __post_init__(self) -> None:
        self.places = self.places or list(range(self.runs))
        self.start_phase(0)

    @property
    def runs(self) -> int:
        """Size R of the pack."""
        return len(self.specs)

    @property
    def device(self) -> torch.device:
        """Where parameters and examples are."""
        return self.seeds.device

    @property
    def task(self) -> Task:
        """The module of the runs' task."""
        return tasks.load(self.specs[0].task["name"])

    @property
    def main_metrics(self) -> tuple[str, str]:
        """The metrics that are reported under every control: the loss and the task's main metric."""
        return "loss", self.task.METRIC.name

    @property
    def phases(self) -> tuple[PhaseSpec, ...]:
        """The phases of the runs; their per-run values are in ``specs``."""
        return self.specs[0].stages

    @property
    def num_phases(self) -> int:
        """Phases of each run."""
        return len(self.phases)

    @property
    def training(self) -> Training:
        """What the runs have in common in the current phase; per-run values are in ``hyper``."""
        return self.phases[self.phase].training

    @property
    def epochs_of_phase(self) -> int:
        """Epochs of the current phase that are done."""
        return len(self.history) - sum(self.ended[: self.phase])

    @property
    def is_trained(self) -> bool:
        """Whether all phases have ended."""
        return len(self.ended) == self.num_phases

    @property
    def ceiling(self) -> float:
        """What the task's main metric cannot exceed on the data set of the current phase."""
        task = self.phases[self.phase].task
        config = {name: value for name, value in task.items() if name not in ("name", "seed")}
        return self.task.ceiling(self.task.Config.model_validate(config))

    @property
    def keeps_state(self) -> bool:
        """Whether a phase starts from the state that the phase before left in the memory."""
        return any(phase.state == "from_previous" for phase in self.phases)

    def start_phase(self, number: int) -> None:
        """Let the parameters of a phase move, and no others, and start its optimiser."""
        self.phase = number
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(_moves(name, self.phases[number]))
            parameter.grad = None
        moving = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        of_runs = [spec.stages[number].training for spec in self.specs]
        rates = {
            name: torch.tensor([getattr(training, name) for training in of_runs], device=self.device)
            for name in ("learning_rate", "weight_decay")
        }
        self.optimiser = build_optimiser(moving, self.training, rates)

    def moving(self) -> dict[str, nn.Parameter]:
        """Parameters that move in any phase, by name, each (R, …)."""
        named = self.model.named_parameters()
        return {name: value for name, value in named if any(_moves(name, phase) for phase in self.phases)}

    def loss(self, examples: Examples) -> Float[Tensor, "runs batch"]:
        """Task loss of every example (R, B, …) in nats, with dropout off, from the state that the memory has."""
        self.model.eval()
        batch = Batch(examples.inputs, seeding.noise_key(self.seeds, EVALUATION_STEP), examples.extras)
        with rounding(self.specs[0].precision, self.device):
            output = self.model(batch, self.hyper, narrowed(self.state, examples.targets.shape[1]))
            found = self.task.score(output.logits, examples)["loss"]
        self.model.train()
        return found

    @torch.no_grad()
    def state_of_one(self, examples: Examples) -> Any:
        """State that the model returns after one example: which parts a state has, and of which types."""
        part = examples.rows(torch.zeros(self.runs, 1, dtype=torch.int64, device=self.device))
        return self.model(Batch(part.inputs, seeding.noise_key(self.seeds, 0), part.extras), self.hyper).state

    def generators(self, *purpose: str | int) -> list[Generator]:
        """A CPU generator for each run, which depends on its seed, the purpose and the steps taken so far."""
        return [seeding.generator(spec.seed, *purpose, self.steps) for spec in self.specs]

    def part(self, runs: Sequence[int]) -> Pack:
        """Return a pack of some of the runs, as far trained as this one, whose tensors it does not share.

        Args:
            runs: their numbers in this pack, one at least.
        """
        part = build_pack([self.specs[run] for run in runs])

        def chosen(value: Tensor) -> Tensor:
            return value.detach()[list(runs)]

        part.places = [self.places[run] for run in runs]
        part.start_phase(self.phase)
        part.model.load_state_dict({name: chosen(value) for name, value in self.model.state_dict().items()})
        moments = {name: chosen(value) for name, value in self.optimiser.state().items()}
        part.optimiser.load_state(moments, self.optimiser.steps)
        part.steps, part.ended = self.steps, list(self.ended)
        part.state = tree.map_tensors(chosen, self.state)
        part.method_state = tree.map_tensors(chosen, self.method_state)
        part.history, part.matrix = (
            [{name: chosen(value) for name, value in row.items()} for row in rows_of]
            for rows_of in (self.history, self.matrix)
        )
        part.log = [{name: value[:, runs] for name, value in epoch.items()} for epoch in self.log]
        return part


def _moves(parameter: str, phase: PhaseSpec) -> bool:
    """Whether a parameter of the model moves in a phase."""
    return (not phase.trained or matches(parameter, phase.trained)) and not matches(parameter, phase.frozen)


def build_pack(specs: Sequence[RunSpec]) -> Pack:
    """Build and initialise a pack.

    Raises:
        ValueError: the runs differ in more than seed and per-run parameters.
    """
    module = models.load(specs[0].model)
    varying = sorted(per_run_names(specs[0]))
    common = [structure(spec) for spec in specs]
    if any(other != common[0] for other in common):
        raise ValueError(f"these runs are no pack: they differ in more than seed and {varying}")
    device = torch.device(specs[0].device)
    hyper = {name: torch.tensor([_per_run(spec, name) for spec in specs], device=device) for name in varying}
    model = module.Model(module.Config.model_validate(specs[0].config), len(specs))
    reset_parameters(model, [seeding.generator(spec.seed, "initialisation") for spec in specs])
    model.to(device).train()
    if specs[0].compiled:
        machine.compile_model(model)
    seeds = torch.tensor([spec.seed for spec in specs], device=device)
    return Pack(list(specs), model, hyper, specs[0].make_method(), seeds)


def _per_run(spec: RunSpec, name: str) -> bool | int | float:
    """The number that a per-run parameter is in a run."""
    if name in spec.config:
        return as_number(models.load(spec.model).Config, name, spec.config[name])
    return spec.method[name] if name in spec.method else getattr(spec.training, name)
