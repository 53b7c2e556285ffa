"""What recurrent models of sequences have in common: a cell goes over the tokens and returns a vector at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from palimpsest.layers.encoding import SequenceConfig, TokenInput
from palimpsest.layers.linear import Linear
from palimpsest.memory.contract import CompiledCell, SequenceCell
from palimpsest.memory.control import Control
from palimpsest.memory.stepwise import StepwiseRecord
from palimpsest.models import Batch, ModelOutput, under


class RecurrentModel(nn.Module):
    """Tokens → cell → logits at the asked steps; subclasses choose the cell.

    Args:
        config: sizes.
        runs: size R of the pack.
    """

    loss_weights: ClassVar[dict[str, str]] = {}

    def __init__(self, config: SequenceConfig, runs: int) -> None:
        super().__init__()
        self.config = config
        self.input = TokenInput(runs, config)
        self.cell = self.make_cell(runs, self.input.d_out)
        self.head = Linear(runs, self.cell.d_out, config.num_outputs)

    def make_cell(self, runs: int, d_in: int) -> Any:
        """The cell (:class:`palimpsest.memory.contract.Cell`, an ``nn.Module``) for inputs of ``d_in`` features."""
        raise NotImplementedError(f"{type(self).__module__}: a recurrent model defines make_cell()")

    def forward(self, batch: Batch, hyper: dict[str, Tensor], state: Any = None) -> ModelOutput:
        """Logits (R, B, Q, O) at the asked steps.

        Args:
            batch: tokens of R × B sequences, or of parts of them.
            hyper: not used.
            state: after the tokens before; ``None``: at the beginning.
        """
        del hyper
        carried = self.cell.initial_state(batch.inputs.shape[1]) if state is None else state
        features: Float[Tensor, "runs batch time features"] = self.input(batch.inputs)
        watch = None if batch.watch is None or batch.watch(carried) is None else batch.watch
        if watch is None and isinstance(self.cell, SequenceCell):
            outputs, carried = self.cell.unroll(features, carried, batch.control)
            return ModelOutput(self.answer(outputs, batch), {}, None, carried)
        outputs, seen = [], []
        for x in features.unbind(2):
            y, carried = self.cell.step(x, carried, batch.control)
            outputs.append(y)
            if watch is not None:
                seen.append(watch(carried))
        record = None if watch is None else StepwiseRecord(seen, carried)
        return ModelOutput(self.answer(torch.stack(outputs, 2), batch), {}, record, carried)

    def answer(self, outputs: Float[Tensor, "runs batch time features"], batch: Batch) -> Tensor:
        """Logits (R, B, Q, O) at the asked steps."""
        return self.head(self.config.at_asked_steps(outputs, batch.start))

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile a step where the cell can; as one program, a whole sequence would take minutes to compile."""
        if isinstance(self.cell, CompiledCell):
            self.cell.compiled = True
        else:
            super().compile(*args, **kwargs)

    def under_controls(
        self, batch: Batch, hyper: dict[str, Tensor], states: Mapping[Control, Any]
    ) -> list[ModelOutput]:
        """Output under each control.

        Nothing is written at random here, so that ``random_writes`` has the output of ``on`` itself: the same bits even
        where the memory is watched under ``on`` and the cell goes step by step for it.
        """
        outputs: dict[Control, ModelOutput] = {}
        for control in states:
            does: Control = "on" if control == "random_writes" else control
            if does not in outputs:
                outputs[does] = self(under(batch, does), hyper, states[control])
        return [outputs["on" if control == "random_writes" else control] for control in states]
