"""What a memory does on a few examples of the test split, as it is stored for figures."""

from __future__ import annotations

import torch
from torch import Tensor

from palimpsest.foundation.tensors import narrowed
from palimpsest.memory.stepwise_trace import look
from palimpsest.models import Batch
from palimpsest.tasks import Examples, Splits
from palimpsest.training import seeding
from palimpsest.training.pack import EVALUATION_STEP, Pack

STORED = {
    **dict.fromkeys(("writes", "alive", "operations"), torch.uint8),
    "slot_time": torch.int32,
    **dict.fromkeys(("read_weighting", "write_weighting", "usage_steps", "link"), torch.float16),
}
"""Types of the trace on disk, float32 for all other fields; float16 for fields with a value for every slot and step."""


@torch.no_grad()
def probe(pack: Pack, splits: Splits, examples: int) -> dict[str, Tensor]:
    """Every field of the trace on the first examples of the test split, each (R, examples, …)."""
    test = splits.test.rows(_probed(splits.test, examples))
    inputs = test.inputs.expand(pack.runs, -1, -1)
    extras = {key: value.expand(pack.runs, *value.shape) for key, value in test.extras.items()}
    pack.model.eval()
    key = seeding.noise_key(pack.seeds, EVALUATION_STEP)
    output = pack.model(Batch(inputs, key, extras, watch=look), pack.hyper)
    pack.model.train()
    trace = {name: value.to(STORED.get(name, torch.float32)) for name, value in output.trace.present().items()}
    trace |= pack.task.record(output.logits)
    return trace | {"inputs": narrowed(inputs, 0, pack.specs[0].config["num_tokens"] - 1)} | extras


def _probed(test: Examples, examples: int) -> slice | Tensor:
    """The first examples; where they differ in difficulty, the first of each: their traces are long."""
    if "slice" not in test.extras:
        return slice(0, examples)
    kinds = test.extras["slice"].cpu()
    first = [int(torch.nonzero(kinds == kind)[0]) for kind in kinds.unique()]
    return torch.tensor(first[:examples], device=test.targets.device)
